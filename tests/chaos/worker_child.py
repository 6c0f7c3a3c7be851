"""A real worker process whose engine is a clock: everything but the model is the product's own.

``ATELIER_TEST_STEP_MS`` is the pace of a step. After step ``ATELIER_TEST_FREEZE`` the process stops
itself (SIGSTOP), never in a transaction, as a signal from outside might. The step after the last
is the very last moment before a write with a fence that may be stale when somebody wakes it: the
picture is stored and the job not yet ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

from PIL import Image

from moderation.pipeline import Content, Pipeline, Surface
from storage.registry import Registry
from storage.schema import ChatSpec, Flag, ImageSpec, JobKind
from worker.__main__ import serve
from worker.engine.errors import Cancelled, EngineStopped
from worker.engine.outputs import Output, Picture, Progress
from worker.settings import WorkerSettings


class PaperRun:
    """Takes as long as its spec's steps say, then yields one flat picture."""

    def __init__(self, job_id: str, spec: ImageSpec | ChatSpec, step_ms: int, freeze: int) -> None:
        self.job_id = job_id
        self.spec = spec
        self.step_ms = step_ms
        self.freeze = freeze
        self.cancelled = False
        self.stopped = False
        self.ended = False
        self.busy_ms = 0
        self.moments: list[Any] = []
        self.pictures: Any = {}

    def note(self, name: str, seconds: float, **facts: Any) -> None: ...

    def joined(self, more: Any) -> None: ...

    def cancel(self) -> None:
        self.cancelled = True

    def _freeze(self, step: int) -> None:
        """Back from ``yield``, whoever iterates has done all it does with what it got."""
        if step == self.freeze:
            os.kill(os.getpid(), signal.SIGSTOP)

    async def __aiter__(self) -> AsyncIterator[Output]:
        assert isinstance(self.spec, ImageSpec)
        try:
            for step in range(1, self.spec.steps + 1):
                await asyncio.sleep(self.step_ms / 1000)
                self.busy_ms += self.step_ms
                if self.stopped:
                    raise EngineStopped("stopped")
                if self.cancelled:
                    raise Cancelled("cancelled")
                yield Progress(0, step, self.spec.steps)
                self._freeze(step)
            image = Image.new("RGB", (64, 64), (self.spec.seed % 256, 0, 0))
            yield Picture(0, image, self.spec.seed, {"seed": self.spec.seed}, "sha")
            self._freeze(self.spec.steps + 1)
        finally:
            self.ended = True


class PaperEngine:
    """The engine's face, without models."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.step_ms = int(os.environ.get("ATELIER_TEST_STEP_MS", "10"))
        self.freeze = int(os.environ.get("ATELIER_TEST_FREEZE", "0"))
        self.runs: list[PaperRun] = []

    alive = True

    async def start(self) -> None: ...

    async def warm(self, models: Sequence[str]) -> None: ...

    async def stop(self) -> None:
        for run in self.runs:
            run.stopped = True

    def loaded(self) -> list[str]:
        return []

    def room(self) -> dict[JobKind, int]:
        self.runs = [run for run in self.runs if not run.ended]
        return {JobKind.IMAGE: max(0, self.places - len(self.runs)), JobKind.CHAT: 0}

    def submit(self, job_id: str, spec: ImageSpec | ChatSpec) -> PaperRun:
        run = PaperRun(job_id, spec, self.step_ms, self.freeze)
        self.runs.append(run)
        return run


class Looks:
    """A stage that looks at pictures and finds nothing."""

    name = "image.paper"
    surfaces = frozenset(Surface)

    def load(self) -> None: ...

    def check(self, content: Content) -> Sequence[Flag]:
        return ()


def make_engine(settings: WorkerSettings, registry: Registry) -> PaperEngine:
    return PaperEngine(settings.max_images)


if __name__ == "__main__":
    random.seed(os.getpid())
    logging.basicConfig(level=logging.INFO)
    asyncio.run(serve(WorkerSettings(), make_engine, lambda: Pipeline([Looks()])))  # type: ignore[arg-type]
