"""Is the chat model fit to be a judge? ``python -m worker.bench.judge [--most N]``.

Asks the configured chat model about the public gate's texts (no training saw them) whose heads
leave them in the uncertain band, and compares with the heads alone, whose answer there is always
"no". Fit is a model that finds violations (recall) without holding harmless texts, and that
answers in the form it was asked for: what it mumbles is held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from typing import Any

from moderation.build_output import output_pipeline
from moderation.evaluation import gate
from moderation.evaluation.figures import wilson
from moderation.pipeline import Content, Surface
from moderation.stages.judge import JudgeStage
from worker.engine.engine import Engine
from worker.judging_chat import judge_pipeline
from worker.settings import WorkerSettings


async def measure(settings: WorkerSettings, most: int) -> dict[str, Any]:
    """Ask about at most ``most`` texts of each kind."""
    registry = settings.registry
    engine = Engine(registry, settings.models_dir, device=settings.device or "cpu")
    await engine.start()
    try:
        await engine.warm([registry.chat_default])
        whole = output_pipeline()
        pipeline = judge_pipeline(engine, registry, whole, timeout_s=120.0)
        stage = pipeline.stages[0]
        assert isinstance(stage, JudgeStage)
        report: dict[str, Any] = {"model": registry.chat_default}
        for name, label in (("violating", 1), ("harmless", 0)):
            texts = [r.text for part in gate.parts().values() for r in part if r.label == label]
            random.Random(1).shuffle(texts)
            contents = [Content(Surface.PROMPT, text=text) for text in texts]
            in_band = [c for c in contents if stage.asked(c)]
            report[name] = await _asked(stage, in_band[:most]) | {
                "in_band": len(in_band), "of": len(texts),
            }  # fmt: skip
        return report
    finally:
        await engine.stop()


async def _asked(stage: JudgeStage, contents: list[Content]) -> dict[str, Any]:
    named = unclear = 0
    began = time.perf_counter()
    for content in contents:
        try:
            named += bool(await asyncio.to_thread(stage.check, content))
        except ValueError:
            unclear += 1
    n = len(contents)
    return {
        "asked": n, "named": named, "unclear": unclear,
        "named_share": round(named / n, 3) if n else None, "interval": wilson(named, n),
        "ms_each": round((time.perf_counter() - began) * 1000 / n) if n else None,
    }  # fmt: skip


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=60, help="texts of each kind")
    given = parser.parse_args()
    report = asyncio.run(measure(WorkerSettings(), given.most))
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
