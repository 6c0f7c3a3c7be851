"""The claim's statements, built once: putting one together costs more than running it.

Measured on SQLite with one job waiting: half of a claim's processor time went into building the
same expressions again. What differs from call to call comes in as parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, update
from sqlmodel import Session, SQLModel, col, select

from storage.models import Job, Member, Reservation, Tier, Workspace
from storage.schema import JobKind, JobStatus, Millis

MAX_ATTEMPTS = 3
"""Crashed runs after which a job is given up: a poison job must not kill workers for ever."""

Candidate = Any
"""A row of :func:`fairest`: the job's columns by their names, ``space_served`` and
``member_served`` (the counters), the tier's ``weight`` and the ``reserved`` credits or None."""


def ready(now: Any) -> Any:
    """The condition of a job that may be claimed: queued, or its owner's lease ran out."""
    return and_(
        or_(
            col(Job.status) == JobStatus.QUEUED,
            and_(col(Job.status) == JobStatus.RUNNING, col(Job.lease_until) < now),
        ),
        col(Job.cancel_requested_at).is_(None),
        col(Job.attempts) < MAX_ATTEMPTS,
    )


@cache
def _fairest(
    *, jumps: bool, room: bool, skips: bool, leaves: bool, models: bool, inside: bool
) -> Any:
    now: Any = bindparam("now")
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
    reserved = (
        select(Reservation.amount)
        .where(col(Reservation.job_id) == col(Job.id))
        .correlate(Job)
        .scalar_subquery()
    )
    answered = and_(col(Job.cached).is_(True), col(Job.kind) == JobKind.IMAGE)
    fits = and_(
        col(Job.kind).in_(bindparam("kinds", expanding=True)), running < col(Tier.max_running)
    )
    if leaves:
        fits = and_(fits, col(Job.model).not_in(bindparam("leave", expanding=True)))
    columns: list[Any] = [
        Job.id, Job.workspace_id, Job.member_id, Job.kind, Job.model, Job.spec, Job.address,
        Job.fence, Job.attempts, Job.status, Job.deadline_ms, Job.created_at, Job.estimate_ms,
        Job.charged_ms, Job.overtaken_ms, Job.verdict, Job.cached, Job.again_of, Job.predicted_ms,
        Job.rate,
        col(Workspace.served).label("space_served"), col(Member.served).label("member_served"),
        Tier.weight, reserved.label("reserved"),
    ]  # fmt: skip
    order: list[Any] = [col(Workspace.served), col(Member.served), col(Job.id)]
    if jumps:
        fits = or_(answered, fits) if room else answered
        order.insert(0, col(Job.cached).desc())
    query: Any = select(*columns)
    query = (
        query.join(Workspace, col(Workspace.id) == col(Job.workspace_id))
        .join(Member, col(Member.id) == col(Job.member_id))
        .join(Tier, col(Tier.id) == col(Member.tier_id))
        .where(ready(now), fits)
        .order_by(*order)
        .limit(1)
        .with_for_update(skip_locked=True, of=Job)
    )
    if skips:
        query = query.where(col(Job.id).not_in(bindparam("skip", expanding=True)))
    if models:
        query = query.where(col(Job.model).in_(bindparam("models", expanding=True)))
    if inside:
        query = query.where(col(Job.workspace_id) == bindparam("inside"))
    return query


def fairest(
    session: Session,
    kinds: Sequence[JobKind],
    now: Millis,
    skip: Collection[str],
    *,
    jumps: bool = False,
    models: Collection[str] | None = None,
    leave: Collection[str] = (),
    inside: str | None = None,
) -> Candidate | None:
    """The job whose turn it is among those of ``kinds`` whose member may have one more running.

    With ``jumps`` a job that the recipe cache answers goes before all others, room or not.
    ``models`` and ``inside`` (a workspace) narrow the choice; ``skip`` are jobs to leave out, and
    ``leave`` models.
    """
    query = _fairest(
        jumps=jumps, room=bool(kinds), skips=bool(skip), leaves=bool(leave),
        models=models is not None, inside=inside is not None,
    )  # fmt: skip
    values: dict[str, Any] = {"now": now}
    if kinds or not jumps:
        values["kinds"] = list(kinds)
        if leave:
            values["leave"] = list(leave)
    if skip:
        values["skip"] = list(skip)
    if models is not None:
        values["models"] = list(models)
    if inside is not None:
        values["inside"] = inside
    return session.execute(query, values).first()


# Plain tables: an ORM update is taken apart and put together again at every execution.
_job = SQLModel.metadata.tables["job"]

TAKE = (
    update(_job)
    .where(
        _job.c.id == bindparam("job"),
        _job.c.fence == bindparam("seen"),
        _job.c.status == bindparam("was"),
    )
    .values(
        status=JobStatus.RUNNING,
        fence=_job.c.fence + 1,
        worker=bindparam("by"),
        lease_until=bindparam("until"),
        charged_ms=bindparam("charge"),
        attempts=_job.c.attempts + 1,
        started_at=bindparam("at"),
        queued_ms=bindparam("waited"),
    )
)
"""Makes a job ours, if nobody was quicker."""

OVERTAKE = (
    update(_job)
    .where(_job.c.id == bindparam("job"))
    .values(overtaken_ms=_job.c.overtaken_ms + bindparam("charge"))
)
"""Notes work that went ahead of a job out of turn."""

TURN = tuple(
    update(table)
    .where(table.c.id == bindparam("row"))
    # Both from the counter as it was before.
    .values(tag=table.c.served, served=table.c.served + bindparam("charge"))
    for table in map(SQLModel.metadata.tables.__getitem__, ("member", "workspace"))
)
"""Member, then workspace: the clocks move to where this turn began, the counters are charged."""
