"""Where a job stands in the line and when it will be done, from what work was found to take."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage.line import Waiting, line_up
from storage.models import Job, Member, Tier, Workspace
from storage.schema import OPEN_STATUSES, JobStatus, Millis
from storage.tenant import Across, across

_LINE_LIMIT = 500
"""Longest line we replay for a place; beyond it the place is a plain count."""


@dataclass(frozen=True)
class Place:
    """A queued job's place: ``place`` of ``total`` jobs that share the GPU, done at ``eta_at``."""

    place: int
    total: int
    eta_at: Millis


def place_of(session: Session, job_id: str, *, now: Millis) -> Place | None:
    """Where a queued job stands, counting what runs; None when it is not queued any more."""
    return line_places(session, now).get(job_id) or counted_place(session, job_id, now)


@across(Across.LINE)
def line_places(session: Session, now: Millis) -> dict[str, Place]:
    """The oldest ``_LINE_LIMIT`` queued jobs as they would be claimed if nothing else arrived."""
    rows = session.execute(
        select_columns(
            col(Job.id), col(Job.workspace_id), col(Job.member_id), col(Workspace.served),
            col(Member.served), col(Tier.weight), col(Job.estimate_ms),
        )
        .join(Workspace, col(Workspace.id) == col(Job.workspace_id))
        .join(Member, col(Member.id) == col(Job.member_id))
        .join(Tier, col(Tier.id) == col(Member.tier_id))
        .where(col(Job.status) == JobStatus.QUEUED, col(Job.cached).is_(False))
        .order_by(col(Job.id))
        .limit(_LINE_LIMIT)
    ).all()  # fmt: skip
    running, ahead_ms, workers = _running(session, now)
    order = line_up([Waiting(*row) for row in rows])
    total = running + (len(order) if len(order) < _LINE_LIMIT else _queued(session)[0])
    places = {}
    for index, waiting in enumerate(order):
        ahead_ms += waiting.estimate_ms // workers
        places[waiting.job_id] = Place(running + index + 1, total, now + ahead_ms)
    return places


@across(Across.LINE)
def counted_place(session: Session, job_id: str, now: Millis) -> Place | None:
    """The place by age alone, for a job behind more than we replay."""
    status = session.execute(select(Job.status).where(Job.id == job_id)).scalar()
    if status != JobStatus.QUEUED:
        return None
    running, busy_ms, workers = _running(session, now)
    older, ahead_ms = _queued(session, up_to=job_id)
    eta = now + busy_ms + ahead_ms // workers
    return Place(running + older, running + _queued(session)[0], eta)


@across(Across.LINE)
def work_ahead(session: Session, now: Millis) -> Millis:
    """How long everything that runs and waits takes: the longest a newcomer could wait."""
    _, busy_ms, workers = _running(session, now)
    return busy_ms + _queued(session)[1] // workers


@across(Across.LINE)
def open_jobs(session: Session) -> int:
    """How many jobs wait or run, over everything that shares the GPU."""
    query = select(func.count()).where(col(Job.status).in_(OPEN_STATUSES))
    return int(session.execute(query).scalar_one())


def _running(session: Session, now: Millis) -> tuple[int, Millis, int]:
    """How many jobs run, how long what is left of them takes, and how many workers share it.

    A worker's engine serves its jobs side by side, so what is left of each adds up.
    """
    rows = session.execute(
        select_columns(col(Job.started_at), col(Job.estimate_ms), col(Job.worker)).where(
            col(Job.status) == JobStatus.RUNNING
        )
    ).all()
    workers = max(1, len({worker for _, _, worker in rows}))
    left = sum(max(0, (at or now) + estimate - now) for at, estimate, _ in rows)
    return len(rows), left // workers, workers


def _queued(session: Session, *, up_to: str | None = None) -> tuple[int, Millis]:
    """How many jobs are queued, and how long they take; up to and including one job."""
    query = select(func.count(), func.coalesce(func.sum(col(Job.estimate_ms)), 0)).where(
        Job.status == JobStatus.QUEUED
    )
    if up_to is not None:
        query = query.where(col(Job.id) <= up_to)
    count, estimate = session.execute(query).one()
    return int(count), int(estimate)


@across(Across.LINE)
def share_of(session: Session, workspace_id: str, *, since: Millis) -> float | None:
    """A workspace's share (0 to 1) of the engine time of jobs that ended since a moment; None
    when nobody used any."""
    ended = (col(Job.finished_at) >= since, col(Job.charged_ms) > 0)
    total = session.execute(
        select_columns(func.coalesce(func.sum(col(Job.charged_ms)), 0)).where(*ended)
    ).scalar_one()
    if not total:
        return None
    own = session.execute(
        select_columns(func.coalesce(func.sum(col(Job.charged_ms)), 0)).where(
            *ended, col(Job.workspace_id) == workspace_id
        )
    ).scalar_one()
    return float(own) / float(total)
