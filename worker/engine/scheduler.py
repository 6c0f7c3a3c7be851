"""Which requests to admit and which batch to step next: data in, data out, no tensor in sight.

A *request* is one picture or one answer; a picture job of count 4 is four requests. The engine
asks :func:`plan` once per turn, admits what it says, and runs the one batch it names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from storage.schema import JobKind


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request not yet begun. ``order`` grows with arrival and is unique."""

    id: str
    kind: JobKind
    model: str
    order: int


@dataclass(frozen=True, slots=True)
class Active:
    """A request being stepped. Equal ``key`` means it may share a pass.

    ``last_turn`` is the turn it was last stepped in, or begun in before its first step: a
    newcomer queues behind those who already wait for their next step.
    """

    id: str
    kind: JobKind
    key: str
    order: int
    last_turn: int


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits: requests stepped at a time of each kind, and rows of one picture batch by key."""

    active: Mapping[JobKind, int]
    batch: Mapping[str, int]
    """Largest batch of a key; a key not named has no limit but ``active``."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that step together, oldest first; never empty."""

    kind: JobKind
    key: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One turn: what to begin, oldest first, and what to step (None when nothing is active)."""

    admit: tuple[str, ...]
    step: Batch | None


def admissible(
    waiting: Sequence[Waiting], active: Sequence[Active], caps: Caps, fits: Collection[str]
) -> tuple[str, ...]:
    """Ids of waiting requests to begin now, oldest first within each kind.

    ``fits`` names the models that are loaded or could be loaded now. A kind's queue stops at the
    first request whose model does not fit: letting younger ones pass would keep the running
    models busy for ever and starve it.
    """
    admitted: list[Waiting] = []
    for kind in JobKind:
        room = caps.active.get(kind, 0) - sum(a.kind is kind for a in active)
        for request in sorted((w for w in waiting if w.kind is kind), key=lambda w: w.order):
            if room <= 0 or request.model not in fits:
                break
            admitted.append(request)
            room -= 1
    return tuple(w.id for w in sorted(admitted, key=lambda w: w.order))


def next_batch(
    active: Sequence[Active], caps: Caps, last_kind: JobKind | None = None
) -> Batch | None:
    """The batch to step now, ``last_kind`` being the kind stepped in the turn before.

    Kinds alternate whenever both have work, so a token never waits for more than one picture step
    and a picture step never for more than one round of tokens. Chat goes first on a tie: someone
    is reading along. Within a kind the batch keys take turns; within a key everyone steps
    together up to the cap, and beyond the cap those who waited longest, oldest first.
    """
    if not active:
        return None
    kinds = {a.kind for a in active}
    kind = min(kinds, key=lambda k: (k is last_kind, k is not JobKind.CHAT))
    peers = sorted((a for a in active if a.kind is kind), key=lambda a: (a.last_turn, a.order))
    key = peers[0].key
    mates = [a for a in peers if a.key == key]
    chosen = sorted(mates[: max(1, caps.batch.get(key, len(mates)))], key=lambda a: a.order)
    return Batch(kind, key, tuple(a.id for a in chosen))


def plan(
    waiting: Sequence[Waiting],
    active: Sequence[Active],
    caps: Caps,
    fits: Collection[str],
    last_kind: JobKind | None = None,
) -> Plan:
    """What to begin and what to step in this turn; the newly begun may step from the next turn."""
    return Plan(admissible(waiting, active, caps, fits), next_batch(active, caps, last_kind))
