"""A real worker process whose engine is a clock: everything but the model is the product's own."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence

from PIL import Image

from moderation.pipeline import Content, Pipeline, Surface
from storage.registry import Registry
from storage.schema import ChatSpec, Flag, ImageSpec, JobKind
from worker.__main__ import serve
from worker.engine.errors import Cancelled, EngineStopped
from worker.engine.outputs import Output, Picture, Progress
from worker.settings import WorkerSettings


class PaperRun:
    """Takes as long as its spec's steps say (10 ms each), then yields one flat picture."""

    def __init__(self, job_id: str, spec: ImageSpec | ChatSpec) -> None:
        self.job_id = job_id
        self.spec = spec
        self.cancelled = False
        self.stopped = False
        self.ended = False
        self.busy_ms = 0

    def cancel(self) -> None:
        self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[Output]:
        assert isinstance(self.spec, ImageSpec)
        try:
            for step in range(1, self.spec.steps + 1):
                await asyncio.sleep(0.01)
                self.busy_ms += 10
                if self.stopped:
                    raise EngineStopped("stopped")
                if self.cancelled:
                    raise Cancelled("cancelled")
                yield Progress(0, step, self.spec.steps)
            image = Image.new("RGB", (64, 64), (self.spec.seed % 256, 0, 0))
            yield Picture(0, image, self.spec.seed, {"seed": self.spec.seed}, "sha")
        finally:
            self.ended = True


class PaperEngine:
    """The engine's face, without models."""

    def __init__(self, places: int) -> None:
        self.places = places
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
        run = PaperRun(job_id, spec)
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
    asyncio.run(serve(WorkerSettings(), make_engine, lambda: Pipeline([Looks()])))  # type: ignore[arg-type]
