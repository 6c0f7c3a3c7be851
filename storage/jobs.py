"""Jobs as rows: submit, claim, renew, finish, cancel, sweep. The row is the truth about a job.

Each function is one step of the story and runs inside one transaction of its caller. Whoever
claims a job gets its *fence*; every later write of the owner names the fence, so a worker that
lost its lease (killed, stopped, swapped out) writes to no row and its work is thrown away.
Sources: RELIABILITY.md 2 (outbox, fencing, lease and heartbeat) and 4 (two-level fairness after
VTC, arXiv 2401.00588: least served first, a returning member lifted to the active minimum).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, func, or_, update
from sqlmodel import Session, col, select

from storage import ledger
from storage.errors import LimitReached, NotAllowed, NotFound
from storage.ledger import changed
from storage.models import (
    Generation,
    Job,
    Member,
    Message,
    Outbox,
    Reservation,
    Tier,
    Workspace,
)
from storage.schema import (
    OPEN_STATUSES,
    TERMINAL_STATUSES,
    Address,
    ChatSpec,
    GenerationStatus,
    ImageSpec,
    JobKind,
    JobStatus,
    Millis,
    batch_key,
    new_id,
    parse_spec,
)
from storage.workspaces import Actor

LEASE_MS = 10_000
"""How long a claim is ours without renewal; RELIABILITY.md measured 7 to 9.5 s recovery with it."""
MAX_ATTEMPTS = 3
"""Crashed runs after which a job is given up: a poison job must not kill workers for ever."""
SLACK_MS = 16_000
"""How far behind the fairest a job of an already loaded model may be and still go first."""


@dataclass(frozen=True)
class Claim:
    """A job that is ours until ``lease_until``: what to run and the fence to write with."""

    job_id: str
    workspace_id: str
    member_id: str
    kind: JobKind
    spec: ImageSpec | ChatSpec
    fence: int
    attempts: int
    deadline_ms: int
    created_at: Millis
    reserved: int


@dataclass(frozen=True)
class Made:
    """One output as the worker hands it over; becomes a :class:`Generation`."""

    index: int
    status: GenerationStatus
    seed: int
    recipe: Mapping[str, Any]
    verdict: Mapping[str, Any]
    blob: str | None = None
    text: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    id: str = field(default_factory=new_id)


def submit(
    session: Session,
    actor: Actor,
    spec: ImageSpec | ChatSpec,
    *,
    key: str,
    address: Address,
    locale: str,
    price: int,
    estimate_ms: int,
    deadline_ms: int,
    now: Millis,
    max_wait_ms: int | None = None,
    parent_id: str | None = None,
) -> tuple[Job, bool]:
    """Job, reservation and outbox row in one transaction; ``(job, True)`` when this call made it.

    The same ``key`` in the same workspace is the same job, however often it is delivered.
    Raises ``LimitReached`` for a full queue (``queue_full_member``, ``queue_full_workspace``),
    too long a wait (``wait_too_long``) or too few credits (``credits_short``); then nothing was
    stored.
    """
    workspace, member, tier = actor.workspace, actor.member, actor.tier
    # Locking the member's row makes the count and the insert one step for this member.
    session.exec(select(Member.id).where(Member.id == member.id).with_for_update()).one()
    known = session.exec(
        select(Job).where(Job.workspace_id == workspace.id, Job.key == key)
    ).first()
    if known is not None:
        return known, False
    mine = count_open(session, member_id=member.id)
    if mine >= tier.max_queued:
        raise LimitReached("queue_full_member", limit=tier.max_queued)
    if count_open(session, workspace_id=workspace.id) >= workspace.max_queued:
        raise LimitReached("queue_full_workspace", limit=workspace.max_queued)
    if max_wait_ms is not None:
        wait = backlog_ms(session)
        if wait > max_wait_ms:
            raise LimitReached("wait_too_long", minutes=-(-wait // 60_000))
    _lift(session, workspace.id, member.id, first=mine == 0)
    job = Job(
        workspace_id=workspace.id, member_id=member.id, key=key, kind=spec.kind, model=spec.model,
        batch_key=batch_key(spec), spec=spec.model_dump(mode="json"),
        address=address.model_dump(mode="json"), locale=locale, estimate_ms=estimate_ms,
        deadline_ms=deadline_ms, created_at=now, parent_id=parent_id,
    )  # fmt: skip
    session.add(job)
    session.flush()
    ledger.reserve(session, ledger.member_account(member.id), price, job_id=job.id, now=now)
    session.add(Outbox(job_id=job.id, topic="ticket", created_at=now))
    session.flush()
    return job, True


def _lift(session: Session, workspace_id: str, member_id: str, *, first: bool) -> None:
    """Raise a returning workspace's and member's counters to the least served active one.

    Without this, a week of silence would buy a day of the GPU.
    """
    active = select(col(Job.workspace_id)).where(col(Job.status).in_(OPEN_STATUSES))
    if first:
        peers = select(col(Job.member_id)).where(
            col(Job.status).in_(OPEN_STATUSES), Job.workspace_id == workspace_id
        )
        least = session.execute(
            select(func.min(col(Member.served))).where(col(Member.id).in_(peers))
        ).scalar()
        if least is not None:
            session.execute(
                update(Member)
                .where(col(Member.id) == member_id, col(Member.served) < least)
                .values(served=least)
                .execution_options(synchronize_session=False)
            )
    if count_open(session, workspace_id=workspace_id) == 0:
        least = session.execute(
            select(func.min(col(Workspace.served))).where(col(Workspace.id).in_(active))
        ).scalar()
        if least is not None:
            session.execute(
                update(Workspace)
                .where(col(Workspace.id) == workspace_id, col(Workspace.served) < least)
                .values(served=least)
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


def backlog_ms(session: Session) -> int:
    """Engine milliseconds foreseen for every queued job."""
    total = session.execute(
        select(func.sum(col(Job.estimate_ms))).where(Job.status == JobStatus.QUEUED)
    ).scalar()
    return int(total or 0)


def claim(
    session: Session,
    *,
    worker: str,
    room: Mapping[JobKind, int],
    now: Millis,
    loaded: Collection[str] = (),
    slack_ms: int = SLACK_MS,
    lease_ms: int = LEASE_MS,
) -> Claim | None:
    """Take the fairest job there is room for; None when there is none.

    Order: least served workspace, then least served member in it, then oldest. A job of a
    ``loaded`` model goes first while its workspace and member are within ``slack_ms`` of the
    fairest. A job whose owner's lease ran out may be claimed like a queued one. The estimate is
    charged to the counters now and corrected by :func:`finish`, so that one member's many jobs
    do not all start before the first is charged.
    """
    kinds = [kind for kind, places in room.items() if places > 0]
    if not kinds:
        return None
    skip: set[str] = set()
    while True:
        found = _fairest(session, kinds, now, skip)
        if found is None:
            return None
        job, space, member, tier = found
        if loaded and job.model not in loaded:
            other = _fairest(session, kinds, now, skip, models=loaded)
            if other is not None:
                lag = other[1].served - space.served
                if space.id == other[1].id:
                    lag = other[2].served - member.served
                if lag <= slack_ms:
                    job, space, member, tier = other
        charge = max(1, job.estimate_ms)
        crashed = job.status == JobStatus.RUNNING
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
                started_at=now, queued_ms=now - job.created_at,
            )
            .execution_options(synchronize_session=False),
        )  # fmt: skip
        if not taken:
            skip.add(job.id)
            continue
        _charge(
            session, space.id, member.id, tier.weight, charge - (job.charged_ms if crashed else 0)
        )
        reserved = session.get(Reservation, job.id)
        return Claim(
            job_id=job.id, workspace_id=space.id, member_id=member.id, kind=JobKind(job.kind),
            spec=parse_spec(job.spec), fence=job.fence + 1, attempts=job.attempts + 1,
            deadline_ms=job.deadline_ms, created_at=job.created_at,
            reserved=reserved.amount if reserved else 0,
        )  # fmt: skip


def _fairest(
    session: Session,
    kinds: Sequence[JobKind],
    now: Millis,
    skip: Collection[str],
    models: Collection[str] | None = None,
) -> tuple[Job, Workspace, Member, Tier] | None:
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
        .where(
            or_(
                col(Job.status) == JobStatus.QUEUED,
                and_(col(Job.status) == JobStatus.RUNNING, col(Job.lease_until) < now),
            ),
            col(Job.cancel_requested_at).is_(None),
            col(Job.attempts) < MAX_ATTEMPTS,
            col(Job.kind).in_(kinds),
            running < col(Tier.max_running),
        )
        .order_by(col(Workspace.served), col(Member.served), col(Job.id))
        .limit(1)
        .with_for_update(skip_locked=True, of=Job)
        .execution_options(populate_existing=True)
    )
    if skip:
        query = query.where(col(Job.id).not_in(skip))
    if models is not None:
        query = query.where(col(Job.model).in_(models))
    return session.exec(query).first()


def _charge(
    session: Session, workspace_id: str, member_id: str, weight: int, engine_ms: int
) -> None:
    """Add engine time to both fairness counters; the member's is divided by the tier's weight."""
    session.execute(
        update(Member)
        .where(col(Member.id) == member_id)
        .values(served=col(Member.served) + engine_ms // max(1, weight))
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Workspace)
        .where(col(Workspace.id) == workspace_id)
        .values(served=col(Workspace.served) + engine_ms)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class Lease:
    """What a renewal says: still ours, and whether the member wants it stopped."""

    ours: bool
    cancelled: bool


def renew(
    session: Session, job_id: str, fence: int, *, now: Millis, lease_ms: int = LEASE_MS
) -> Lease:
    """Extend the lease of a running job, proving ownership by the fence."""
    ours = changed(session, _owned(job_id, fence).values(lease_until=now + lease_ms))
    if not ours:
        return Lease(ours=False, cancelled=False)
    asked = session.exec(select(Job.cancel_requested_at).where(Job.id == job_id)).one()
    return Lease(ours=True, cancelled=asked is not None)


def _owned(job_id: str, fence: int) -> Any:
    return (
        update(Job)
        .where(
            col(Job.id) == job_id,
            col(Job.fence) == fence,
            col(Job.status) == JobStatus.RUNNING,
        )
        .execution_options(synchronize_session=False)
    )


def finish(
    session: Session,
    job_id: str,
    fence: int,
    *,
    status: JobStatus,
    now: Millis,
    made: Sequence[Made] = (),
    cost: int = 0,
    run_ms: int = 0,
    engine_ms: int = 0,
    verdict: Mapping[str, Any] | None = None,
    error_code: str | None = None,
    error_params: Mapping[str, Any] | None = None,
) -> bool:
    """End a running job: status, generations, settlement or release, counters and outbox.

    ``cost`` is settled when the job succeeded, everything else is free. False (and nothing
    written) when the fence is stale: somebody else owns the job now, or it has ended.
    """
    assert status in TERMINAL_STATUSES
    price = cost if status is JobStatus.SUCCEEDED else 0
    ended = changed(
        session,
        _owned(job_id, fence).values(
            status=status, finished_at=now, lease_until=None, run_ms=run_ms, cost=price,
            verdict=dict(verdict) if verdict is not None else None,
            error_code=error_code, error_params=dict(error_params or {}),
        ),
    )  # fmt: skip
    if not ended:
        return False
    job = session.get_one(Job, job_id, populate_existing=True)
    for item in made:
        session.add(
            Generation(
                id=item.id, job_id=job_id, workspace_id=job.workspace_id, index=item.index,
                kind=job.kind, status=item.status, seed=item.seed, recipe=dict(item.recipe),
                verdict=dict(item.verdict), blob=item.blob, text=item.text, width=item.width,
                height=item.height, sha256=item.sha256, created_at=now,
            )
        )  # fmt: skip
    member = session.get_one(Member, job.member_id)
    weight = session.get_one(Tier, member.tier_id).weight
    _charge(session, job.workspace_id, job.member_id, weight, engine_ms - job.charged_ms)
    _close(session, job, price, now)
    return True


def _close(session: Session, job: Job, price: int, now: Millis) -> None:
    """Money and announcement of an ended job, in the same transaction as its end."""
    if job.status == JobStatus.SUCCEEDED:
        ledger.settle(session, job.id, price, now=now)
    else:
        ledger.release(session, job.id)
    session.add(Outbox(job_id=job.id, topic="announce", created_at=now))
    session.flush()


def give_back(session: Session, job_id: str, fence: int, *, now: Millis) -> bool:
    """Return a running job to the queue on a graceful stop; it costs no attempt."""
    job = session.get(Job, job_id, populate_existing=True)
    returned = changed(
        session,
        _owned(job_id, fence).values(
            status=JobStatus.QUEUED, lease_until=None, worker=None, charged_ms=0,
            attempts=col(Job.attempts) - 1, started_at=None, queued_ms=None,
        ),
    )  # fmt: skip
    if not returned or job is None:
        return False
    member = session.get_one(Member, job.member_id)
    weight = session.get_one(Tier, member.tier_id).weight
    _charge(session, job.workspace_id, job.member_id, weight, -job.charged_ms)
    session.add(Outbox(job_id=job_id, topic="ticket", created_at=now))
    session.flush()
    return True


def cancel(session: Session, job_id: str, *, actor: Actor, now: Millis) -> JobStatus:
    """Stop a job for its owner or a moderator; returns the status it has afterwards.

    Queued: cancelled at once and released. Running: asked to stop, within one step. Ended:
    nothing changes. Raises ``NotFound`` or ``NotAllowed``.
    """
    job = find(session, job_id, workspace_id=actor.workspace.id)
    if job.member_id != actor.member.id and actor.member.role not in ("moderator", "admin"):
        raise NotAllowed("not_yours")
    ended = changed(
        session,
        update(Job)
        .where(col(Job.id) == job.id, col(Job.status) == JobStatus.QUEUED)
        .values(status=JobStatus.CANCELLED, finished_at=now, cancel_requested_at=now, cost=0)
        .execution_options(synchronize_session=False),
    )
    if ended:
        job = session.get_one(Job, job.id, populate_existing=True)
        _close(session, job, 0, now)
        return JobStatus.CANCELLED
    session.execute(
        update(Job)
        .where(
            col(Job.id) == job.id,
            col(Job.status) == JobStatus.RUNNING,
            col(Job.cancel_requested_at).is_(None),
        )
        .values(cancel_requested_at=now)
        .execution_options(synchronize_session=False)
    )
    job = session.get_one(Job, job.id, populate_existing=True)
    return JobStatus(job.status)


def sweep(session: Session, *, now: Millis) -> list[str]:
    """End what nobody will: cancelled or too often crashed jobs whose lease ran out.

    Returns the ids of the jobs it ended. Every worker may run it at any time.
    """
    stale = session.exec(
        select(Job)
        .where(
            col(Job.status) == JobStatus.RUNNING,
            col(Job.lease_until) < now,
            or_(col(Job.attempts) >= MAX_ATTEMPTS, col(Job.cancel_requested_at).is_not(None)),
        )
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    ended = []
    for job in stale:
        cancelled = job.cancel_requested_at is not None
        done = changed(
            session,
            _owned(job.id, job.fence).values(
                status=JobStatus.CANCELLED if cancelled else JobStatus.FAILED,
                finished_at=now, lease_until=None, fence=col(Job.fence) + 1, cost=0,
                error_code=None if cancelled else "crashed",
            ),
        )  # fmt: skip
        if done:
            _close(session, session.get_one(Job, job.id, populate_existing=True), 0, now)
            ended.append(job.id)
    return ended


def claimable(session: Session, *, now: Millis) -> int:
    """How many jobs could be claimed now if there were room: what the reconciler asks."""
    return int(
        session.execute(
            select(func.count())
            .select_from(Job)
            .where(
                or_(
                    col(Job.status) == JobStatus.QUEUED,
                    and_(col(Job.status) == JobStatus.RUNNING, col(Job.lease_until) < now),
                ),
                col(Job.attempts) < MAX_ATTEMPTS,
            )
        ).scalar_one()
    )


def find(session: Session, job_id: str, *, workspace_id: str) -> Job:
    """A job of this workspace. Raises ``NotFound('job_unknown')``, for foreign jobs too."""
    job = session.exec(
        select(Job).where(Job.id == job_id, Job.workspace_id == workspace_id)
    ).first()
    if job is None:
        raise NotFound("job_unknown", job=job_id[:30])
    return job


def remember(
    session: Session, job_id: str, *, thread: str, question: str, answer: str, now: Millis
) -> None:
    """Keep one exchange of a conversation, once per job."""
    job = session.get_one(Job, job_id)
    if session.exec(select(Message.id).where(Message.job_id == job_id)).first() is not None:
        return
    for role, text in (("user", question), ("assistant", answer)):
        session.add(
            Message(
                workspace_id=job.workspace_id, thread=thread, job_id=job_id, role=role, text=text,
                created_at=now,
            )
        )  # fmt: skip
        session.flush()


def conversation(
    session: Session, *, workspace_id: str, thread: str, limit: int = 40
) -> list[Message]:
    """The newest ``limit`` messages of a thread, oldest first."""
    rows = session.exec(
        select(Message)
        .where(Message.workspace_id == workspace_id, Message.thread == thread)
        # Ids of one millisecond do not sort; within an exchange the question comes first.
        .order_by(col(Message.job_id).desc(), col(Message.role))
        .limit(limit)
    ).all()
    return list(reversed(rows))
