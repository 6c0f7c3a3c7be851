"""Announcements written with the change they announce, and sent after commit, at least once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from storage.ledger import changed
from storage.models import Job, Outbox
from storage.schema import TERMINAL_STATUSES, Millis


def unsent(session: Session, *, limit: int = 100) -> list[Outbox]:
    """The oldest rows nobody has sent."""
    return list(
        session.exec(
            select(Outbox)
            .where(col(Outbox.sent_at).is_(None))
            .order_by(col(Outbox.id))
            .limit(limit)
        )
    )


def mark_sent(session: Session, ids: Sequence[str], *, now: Millis) -> None:
    """Note that these were sent; sending twice is harmless, forgetting is not."""
    session.execute(
        update(Outbox)
        .where(col(Outbox.id).in_(ids), col(Outbox.sent_at).is_(None))
        .values(sent_at=now)
        .execution_options(synchronize_session=False)
    )


def prune(session: Session, *, before: Millis) -> int:
    """Forget rows sent before a moment; returns how many."""
    return changed(session, delete(Outbox).where(col(Outbox.sent_at) < before))


def awaits_delivery(session: Session, job_id: str) -> bool:
    """Whether a job ended and its reply is not in place yet."""
    job = session.get(Job, job_id)
    return job is not None and job.delivered_at is None and job.status in TERMINAL_STATUSES


def mark_delivered(session: Session, job_id: str, *, now: Millis) -> bool:
    """Note that a job's reply is in place; True for the one caller that did it."""
    return bool(
        changed(
            session,
            update(Job)
            .where(col(Job.id) == job_id, col(Job.delivered_at).is_(None))
            .values(delivered_at=now)
            .execution_options(synchronize_session=False),
        )
    )
