"""Which requests to admit and which batch to step next: data in, data out, no tensor in sight.

A *request* is one picture or one answer; a picture job of count 4 is four requests. The engine
asks :func:`plan` once per turn, admits what it says, and runs the one batch it names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from storage.schema import JobKind

DIFFER = 2.0
"""Requests differ in length when the longest has this many times the steps of the shortest."""


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

    ``last_turn`` is the turn it was last stepped in, or begun in before its first step (then it
    is ``fresh``): a newcomer queues behind those who already wait for their next step. ``rows``
    is its part of a shared pass, ``left`` the steps it still needs (0: unknown).
    """

    id: str
    kind: JobKind
    key: str
    order: int
    last_turn: int
    fresh: bool = False
    rows: int = 1
    left: int = 0


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits: requests stepped at a time of each kind, and rows of one shared pass by key."""

    active: Mapping[JobKind, int]
    batch: Mapping[str, int]
    """Most rows of a pass, from the measured curve; a key not named has no limit but ``active``."""


@dataclass(frozen=True, slots=True)
class Models:
    """Where the models of waiting requests stand; a model in none of the three can be loaded."""

    ready: Collection[str]
    """Loaded: their requests may begin."""
    coming: Collection[str] = ()
    """Being loaded, their room already taken: requests behind theirs may pass meanwhile."""
    blocked: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Without room, and the busy models that must end first: those admit nobody younger."""


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
    waiting: Sequence[Waiting], active: Sequence[Active], caps: Caps, models: Models
) -> tuple[str, ...]:
    """Ids of waiting requests to begin now, oldest first within each kind.

    A kind's queue stops at the first request whose model has no room, and the models in its way
    begin nothing that arrived after it, whatever the kind: letting younger requests pass would
    keep the running models busy for ever and starve it. So switches follow the order of arrival,
    which the claim has already bundled by model within its slack. A request whose model is just
    being loaded holds nobody up: its turn comes by itself.
    """
    by_age = sorted(waiting, key=lambda w: w.order)
    admitted: list[Waiting] = []
    room = {k: caps.active.get(k, 0) - sum(a.kind is k for a in active) for k in JobKind}
    closed: set[JobKind] = set()
    draining: set[str] = set()
    for request in by_age:
        if request.model in models.blocked:
            closed.add(request.kind)
            draining |= set(models.blocked[request.model])
        elif request.kind in closed or request.model in models.coming:
            continue
        elif request.model not in models.ready or request.model in draining:
            closed.add(request.kind)
        elif room[request.kind] > 0:
            admitted.append(request)
            room[request.kind] -= 1
    return tuple(w.id for w in admitted)


def next_batch(
    active: Sequence[Active], caps: Caps, spent: Mapping[JobKind, float] | None = None
) -> Batch | None:
    """The batch to step now; ``spent`` is the engine time each kind has had (any unit).

    The kind that had less goes, so tokens of milliseconds and picture steps of seconds share the
    engine's *time*: neither waits for more than one step of the other, plus what that step cost.
    Chat goes first on a tie: someone is reading along. Within a kind the batch keys take turns.
    Within a key everyone steps together up to the cap, beyond it those who waited longest; where
    the measured cap leaves one request a pass (sharing gains nothing), requests of like length
    run one after another, oldest first, since taking turns would only delay all but the last,
    and requests of unlike length take turns, since a short one need not wait for a long one.
    """
    if not active:
        return None
    used = spent or {}
    kinds = {a.kind for a in active}
    kind = min(kinds, key=lambda k: (used.get(k, 0.0), k is not JobKind.CHAT))
    groups: dict[str, list[Active]] = {}
    for a in active:
        if a.kind is kind:
            groups.setdefault(a.key, []).append(a)
    key = min(groups, key=lambda k: _last(groups[k]))
    mates = sorted(groups[key], key=lambda a: (a.last_turn, a.order))
    cap = caps.batch.get(key, sum(a.rows for a in mates))
    if cap < mates[0].rows + min((a.rows for a in mates[1:]), default=0):
        oldest = min(mates, key=lambda a: a.order)
        chosen = [mates[0] if _differ(mates) else oldest]
    else:
        chosen, rows = [], 0
        for mate in mates:
            if chosen and rows + mate.rows > cap:
                continue
            chosen.append(mate)
            rows += mate.rows
    return Batch(kind, key, tuple(a.id for a in sorted(chosen, key=lambda a: a.order)))


def _last(mates: Sequence[Active]) -> tuple[int, int]:
    """When a key was last stepped; a key of newcomers only counts from their beginning."""
    stepped = [a.last_turn for a in mates if not a.fresh]
    turn = max(stepped) if stepped else min(a.last_turn for a in mates)
    return turn, min(a.order for a in mates)


def _differ(mates: Sequence[Active]) -> bool:
    """Whether the lengths of requests are so unlike that the short ones gain by taking turns."""
    left = [a.left for a in mates]
    return max(left) >= DIFFER * max(1, min(left))


def plan(
    waiting: Sequence[Waiting],
    active: Sequence[Active],
    caps: Caps,
    models: Models,
    spent: Mapping[JobKind, float] | None = None,
) -> Plan:
    """What to begin and what to step in this turn, were nothing begun."""
    return Plan(admissible(waiting, active, caps, models), next_batch(active, caps, spent))
