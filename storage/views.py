"""What front ends read: a job with its generations, the line, a member's history, open cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import jobs
from storage.line import Waiting, line_up
from storage.models import Generation, Job, Member, Tier, Workspace
from storage.schema import (
    OPEN_STATUSES,
    TERMINAL_STATUSES,
    Address,
    GenerationStatus,
    JobStatus,
    Millis,
    Platform,
    is_id,
)

_LINE_LIMIT = 500
"""Longest line we replay for a place; beyond it the place is a plain count."""


@dataclass(frozen=True)
class Place:
    """A queued job's place: ``place`` of ``total`` jobs that share the GPU, done at ``eta_at``."""

    place: int
    total: int
    eta_at: Millis


@dataclass(frozen=True)
class JobView:
    """A job as a card shows it."""

    job: Job
    author: str
    generations: list[Generation]
    place: Place | None


def view(session: Session, job_id: str, *, workspace_id: str, now: Millis) -> JobView:
    """Everything a card needs. Raises ``NotFound('job_unknown')``."""
    job = jobs.find(session, job_id, workspace_id=workspace_id)
    return _view(session, job, now, {})


def _view(session: Session, job: Job, now: Millis, places: dict[str, Place]) -> JobView:
    """``places`` is the line as replayed for an earlier card of the same page, or empty."""
    made = session.exec(
        select(Generation).where(Generation.job_id == job.id).order_by(col(Generation.index))
    ).all()
    member = session.get_one(Member, job.member_id)
    place = None
    if job.status == JobStatus.QUEUED:
        if not places:
            places.update(_places(session, now))
        place = places.get(job.id) or _counted_place(session, job.id, now)
    elif job.status == JobStatus.RUNNING and job.started_at is not None:
        place = Place(place=0, total=0, eta_at=max(now, job.started_at + job.estimate_ms))
    return JobView(job=job, author=member.name, generations=list(made), place=place)


def place_of(session: Session, job_id: str, *, now: Millis) -> Place | None:
    """Where a queued job stands, counting what runs; None when it is not queued any more."""
    return _places(session, now).get(job_id) or _counted_place(session, job_id, now)


def _places(session: Session, now: Millis) -> dict[str, Place]:
    """The oldest ``_LINE_LIMIT`` queued jobs as they would be claimed if nothing else arrived."""
    rows = session.execute(
        select_columns(
            col(Job.id), col(Job.workspace_id), col(Job.member_id), col(Workspace.served),
            col(Member.served), col(Tier.weight), col(Job.estimate_ms),
        )
        .join(Workspace, col(Workspace.id) == col(Job.workspace_id))
        .join(Member, col(Member.id) == col(Job.member_id))
        .join(Tier, col(Tier.id) == col(Member.tier_id))
        .where(col(Job.status) == JobStatus.QUEUED)
        .order_by(col(Job.id))
        .limit(_LINE_LIMIT)
    ).all()  # fmt: skip
    running, ahead_ms = _running(session, now)
    order = line_up([Waiting(*row) for row in rows])
    total = running + (len(order) if len(order) < _LINE_LIMIT else _queued(session)[0])
    places = {}
    for index, waiting in enumerate(order):
        ahead_ms += waiting.estimate_ms
        places[waiting.job_id] = Place(running + index + 1, total, now + ahead_ms)
    return places


def _counted_place(session: Session, job_id: str, now: Millis) -> Place | None:
    """The place by age alone, for a job behind more than we replay."""
    status = session.execute(select(Job.status).where(Job.id == job_id)).scalar()
    if status != JobStatus.QUEUED:
        return None
    running, busy_ms = _running(session, now)
    older, ahead_ms = _queued(session, up_to=job_id)
    return Place(running + older, running + _queued(session)[0], now + busy_ms + ahead_ms)


def open_jobs(session: Session) -> int:
    """How many jobs wait or run, over everything that shares the GPU."""
    query = select(func.count()).where(col(Job.status).in_(OPEN_STATUSES))
    return int(session.execute(query).scalar_one())


def _running(session: Session, now: Millis) -> tuple[int, Millis]:
    """How many jobs run, and what is left of them."""
    rows = session.execute(
        select(col(Job.started_at), col(Job.estimate_ms)).where(Job.status == JobStatus.RUNNING)
    ).all()
    return len(rows), sum(max(0, (at or now) + estimate - now) for at, estimate in rows)


def _queued(session: Session, *, up_to: str | None = None) -> tuple[int, Millis]:
    """How many jobs are queued, and how long they take; up to and including one job."""
    query = select(func.count(), func.coalesce(func.sum(col(Job.estimate_ms)), 0)).where(
        Job.status == JobStatus.QUEUED
    )
    if up_to is not None:
        query = query.where(col(Job.id) <= up_to)
    count, estimate = session.execute(query).one()
    return int(count), int(estimate)


def history(
    session: Session,
    *,
    workspace_id: str,
    member_id: str | None = None,
    limit: int = 30,
    before: str | None = None,
    now: Millis,
) -> list[JobView]:
    """The newest jobs of a workspace (or one member), newest first, older than job ``before``."""
    query = (
        select(Job)
        .where(Job.workspace_id == workspace_id)
        .order_by(col(Job.id).desc())
        .limit(limit)
    )
    if member_id is not None:
        query = query.where(Job.member_id == member_id)
    if before is not None and is_id(before):
        query = query.where(col(Job.id) < before)
    places: dict[str, Place] = {}
    return [_view(session, job, now, places) for job in session.exec(query)]


def undelivered(
    session: Session,
    *,
    platforms: list[Platform],
    limit: int = 50,
    without: Sequence[str] = (),
) -> list[tuple[Job, str]]:
    """Ended jobs whose reply was not put anywhere yet, oldest first, with their workspace.

    ``without``: jobs to leave out, so that some that cannot be delivered hold up no other.
    """
    rows = session.exec(
        select(Job, Workspace)
        .join(Workspace, col(Workspace.id) == col(Job.workspace_id))
        .where(
            col(Job.delivered_at).is_(None),
            col(Job.status).in_(TERMINAL_STATUSES),
            col(Workspace.platform).in_(platforms),
            col(Job.id).not_in(without),
        )
        .order_by(col(Job.id))
        .limit(limit)
    ).all()
    return [(job, space.id) for job, space in rows]


def where(session: Session, job_id: str) -> tuple[Address, str, str] | None:
    """Where a job's card belongs: its address, our workspace id and the language it is in."""
    job = session.get(Job, job_id)
    if job is None:
        return None
    return Address.model_validate(job.address), job.workspace_id, job.locale


def visible_blob(session: Session, *, workspace_id: str, key: str) -> bool:
    """Whether a picture may be shown now: made in this workspace, judged and not held."""
    if "\x00" in key:
        return False
    status = session.exec(
        select(Generation.status).where(
            Generation.workspace_id == workspace_id, Generation.blob == key
        )
    ).first()
    return status in (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)


def waiting_by_model(session: Session) -> dict[str, tuple[int, Millis]]:
    """Open jobs of each model and how long they take together, for who is choosing one."""
    rows = session.execute(
        select_columns(
            col(Job.model), func.count(), func.coalesce(func.sum(col(Job.estimate_ms)), 0)
        )
        .where(col(Job.status).in_(OPEN_STATUSES))
        .group_by(col(Job.model))
    ).all()
    return {str(model): (int(count), int(total)) for model, count, total in rows}
