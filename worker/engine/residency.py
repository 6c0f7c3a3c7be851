"""Which models stay loaded under a byte budget: one pure decision and a small holder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model: its weight in bytes and when it was last used (any growing number)."""

    model: str
    size: int
    used: float


def evictions(
    residents: Sequence[Resident], busy: Collection[str], need: int, budget: int
) -> tuple[str, ...] | None:
    """Models to drop so that ``need`` more bytes fit into ``budget``; None when that cannot be.

    Idle models go first come by least recent use; a busy one is never dropped. A model larger
    than the whole budget is allowed once nothing else is loaded: the budget is an estimate and
    refusing would be certain failure.
    """
    total = sum(r.size for r in residents)
    drop: list[str] = []
    for resident in sorted(residents, key=lambda r: r.used):
        if total + need <= budget:
            break
        if resident.model not in busy:
            drop.append(resident.model)
            total -= resident.size
    alone = len(drop) == len(residents)
    return tuple(drop) if total + need <= budget or alone else None


class Residency(Generic[R]):
    """The loaded runners, by model name. Lives on the engine thread; not thread-safe."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._runners: dict[str, R] = {}
        self._sizes: dict[str, int] = {}
        self._used: dict[str, float] = {}
        self._clock = 0.0

    def get(self, model: str) -> R | None:
        """The runner of a loaded model, marked as used now; None when it is not loaded."""
        runner = self._runners.get(model)
        if runner is not None:
            self._clock += 1
            self._used[model] = self._clock
        return runner

    def put(self, model: str, runner: R, size: int) -> None:
        """Keeps a freshly loaded runner of ``size`` bytes."""
        self._runners[model] = runner
        self._sizes[model] = size
        self.get(model)

    def drop(self, model: str) -> None:
        """Forgets a runner; its memory goes with the last reference."""
        for table in (self._runners, self._sizes, self._used):
            table.pop(model, None)

    def make_room(self, need: int, busy: Collection[str]) -> tuple[str, ...] | None:
        """What :func:`evictions` says for the models loaded now; drops nothing."""
        residents = [Resident(m, s, self._used[m]) for m, s in self._sizes.items()]
        return evictions(residents, busy, need, self.budget)

    def loaded(self) -> list[str]:
        """Names of the loaded models, alphabetical."""
        return sorted(self._runners)
