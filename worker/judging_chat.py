"""The chat model as a policy judge of prompts the heads are unsure of; off unless configured."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING

from moderation.evaluation.report import severity
from moderation.pipeline import Content, Observer, Pipeline
from moderation.policy import DEFAULT_POLICY
from moderation.stages.heads import HeadsStage
from moderation.stages.judge import JudgeStage
from storage.registry import Registry
from storage.schema import Category, ChatSpec, JobKind, Turn, new_id
from worker.engine.outputs import Answer

if TYPE_CHECKING:
    from worker.engine.engine import Engine

TOKENS = 48
"""Longest answer: three codes in a list need half of it."""


def judge_pipeline(
    engine: Engine, registry: Registry, gate: Pipeline, *, timeout_s: float,
    observe: Observer | None = None,
) -> Pipeline:  # fmt: skip
    """A pipeline of the judge alone, for prompts of jobs this worker runs. Call it on the event
    loop that the engine was started on.

    Its heads are the gate's own, so that a workspace's learnt ones count. A judge that is late,
    away or unclear ends as a failed check and holds.
    """
    heads = next((stage for stage in gate.stages if isinstance(stage, HeadsStage)), HeadsStage())

    def severities(content: Content) -> dict[Category, float]:
        found = heads.scores(content.text or "", content.workspace_id)
        return {code: severity(code, score, DEFAULT_POLICY) for code, score in found.items()}

    card = registry.default(JobKind.CHAT)
    stage = JudgeStage(Asking(engine, card.name, timeout_s), severities, card.name)
    return Pipeline([stage], timeout_s=timeout_s, observe=observe)


class Asking:
    """Asks the engine from a stage's thread and waits for the answer."""

    def __init__(self, engine: Engine, model: str, timeout_s: float) -> None:
        self._engine = engine
        self._model = model
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()

    def __call__(self, system: str, words: str) -> str:
        """The answer's text. Raises ``TimeoutError`` and what the engine raises."""
        future = asyncio.run_coroutine_threadsafe(self._ask(system, words), self._loop)
        try:
            return future.result(self._timeout_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    async def _ask(self, system: str, words: str) -> str:
        spec = ChatSpec(
            model=self._model, thread="", max_tokens=TOKENS, temperature=0.0, seed=0,
            turns=(Turn(role="system", text=system), Turn(role="user", text=words)),
        )  # fmt: skip
        run = self._engine.submit(f"judge:{new_id()}", spec)
        try:
            async for output in run:
                if isinstance(output, Answer):
                    return output.text
        finally:
            run.cancel()
        raise RuntimeError("the judge's run ended without an answer")
