"""Which models stay where under a byte budget: pure decisions and a small holder.

A model is on *disk*, parked in *RAM* (a GPU's worker only: on a CPU the two are one) or *loaded*
on the device. What is dropped for what is decided by cost to reload per byte and by recency
together (GreedyDual-Size, Cao and Irani 1997): each use sets a model's worth to the clock plus
seconds to bring it back per gigabyte, the cheapest goes first, and the clock rises to what was
dropped, so that a dear model that nobody asks for ages out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")
GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded (or coming) model: bytes, when it was last used (any growing number), and worth."""

    model: str
    size: int
    used: float
    worth: float = 0.0
    """What keeping it saves; equal worth falls back to least recent use."""


def evictions(
    residents: Sequence[Resident], busy: Collection[str], need: int, budget: int
) -> tuple[str, ...] | None:
    """Models to drop so that ``need`` more bytes fit into ``budget``; None when that cannot be.

    Idle models go, least worth first, and of those picked the ones that turn out not to be
    needed stay; a busy one is never dropped. A model larger than the whole budget is allowed
    once nothing else is loaded: the budget is an estimate and refusing would be certain failure.
    """
    total = sum(r.size for r in residents)
    drop: list[Resident] = []
    for resident in sorted(residents, key=lambda r: (r.worth, r.used)):
        if total + need <= budget:
            break
        if resident.model not in busy:
            drop.append(resident)
            total -= resident.size
    if len(drop) == len(residents) and total + need > budget:
        return tuple(r.model for r in drop)
    for resident in reversed(list(drop)):
        if total + resident.size + need <= budget:
            drop.remove(resident)
            total += resident.size
    return tuple(r.model for r in drop) if total + need <= budget else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that waiting requests need: bytes it takes, and the oldest request's order."""

    model: str
    size: int
    order: int


@dataclass(frozen=True, slots=True)
class Moves:
    """What to do now: ``load`` these, having dropped those; and who is in the way of whom."""

    load: tuple[str, ...]
    drop: tuple[str, ...]
    blocked: Mapping[str, frozenset[str]]
    """Models without room, with the busy models in their way."""


def moves(
    residents: Sequence[Resident],
    wanted: Sequence[Wanted],
    busy: Collection[str],
    budget: int,
) -> Moves:
    """Loads to start for what waits, oldest need first.

    Nothing busy and nothing an older request waits for is dropped. A younger need never takes
    the room that an older, blocked one is waiting for: once one is blocked, later ones are only
    loaded if they fit without dropping anything and still leave the blocked one its room.
    """
    kept = {r.model: r for r in residents}
    guarded = set(busy)
    load: list[str] = []
    drop: list[str] = []
    blocked: dict[str, frozenset[str]] = {}
    awaited = 0
    for want in sorted(wanted, key=lambda w: w.order):
        guarded.add(want.model)
        if want.model in kept:
            continue
        gone = evictions(list(kept.values()), guarded, want.size + awaited, budget)
        if gone is None or (awaited and gone):
            blocked[want.model] = frozenset(m for m in kept if m in guarded)
            awaited += want.size
            continue
        for model in gone:
            del kept[model]
        drop += gone
        load.append(want.model)
        kept[want.model] = Resident(want.model, want.size, 0.0)
    return Moves(tuple(load), tuple(drop), blocked)


class Residency(Generic[R]):
    """The loaded and parked runners, by model name. Lives on the engine thread; not thread-safe.

    ``budget`` is the device's bytes for weights, ``spare`` the RAM for parked ones (0: none).
    """

    def __init__(self, budget: int, spare: int = 0) -> None:
        self.budget = budget
        self.spare = spare
        self._runners: dict[str, R] = {}
        self._parked: dict[str, tuple[R, int]] = {}
        self._coming: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._used: dict[str, float] = {}
        self._worth: dict[str, float] = {}
        self._reload_s: dict[str, float] = {}
        self._measured: dict[str, int] = {}
        self._count = 0.0
        self._age = 0.0

    def get(self, model: str) -> R | None:
        """The runner of a loaded model, marked as used now; None when it is not loaded."""
        runner = self._runners.get(model)
        if runner is not None:
            self._count += 1
            self._used[model] = self._count
            gigabytes = max(self._sizes[model], 1) / GIGABYTE
            self._worth[model] = self._age + self._reload_s.get(model, 1.0) / gigabytes
        return runner

    def begin(self, model: str, size: int) -> R | None:
        """Takes room for a model about to be loaded; its parked runner when it is in RAM."""
        self._coming[model] = size
        parked = self._parked.pop(model, None)
        return None if parked is None else parked[0]

    def put(self, model: str, runner: R, size: int, reload_s: float = 1.0) -> None:
        """Keeps a runner of ``size`` measured bytes that took ``reload_s`` to bring here."""
        self._coming.pop(model, None)
        self._runners[model] = runner
        self._sizes[model] = self._measured[model] = size
        self._reload_s[model] = reload_s
        self.get(model)

    def fail(self, model: str) -> None:
        """Gives back the room of a model that could not be loaded."""
        self._coming.pop(model, None)

    def drop(self, model: str) -> R | None:
        """Forgets a loaded runner and returns it; its memory goes with the last reference."""
        self._age = max(self._age, self._worth.get(model, 0.0))
        for table in (self._sizes, self._used, self._worth):
            table.pop(model, None)
        return self._runners.pop(model, None)

    def parks(self, model: str) -> bool:
        """Whether a loaded model would fit into RAM, older parked ones making room."""
        return 0 < self._sizes.get(model, 0) <= self.spare

    def park(self, model: str, runner: R, size: int) -> None:
        """Keeps a dropped runner in RAM, forgetting the longest parked ones for it."""
        while self._parked and self.parked_bytes + size > self.spare:
            del self._parked[next(iter(self._parked))]
        self._parked[model] = (runner, size)

    @property
    def parked_bytes(self) -> int:
        """Bytes of the parked models."""
        return sum(size for _, size in self._parked.values())

    @property
    def bytes(self) -> int:
        """Bytes of what is loaded or coming."""
        return sum(self._sizes.values()) + sum(self._coming.values())

    def size_of(self, model: str, guess: int) -> int:
        """Bytes a model takes: measured when it was here before, else the guess of its card."""
        return self._measured.get(model, guess)

    def residents(self) -> list[Resident]:
        """What takes room on the device, what is coming included."""
        here = [Resident(m, s, self._used[m], self._worth[m]) for m, s in self._sizes.items()]
        return here + [Resident(m, s, float("inf"), float("inf")) for m, s in self._coming.items()]

    def make_room(self, need: int, busy: Collection[str]) -> tuple[str, ...] | None:
        """What :func:`evictions` says for the models here now; drops nothing."""
        return evictions(self.residents(), {*busy, *self._coming}, need, self.budget)

    def moves(self, wanted: Iterable[Wanted], busy: Collection[str]) -> Moves:
        """What :func:`moves` says for the models here now; changes nothing."""
        return moves(self.residents(), list(wanted), {*busy, *self._coming}, self.budget)

    def learn(self, budget: int) -> None:
        """Lowers the budget after the device ran out of memory; never below the largest model."""
        largest = max(self._sizes.values(), default=0)
        self.budget = max(largest, min(self.budget, budget))

    def loaded(self) -> list[str]:
        """Names of the loaded models, alphabetical."""
        return sorted(self._runners)

    def coming(self) -> list[str]:
        """Names of the models being loaded, alphabetical."""
        return sorted(self._coming)

    def parked(self) -> list[str]:
        """Names of the models in RAM, alphabetical."""
        return sorted(self._parked)
