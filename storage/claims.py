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
from typing import Any

from sqlalchemy import and_, func, or_, update
from sqlmodel import Session, col, select

from storage.ledger import changed, release
from storage.models import Job, Member, Outbox, Reservation, Tier, Workspace
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

log = logging.getLogger(__name__)

LEASE_MS = 10_000
"""How long a claim is ours without renewal; RELIABILITY.md measured 7 to 9.5 s recovery with it."""
MAX_ATTEMPTS = 3
"""Crashed runs after which a job is given up: a poison job must not kill workers for ever."""
SLACK_MS = 16_000
"""How far behind the fairest a job of an already loaded model may be and still go first, and how
much work may overtake any one job that way."""
_CLAIM_LOCK = 4712
"""Postgres advisory lock: claims happen one after another, as they do on SQLite anyway."""

Candidate = tuple[Job, Workspace, Member, Tier]


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
        fairest = _fairest(session, [JobKind.IMAGE], now, skip, cached=True)
        if fairest is None and kinds:
            fairest = _fairest(session, kinds, now, skip, leave=leave)
        if fairest is None:
            return None
        pick, overtaken = fairest, None
        if loaded and fairest[0].model not in loaded and not fairest[0].cached:
            other = _within_slack(session, fairest, kinds, now, skip, loaded, leave, slack_ms)
            if other is not None:
                pick, overtaken = other, fairest[0]
        job, space, member, tier = pick
        charge = max(1, job.estimate_ms)
        taken = changed(
            session,
            update(Job)
            .where(
                col(Job.id) == job.id, col(Job.fence) == job.fence, col(Job.status) == job.status
            )
            .values(
                status=JobStatus.RUNNING, fence=col(Job.fence) + 1, worker=worker,
                lease_until=now + lease_ms, charged_ms=charge,
                attempts=col(Job.attempts) + 1,
                started_at=now,
                # The submitter read its clock before it waited for the write lock.
                queued_ms=max(0, now - job.created_at),
            )
            .execution_options(synchronize_session=False),
        )  # fmt: skip
        if not taken:
            skip.add(job.id)
            continue
        if overtaken is not None:
            session.execute(
                update(Job)
                .where(col(Job.id) == overtaken.id)
                .values(overtaken_ms=col(Job.overtaken_ms) + charge)
                .execution_options(synchronize_session=False)
            )
        # A crashed run's estimate is still on the counters: it is not charged twice.
        before = job.charged_ms if job.status == JobStatus.RUNNING else 0
        _set_tag(session, space, member)
        charge_counters(session, space.id, member.id, tier.weight, add=charge, remove=before)
        reserved = session.get(Reservation, job.id)
        try:
            spec = parse_spec(job.spec)
            verdict = Verdict.parse(job.verdict) if job.verdict is not None else Verdict()
        except (ValueError, KeyError):
            # Written by another version of us. It must not stand in everybody's way.
            _give_up(session, job, space, member, tier, charge, now)
            skip.add(job.id)
            continue
        return Claim(
            job_id=job.id, workspace_id=space.id, member_id=member.id, kind=JobKind(job.kind),
            spec=spec, fence=job.fence + 1, attempts=job.attempts + 1,
            deadline_ms=job.deadline_ms, created_at=job.created_at,
            reserved=reserved.amount if reserved else 0,
            verdict=verdict, cached=job.cached, again_of=job.again_of,
            age_restricted=job.address.get("age_restricted"),
            predicted_ms=job.predicted_ms, claimed_at=now,
        )  # fmt: skip


def _give_up(
    session: Session,
    job: Job,
    space: Workspace,
    member: Member,
    tier: Tier,
    charge: Millis,
    now: Millis,
) -> None:
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
    charge_counters(session, space.id, member.id, tier.weight, remove=charge)
    release(session, job.id)
    session.add(Outbox(job_id=job.id, topic="announce", created_at=now))
    session.flush()


def ready(now: Millis) -> Any:
    """The condition of a job that may be claimed: queued, or its owner's lease ran out."""
    return and_(
        or_(
            col(Job.status) == JobStatus.QUEUED,
            and_(col(Job.status) == JobStatus.RUNNING, col(Job.lease_until) < now),
        ),
        col(Job.cancel_requested_at).is_(None),
        col(Job.attempts) < MAX_ATTEMPTS,
    )


def claimable(session: Session, *, now: Millis) -> int:
    """How many jobs could be claimed now if there were room: what the reconciler asks."""
    return int(
        session.execute(select(func.count()).select_from(Job).where(ready(now))).scalar_one()
    )


def _fairest(
    session: Session,
    kinds: Sequence[JobKind],
    now: Millis,
    skip: Collection[str],
    *,
    models: Collection[str] | None = None,
    leave: Collection[str] = (),
    workspace_id: str | None = None,
    cached: bool = False,
) -> Candidate | None:
    running = (
        select(func.count())
        .select_from(Job)
        .where(
            col(Job.member_id) == col(Member.id),
            col(Job.status) == JobStatus.RUNNING,
            col(Job.lease_until) >= now,
        )
        .correlate(Member)
        .scalar_subquery()
    )
    query = (
        select(Job, Workspace, Member, Tier)
        .join(Workspace, col(Workspace.id) == col(Job.workspace_id))
        .join(Member, col(Member.id) == col(Job.member_id))
        .join(Tier, col(Tier.id) == col(Member.tier_id))
        .where(ready(now), col(Job.kind).in_(kinds))
        .order_by(col(Workspace.served), col(Member.served), col(Job.id))
        .limit(1)
        .with_for_update(skip_locked=True, of=Job)
        .execution_options(populate_existing=True)
    )
    if cached:
        query = query.where(col(Job.cached).is_(True))
    else:
        query = query.where(running < col(Tier.max_running))
    if skip:
        query = query.where(col(Job.id).not_in(skip))
    if models is not None:
        query = query.where(col(Job.model).in_(models))
    if leave:
        query = query.where(col(Job.model).not_in(leave))
    if workspace_id is not None:
        query = query.where(col(Job.workspace_id) == workspace_id)
    row = session.exec(query).first()
    return (row[0], row[1], row[2], row[3]) if row is not None else None


def _within_slack(
    session: Session,
    fairest: Candidate,
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
    job, space, _, _ = fairest
    other = _fairest(session, kinds, now, skip, models=loaded, leave=leave)
    if other is None or job.overtaken_ms + max(1, other[0].estimate_ms) > slack_ms:
        return None
    rival: Candidate | None = fairest
    if other[1].id != space.id:
        if other[1].served - space.served > slack_ms:
            return None
        rival = _fairest(session, kinds, now, skip, leave=leave, workspace_id=other[1].id)
    if rival is not None and other[2].served - rival[2].served > slack_ms:
        return None
    return other


def _set_tag(session: Session, space: Workspace, member: Member) -> None:
    """Move the virtual clocks: this turn began at these counters. Locks member, then workspace."""
    for table, row in ((Member, member), (Workspace, space)):
        session.execute(
            update(table)
            .where(col(table.id) == row.id)
            .values(tag=row.served)
            .execution_options(synchronize_session=False)
        )


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
    weight = max(1, weight)
    session.execute(
        update(Member)
        .where(col(Member.id) == member_id)
        .values(served=col(Member.served) + (add // weight - remove // weight))
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
