"""The engine as the benches drive it: from plain code, on an event loop of its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from storage.registry import ModelCard
from storage.schema import AnySpec, ImageSpec
from worker.bench.subjects import Subjects
from worker.engine.engine import Engine
from worker.engine.outputs import Answer, Output, Picture
from worker.engine.run import Run
from worker.engine.runners.base import Runner, Stepped
from worker.engine.scheduler import Caps

T = TypeVar("T")

EVERYTHING = 1_000
"""Rows of a pass at most: more than there are."""


class Counted:
    """A runner that counts its passes and calls ``before`` ahead of each."""

    def __init__(self, inner: Any, before: Callable[[Sequence[Any]], None] | None = None) -> None:
        self.inner, self.before, self.passes = inner, before, 0
        self.kind, self.shares, self.size = inner.kind, inner.shares, inner.size

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def forward(self, works: Sequence[Any]) -> list[Any]:
        """One counted pass."""
        if self.before is not None:
            self.before(works)
        self.passes += 1
        found: list[Any] = self.inner.forward(works)
        return found

    def advance(self, work: Any, result: Any) -> Stepped:
        """As the runner."""
        stepped: Stepped = self.inner.advance(work, result)
        return stepped

    def warm(self) -> None:
        """Warm already: the benches warm by running."""


class Driver:
    """A started engine over a bench's subjects. Use as a context manager."""

    def __init__(
        self, subjects: Subjects, runners: dict[str, Any] | None = None, **options: Any
    ) -> None:
        known = {"picture": subjects.image, "other": subjects.image, "talk": subjects.chat}
        self.runners = {name: Counted(r) for name, r in known.items()} | (runners or {})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        options = {"max_images": 8, "max_chats": 8} | options

        def load(card: ModelCard) -> Runner:
            return self.runners[card.name]  # type: ignore[no-any-return]

        self.engine = Engine(subjects.registry, Path("/nowhere"), load=load, **options)
        self.most_rows: dict[str, int] = {}
        """Rows of a pass by batch key, in place of what the engine's own curve says."""
        self.engine.caps = Caps(self.engine.caps.active, self.most_rows)

    def share_all(self, name: str) -> None:
        """From now on passes of this model are as large as there are works: what sharing *does* is
        counted so. Whether it pays is measured as it goes, and a neighbour's load can make it
        look dear."""

        def lift(works: Sequence[Any]) -> None:
            self.most_rows.update({work.key: EVERYTHING for work in works})

        self.runners[name].before = lift

    def share_measured(self, name: str) -> None:
        """As the engine does by itself again: by the curve it measures."""
        self.runners[name].before = None
        self.most_rows.clear()

    def __enter__(self) -> Driver:
        self._thread.start()
        self.wait(self.engine.start())
        self.wait(self.engine.warm(["picture", "talk"]))
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self.engine.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something on the engine's loop and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _drain(self, run: Run) -> list[Output]:
        return [output async for output in run]

    async def _all(self, specs: Sequence[AnySpec]) -> list[list[Output]]:
        runs = [self.engine.submit(str(n), spec) for n, spec in enumerate(specs)]
        return await asyncio.gather(*map(self._drain, runs))

    def outputs(self, specs: Sequence[AnySpec]) -> list[list[Output]]:
        """Everything that jobs submitted at once give."""
        return self.wait(self._all(specs))

    def pictures(self, specs: Sequence[ImageSpec]) -> list[Image.Image]:
        """The pictures of jobs submitted at once, in order."""
        return [p.image for out in self.outputs(specs) for p in out if isinstance(p, Picture)]

    def hashes(self, specs: Sequence[ImageSpec]) -> list[str]:
        """Their hashes."""
        return [p.sha256 for out in self.outputs(specs) for p in out if isinstance(p, Picture)]

    def answers(self, specs: Sequence[AnySpec]) -> list[Answer]:
        """The answers of questions asked at once, in order."""
        return [a for out in self.outputs(specs) for a in out if isinstance(a, Answer)]
