"""Jobs as rows: submit, renew, finish, give back, cancel, sweep. The row is the truth about a job.

Each function is one step of the story and runs inside one transaction of its caller. Whoever
claims a job (:mod:`storage.claims`) gets its *fence*; every later write of the owner names the
fence, so a worker that lost its lease (killed, stopped, swapped out) writes to no row and its work
is thrown away. Source: RELIABILITY.md 2 (outbox, fencing, lease and heartbeat).

Rows are locked in one order everywhere, so that two transactions never wait in a ring:
job, member, workspace, reservation, the member's account, the shared accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from storage import ledger
from storage.claims import LEASE_MS as LEASE_MS
from storage.claims import MAX_ATTEMPTS as MAX_ATTEMPTS
from storage.claims import SLACK_MS as SLACK_MS
from storage.claims import Claim as Claim
from storage.claims import charge_counters, lift
from storage.claims import claim as claim
from storage.claims import claimable as claimable
from storage.claims import count_open as count_open
from storage.errors import LimitReached, NotAllowed, NotFound
from storage.ledger import changed
from storage.models import Generation, Job, Member, Outbox, Tier, Workspace
from storage.places import place_of
from storage.prices import PUBLISHED
from storage.rules import rules_of
from storage.schema import (
    TERMINAL_STATUSES,
    Address,
    AnySpec,
    GenerationStatus,
    JobStatus,
    Millis,
    Role,
    Verdict,
    batch_key,
    is_id,
    new_id,
    role_at_least,
)
from storage.threads import conversation as conversation
from storage.threads import remember as remember
from storage.workspaces import Actor, account_of


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
    recipe_key: str | None = None
    id: str = field(default_factory=new_id)


def submit(
    session: Session,
    actor: Actor,
    spec: AnySpec,
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
    verdict: Verdict | None = None,
    also: Callable[[Session, Job], None] | None = None,
    cached: bool = False,
    again_of: str | None = None,
    rate: int = PUBLISHED,
) -> tuple[Job, bool]:
    """Job, reservation and outbox row in one transaction; ``(job, True)`` when this call made it.

    ``also`` writes what belongs to the fresh job in the same transaction (its post). ``cached``
    says that all of it is in the recipe cache; ``again_of`` is the generation it makes anew.
    ``price`` is what is held, ``rate`` what it is settled by.
    ``max_wait_ms`` bounds what this very job would wait for in the line's fair order, so that one
    member's long backlog refuses nobody else.

    The same ``key`` in the same workspace is the same job, however often it is delivered.
    Raises ``LimitReached`` for a full queue (``queue_full_member``, ``queue_full_workspace``),
    too long a wait (``wait_too_long``) or too few credits (``credits_short``); then nothing was
    stored. Raises ``NotAllowed('not_yours')`` when the key belongs to somebody else's job.
    """
    workspace, member, tier = actor.workspace, actor.member, actor.tier
    # Locking both rows makes counting and inserting one step for this member and workspace.
    for locked in (
        select(Member.id).where(Member.id == member.id),
        select(Workspace.id).where(Workspace.id == workspace.id),
    ):
        session.exec(locked.with_for_update(key_share=True)).one()
    known = session.exec(
        select(Job).where(Job.workspace_id == workspace.id, Job.key == key)
    ).first()
    if known is not None:
        if known.member_id != member.id:
            raise NotAllowed("not_yours")
        return known, False
    mine = count_open(session, member_id=member.id)
    if mine >= tier.max_queued:
        raise LimitReached("queue_full_member", limit=tier.max_queued)
    most = workspace.max_queued
    if "limits" in workspace.settings:
        most = rules_of(workspace.settings).limits.max_queued
    if count_open(session, workspace_id=workspace.id) >= most:
        raise LimitReached("queue_full_workspace", limit=most)
    if mine == 0:
        lift(session, workspace.id, member.id)
    job = Job(
        workspace_id=workspace.id, member_id=member.id, key=key, kind=spec.kind, model=spec.model,
        batch_key=batch_key(spec), spec=spec.model_dump(mode="json"),
        address=address.model_dump(mode="json"), locale=locale, estimate_ms=estimate_ms,
        deadline_ms=deadline_ms, created_at=now, parent_id=parent_id,
        verdict=verdict.dump() if verdict is not None else None, cached=cached, again_of=again_of,
        rate=rate,
    )  # fmt: skip
    session.add(job)
    session.flush()
    place = place_of(session, job.id, now=now)
    if place is not None and not cached:
        job.predicted_ms = max(1, place.eta_at - now)
        wait = job.predicted_ms - estimate_ms
        if max_wait_ms is not None and wait > max_wait_ms:
            raise LimitReached("wait_too_long", minutes=-(-wait // 60_000))
    ledger.reserve(session, account_of(member), price, job_id=job.id, now=now)
    session.add(Outbox(job_id=job.id, topic="ticket", created_at=now))
    if also is not None:
        also(session, job)
    session.flush()
    return job, True


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
            error_code=error_code, error_params=dict(error_params or {}),
        ),
    )  # fmt: skip
    if not ended:
        return False
    if verdict is not None:
        # Without one, what the gate found in the prompt stays.
        session.execute(
            update(Job)
            .where(col(Job.id) == job_id)
            .values(verdict=dict(verdict))
            .execution_options(synchronize_session=False)
        )
    job = session.get_one(Job, job_id, populate_existing=True)
    for item in made:
        session.add(
            Generation(
                id=item.id, job_id=job_id, workspace_id=job.workspace_id, index=item.index,
                kind=job.kind, status=item.status, seed=item.seed, recipe=dict(item.recipe),
                verdict=dict(item.verdict), blob=item.blob, text=item.text, width=item.width,
                height=item.height, sha256=item.sha256, recipe_key=item.recipe_key, created_at=now,
            )
        )  # fmt: skip
    member = session.get_one(Member, job.member_id)
    weight = session.get_one(Tier, member.tier_id).weight
    charge_counters(
        session, job.workspace_id, job.member_id, weight, add=engine_ms, remove=job.charged_ms
    )
    # What the counters carry now is the truth; the operator's sums read it from the row.
    job.charged_ms = engine_ms
    session.add(job)
    session.flush()
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
    """Return a running job to the queue on a graceful stop; it costs no attempt.

    A job whose member asked for its end meanwhile is ended instead: nobody would claim it again.
    False when the fence is stale.
    """
    if not changed(session, _owned(job_id, fence).values(lease_until=None, worker=None)):
        return False
    job = session.get_one(Job, job_id, populate_existing=True)
    stopped = job.cancel_requested_at is not None
    session.execute(
        _owned(job_id, fence).values(
            status=JobStatus.CANCELLED if stopped else JobStatus.QUEUED,
            finished_at=now if stopped else None, cost=0 if stopped else None, charged_ms=0,
            attempts=col(Job.attempts) - 1, started_at=None, queued_ms=None,
        )
    )  # fmt: skip
    member = session.get_one(Member, job.member_id)
    weight = session.get_one(Tier, member.tier_id).weight
    charge_counters(session, job.workspace_id, job.member_id, weight, remove=job.charged_ms)
    if stopped:
        _close(session, session.get_one(Job, job_id, populate_existing=True), 0, now)
    else:
        session.add(Outbox(job_id=job_id, topic="ticket", created_at=now))
        session.flush()
    return True


def cancel(session: Session, job_id: str, *, actor: Actor, now: Millis) -> JobStatus:
    """Stop a job for its owner or a moderator; returns the status it has afterwards.

    Queued: cancelled at once and released. Running: asked to stop, within one step. Ended:
    nothing changes. Raises ``NotFound`` or ``NotAllowed``.
    """
    job = find(session, job_id, workspace_id=actor.workspace.id)
    if job.member_id != actor.member.id and not role_at_least(actor.member.role, Role.MODERATOR):
        raise NotAllowed("not_yours")
    return stop(session, job, now=now)


def stop(session: Session, job: Job, *, now: Millis) -> JobStatus:
    """Stop a job as :func:`cancel` does, for whoever was allowed to already."""
    job_id = job.id
    # Between two UPDATEs a claim or a give-back could slip through; behind a lock it cannot.
    session.exec(select(Job.id).where(Job.id == job_id).with_for_update()).one()
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
        # By member: two sweeps that release several jobs touch the accounts in one order.
        .order_by(col(Job.member_id), col(Job.id))
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


def find(session: Session, job_id: str, *, workspace_id: str) -> Job:
    """A job of this workspace. Raises ``NotFound('job_unknown')``, for foreign jobs too."""
    job = None
    if is_id(job_id):
        job = session.exec(
            select(Job).where(Job.id == job_id, Job.workspace_id == workspace_id)
        ).first()
    if job is None:
        raise NotFound("job_unknown")
    return job
