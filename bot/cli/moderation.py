"""`atelier moderation eval` and `try`: how good the filters are, and what they say to one text."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from bot.cli.tables import opened, print_json
from moderation.build import prompt_pipeline
from moderation.evaluation.figures import plot
from moderation.evaluation.labelled import Labelled, read_lines
from moderation.evaluation.report import Judged, judge_all, severities, whole
from moderation.lists import lists_of
from moderation.pipeline import Content
from moderation.policy import Policy, Surface
from moderation.settings import policy_of
from storage import workspaces
from storage.database import Database

EXIT_USAGE = 2


def run_eval(
    path: Path, *, json: bool, limit: int | None, assume: int | None, plot_to: Path | None,
    words_only: bool = False,
) -> int:  # fmt: skip
    """Evaluate the text stages on a file or on every ``*.jsonl`` of a folder."""
    names = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    sets: dict[str, list[Labelled]] = {}
    try:
        for name in names:
            records = list(read_lines(name, assume))
            sets[name.stem] = records[:limit] if limit else records
    except (OSError, ValueError) as error:
        return _unreadable(path, error, json=json)
    if not sets or not any(sets.values()):
        return _unreadable(path, ValueError("no labelled texts"), json=json)
    report = asyncio.run(_evaluated(sets, words_only))
    if plot_to is not None:
        plot_to.write_text(plot(report["reliability"], f"{path.name}: score and truth"), "utf-8")
    if json:
        print_json({"ok": True, **report})
    else:
        sys.stdout.write(_table(report))
    return 0


async def _evaluated(sets: dict[str, list[Labelled]], words_only: bool) -> dict[str, Any]:
    pipeline = prompt_pipeline(heads=not words_only)
    await pipeline.load()
    policy = Policy()
    total = sum(map(len, sets.values()))
    everything: list[Judged] = []
    by_set = {}
    for name, records in sets.items():
        before = len(everything)

        def tell(done: int, before: int = before, name: str = name) -> None:
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{before + done} of {total}  {name}      ")

        judged = await judge_all(pipeline, records, policy, tell)
        everything += judged
        by_set[name] = whole(judged)
    report = whole(everything)
    report["versions"] = {s.name: str(getattr(s, "version", "")) for s in pipeline.stages}
    if len(sets) > 1:
        report["sets"] = by_set
    return report


def _unreadable(path: Path, error: Exception, *, json: bool) -> int:
    reason = getattr(error, "strerror", None) or str(error)
    if json:
        print_json({"ok": False, "code": "file_unreadable", "message": reason})
    else:
        sys.stderr.write(f"{path} cannot be evaluated: {reason}.\n")
    return EXIT_USAGE


def _percent(share: float | None) -> str:
    return "    -" if share is None else f"{share * 100:5.1f}"


def _table(report: dict[str, Any]) -> str:
    head = f"{'set':28}{'n':>7}{'FPR %':>8}{'recall %':>10}{'AUPRC':>8}{'R@1% FPR':>10}\n"
    rows = dict(report.get("sets", {})) | {"all": report}
    lines = [head]
    for name, row in rows.items():
        area = "   -" if row["auprc"] is None else f"{row['auprc']:.3f}"
        lines.append(
            f"{name[:27]:28}{row['n']:>7}{_percent(row['false_positive_rate']):>8}"
            f"{_percent(row['recall']):>10}{area:>8}{_percent(row['recall_at_1pct_fpr']):>10}\n"
        )
    if report["codes"]:
        lines.append(
            f"\n{'code':28}{'n':>7}{'FPR %':>8}{'recall %':>10}{'AUPRC':>8}{'R@1% FPR':>10}\n"
        )
        for code, row in report["codes"].items():
            area = "   -" if row["auprc"] is None else f"{row['auprc']:.3f}"
            lines.append(
                f"{code:28}{row['n']:>7}{_percent(row['false_positive_rate']):>8}"
                f"{_percent(row['recall']):>10}{area:>8}{_percent(row['recall_at_1pct_fpr']):>10}\n"
            )
    for lang, row in report["languages"].items():
        lines.append(
            f"{lang:28}{row['n']:>7}{_percent(row['false_positive_rate']):>8}{_percent(row['recall']):>10}\n"
        )
    return "".join(lines)


def run_try(text: str, *, json: bool) -> int:
    """Show every score of one text against the local workspace's thresholds."""
    settings = opened(_local_settings)
    policy, lists = policy_of(settings), lists_of(settings)

    async def judge() -> Any:
        pipeline = prompt_pipeline()
        await pipeline.load()
        content = Content(Surface.PROMPT, text=text, lists=lists)
        return await pipeline.judge_fully(content, policy)

    judgement = asyncio.run(judge())
    scores = {str(c): round(s, 4) for c, s in sorted(severities(judgement, policy).items())}
    if json:
        print_json(
            {"ok": True, **judgement.verdict.dump(), "severity": scores,
             "scores": {k: round(v, 4) for k, v in judgement.scores.items()},
             "ms": round(judgement.ms, 1)}
        )  # fmt: skip
        return 0
    sys.stdout.write(f"{judgement.verdict.outcome.word} in {judgement.ms:.0f} ms\n")
    for code, score in sorted(scores.items(), key=lambda item: -item[1]):
        lines = policy.of(code)  # type: ignore[arg-type]
        hold, block = ("–" if line is None else f"{line:g}" for line in (lines.hold, lines.block))
        sys.stdout.write(f"  {code:6}{score:7.3f}   hold {hold:5} block {block}\n")
    for flag in sorted(judgement.verdict.flags, key=lambda f: -f.score):
        sys.stdout.write(f"  {flag.category} {flag.score:.2f} {flag.stage} {flag.detail}\n")
    return 0


def _local_settings(database: Database) -> dict[str, Any]:
    return database.read(workspaces.local_settings)
