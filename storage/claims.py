"""Whose turn it is: the claim, its order, and the counters that make it fair.

Two levels after start-time fair queueing (Goyal, Vin, Cheng 1996) and VTC (arXiv 2401.00588):
every workspace, and every member in it, carries the virtual engine milliseconds it was *served*;
the least served goes first, a claim charges its estimate at once and the end corrects it. Whoever
returns after a silence starts at the virtual clock (the highest *tag*: a counter as it was when
its last job was claimed), so idle time earns nothing; the lowest active counter would not do,
because a member held back by ``max_running`` may trail far behind it for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from storage.ledger import changed, release
from storage.models import Job, Member, Outbox, Workspace
from storage.schema import (
    OPEN_STATUSES,
    AnySpec,
    JobKind,
    JobStatus,
    Millis,
    Verdict,
    parse_spec,
)
from storage.tenant import Across, across
from storage.turns import MAX_ATTEMPTS as MAX_ATTEMPTS
from storage.turns import OVERTAKE, TAKE, TURN, Candidate, fairest, ready

log = logging.getLogger(__name__)

LEASE_MS = 10_000
"""How long a claim is ours without renewal; RELIABILITY.md measured 7 to 9.5 s recovery with it."""
SLACK_MS = 16_000
"""How far behind the fairest a job of an already loaded model may be and still go first, and how
much work may overtake any one job that way."""
_CLAIM_LOCK = 4712
"""Postgres advisory lock: claims happen one after another, as they do on SQLite anyway."""


@dataclass(frozen=True)
class Claim:
    """A job that is ours until ``lease_until``: what to run and the fence to write with."""

    job_id: str
    workspace_id: str
    member_id: str
    kind: JobKind
    spec: AnySpec
    fence: int
    attempts: int
    deadline_ms: int
    created_at: Millis
    reserved: int
    verdict: Verdict
    """What the gate found in the prompt; joins the verdict on everything made from it."""
    cached: bool = False
    """All of it was in the recipe cache when it was asked for."""
    again_of: str | None = None
    """The generation to compare with."""
    age_restricted: bool | None = None
    """What the platform says of the channel it goes to; decides which policy judges it."""
    claimed_at: Millis = 0
    rate: int = 10_000
    """What the workspace charged when it was asked for: settled by it, whatever is in force now."""
    predicted_ms: int | None = None
    """What was foreseen from being asked for to being done."""


def claim(
    session: Session,
    *,
    worker: str,
    room: Mapping[JobKind, int],
    now: Millis,
    loaded: Collection[str] = (),
    leave: Collection[str] = (),
    slack_ms: int = SLACK_MS,
    lease_ms: int = LEASE_MS,
) -> Claim | None:
    """Take the fairest job there is room for; None when there is none.

    Order: least served workspace, then least served member in it, then oldest. A job of a
    ``loaded`` model goes first while its workspace and member are within ``slack_ms`` of the
    fairest, and while no more than ``slack_ms`` of work has overtaken the fairest job already.
    A job whose owner's lease ran out may be claimed like a queued one. Jobs that the recipe cache
    answers need no room and go before all others. The estimate is charged
    to the counters now and corrected at the end, so that one member's many jobs do not all start
    before the first is charged. ``leave`` names models whose jobs other workers run.
    """
    kinds = [kind for kind, places in room.items() if places > 0]
    if session.get_bind().dialect.name == "postgresql":
        # Two claimers that do not see each other's counters would both take the same member's
        # jobs, past max_running and past the member's share.
        session.execute(select(func.pg_advisory_xact_lock(_CLAIM_LOCK)))
    skip: set[str] = set()
    while True:
        first = fairest(session, kinds, now, skip, jumps=True, leave=leave)
        if first is None:
            return None
        job = first
        if loaded and first.model not in loaded and not first.cached:
            job = _within_slack(session, first, kinds, now, skip, loaded, leave, slack_ms)
            job = job or first
        charge = max(1, job.estimate_ms)
        taken = {
            "job": job.id, "seen": job.fence, "was": job.status, "by": worker,
            "until": now + lease_ms, "charge": charge, "at": now,
            # The submitter read its clock before it waited for the write lock.
            "waited": max(0, now - job.created_at),
        }  # fmt: skip
        if not changed(session, TAKE, taken):
            skip.add(job.id)
            continue
        if job.id != first.id:
            session.execute(OVERTAKE, {"job": first.id, "charge": charge})
        _begin_turn(session, job, charge)
        try:
            spec = parse_spec(job.spec)
            verdict = Verdict.parse(job.verdict) if job.verdict is not None else Verdict()
        except (ValueError, KeyError):
            # Written by another version of us. It must not stand in everybody's way.
            _give_up(session, job, charge, now)
            skip.add(job.id)
            continue
        return Claim(
            job_id=job.id, workspace_id=job.workspace_id, member_id=job.member_id,
            kind=JobKind(job.kind), spec=spec, fence=job.fence + 1, attempts=job.attempts + 1,
            deadline_ms=job.deadline_ms, created_at=job.created_at, reserved=job.reserved or 0,
            verdict=verdict, cached=job.cached, again_of=job.again_of,
            age_restricted=job.address.get("age_restricted"),
            rate=job.rate, predicted_ms=job.predicted_ms, claimed_at=now,
        )  # fmt: skip


def _begin_turn(session: Session, job: Candidate, charge: Millis) -> None:
    """Move the virtual clocks to where this turn began and charge it; member, then workspace."""
    # A crashed run's estimate is still on the counters: it is not charged twice.
    before = job.charged_ms if job.status == JobStatus.RUNNING else 0
    member, space = TURN
    share = _share(charge, before, job.weight)
    session.execute(member, {"row": job.member_id, "charge": share})
    session.execute(space, {"row": job.workspace_id, "charge": charge - before})


def _share(add: Millis, remove: Millis, weight: int) -> Millis:
    """A member's part of a charge: each part rounded the same way."""
    weight = max(1, weight)
    return add // weight - remove // weight


def _give_up(session: Session, job: Candidate, charge: Millis, now: Millis) -> None:
    """End a job nobody can read, at no cost, in the transaction that claimed it."""
    log.error("job %s cannot be read and was given up", job.id)
    session.execute(
        update(Job)
        .where(col(Job.id) == job.id)
        .values(
            status=JobStatus.FAILED, finished_at=now, lease_until=None, charged_ms=0, cost=0,
            error_code="operator", error_params={},
        )
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    charge_counters(session, job.workspace_id, job.member_id, job.weight, remove=charge)
    release(session, job.id)
    session.add(Outbox(job_id=job.id, topic="announce", created_at=now))
    session.flush()


def claimable(session: Session, *, now: Millis) -> int:
    """How many jobs could be claimed now if there were room: what the reconciler asks."""
    return int(
        session.execute(select(func.count()).select_from(Job).where(ready(now))).scalar_one()
    )


def _within_slack(
    session: Session,
    first: Candidate,
    kinds: Sequence[JobKind],
    now: Millis,
    skip: Collection[str],
    loaded: Collection[str],
    leave: Collection[str],
    slack_ms: int,
) -> Candidate | None:
    """A job of a loaded model that may go before the fairest one, or None.

    Counters alone do not bound the wait: newcomers start at the clock, level with the fairest,
    so an endless stream of them would pass it. What one job has already let pass does.
    """
    other = fairest(session, kinds, now, skip, models=loaded, leave=leave)
    if other is None or first.overtaken_ms + max(1, other.estimate_ms) > slack_ms:
        return None
    rival = first
    if other.workspace_id != first.workspace_id:
        if other.space_served - first.space_served > slack_ms:
            return None
        rival = fairest(session, kinds, now, skip, leave=leave, inside=other.workspace_id)
    if rival is not None and other.member_served - rival.member_served > slack_ms:
        return None
    return other


def charge_counters(
    session: Session,
    workspace_id: str,
    member_id: str,
    weight: int,
    *,
    add: Millis = 0,
    remove: Millis = 0,
) -> None:
    """Put engine time on both fairness counters and take an earlier charge off.

    The member's share is divided by the tier's weight, each part rounded the same way, so that
    a charge taken off leaves exactly what was there.
    """
    session.execute(
        update(Member)
        .where(col(Member.id) == member_id)
        .values(served=col(Member.served) + _share(add, remove, weight))
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Workspace)
        .where(col(Workspace.id) == workspace_id)
        .values(served=col(Workspace.served) + (add - remove))
        .execution_options(synchronize_session=False)
    )


def lift(session: Session, workspace_id: str, member_id: str) -> None:
    """Bring a member with nothing open, and a workspace with nothing open, to the virtual clock.

    Without this, a week of silence would buy a day of the GPU. When nobody is active the clock
    is the highest counter: a new busy period owes nobody anything.
    """
    busy = count_open(session, workspace_id=workspace_id) > 0
    clock = session.execute(
        select(func.max(col(Member.tag) if busy else col(Member.served))).where(
            Member.workspace_id == workspace_id
        )
    ).scalar()
    _raise(session, Member, member_id, clock)
    if not busy:
        with across(Across.LINE):
            anyone = count_open(session) > 0
            clock = session.execute(
                select(func.max(col(Workspace.tag) if anyone else col(Workspace.served)))
            ).scalar()
        _raise(session, Workspace, workspace_id, clock)


def _raise(
    session: Session, table: type[Member] | type[Workspace], row_id: str, clock: Millis | None
) -> None:
    session.execute(
        update(table)
        .where(col(table.id) == row_id, col(table.served) < (clock or 0))
        .values(served=clock)
        .execution_options(synchronize_session=False)
    )


def count_open(
    session: Session, *, member_id: str | None = None, workspace_id: str | None = None
) -> int:
    """How many jobs are queued or running, of everyone, a workspace or a member."""
    query = select(func.count()).select_from(Job).where(col(Job.status).in_(OPEN_STATUSES))
    if member_id is not None:
        query = query.where(Job.member_id == member_id)
    if workspace_id is not None:
        query = query.where(Job.workspace_id == workspace_id)
    return int(session.execute(query).scalar_one())
