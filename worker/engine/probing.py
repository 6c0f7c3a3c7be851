"""Measures batch curves in idle moments, one pass at a time, so that nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from storage.registry import ModelCard
from storage.schema import ImageSpec, JobKind
from worker.engine.errors import OutOfMemory
from worker.engine.passes import attempt
from worker.engine.profile import PROBED_ROWS, Profile
from worker.engine.runners.base import Runner
from worker.engine.scheduler import Caps


class Probing:
    """Steps throw-away pictures of each loaded model's own size with 1, 2, 4 and 8 requests."""

    def __init__(
        self, profile: Profile, caps: Caps, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._profile = profile
        self._most = caps.active.get(JobKind.IMAGE, 1)
        self._works: list[Any] = []
        self._model = ""
        self._runner: Runner | None = None
        self._given_up: set[str] = set()

    def step(self, models: Sequence[tuple[ModelCard, Runner]]) -> bool:
        """Makes one pass for a point still missing; False when there is none."""
        for card, runner in models:
            if card.kind is not JobKind.IMAGE or not runner.shares or card.name in self._given_up:
                continue
            if not self._prepare(card, runner):
                continue
            key = self._works[0].key
            single = self._works[0].weight
            for count in PROBED_ROWS:
                if count <= self._most and self._profile.lacks(key, count * single):
                    self._measure(card, runner, key, count, single)
                    return True
        return False

    def stop(self) -> None:
        """Forgets the throw-away pictures."""
        if self._runner is not None:
            for work in self._works:
                attempt(self._runner.drop, work)
        self._works, self._model, self._runner = [], "", None

    def forget(self, model: str) -> None:
        """Lets go of a model that is leaving: its pictures would keep its weights in memory."""
        if self._model == model:
            self.stop()

    def _prepare(self, card: ModelCard, runner: Runner) -> bool:
        if self._model == card.name:
            return True
        self.stop()
        spec = ImageSpec(
            model=card.name, prompt="probe", width=card.width, height=card.height,
            steps=card.steps, guidance=card.guidance, scheduler=card.scheduler, seed=0,
        )  # fmt: skip
        works = []
        for seed in range(min(self._most, max(PROBED_ROWS))):
            work, error = attempt(runner.begin, spec.model_copy(update={"seed": seed}), 0)
            if error is not None:
                self._given_up.add(card.name)
                return False
            works.append(work)
        self._works, self._model, self._runner = works, card.name, runner
        return True

    def _measure(self, card: ModelCard, runner: Runner, key: str, count: int, single: int) -> None:
        began = self._clock()
        _, error = attempt(runner.forward, self._works[:count])
        seconds = self._clock() - began
        if isinstance(error, OutOfMemory):
            self._profile.ran_out(key, count * single)
        elif error is not None:
            self._given_up.add(card.name)
        else:
            self._profile.note(key, count * single, single, seconds)
