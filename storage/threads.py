"""Conversations: what `/ask` remembers of a thread."""

from __future__ import annotations

from sqlalchemy import delete
from sqlmodel import Session, col, select

from storage.models import Job, Message
from storage.schema import Millis


def remember(
    session: Session, job_id: str, *, thread: str, question: str, answer: str, now: Millis
) -> None:
    """Keep one exchange of a conversation, once per job."""
    job = session.get_one(Job, job_id)
    if session.exec(select(Message.id).where(Message.job_id == job_id)).first() is not None:
        return
    if job.parent_id is not None:
        # A regenerated answer takes the place of the one it came from.
        session.execute(delete(Message).where(col(Message.job_id) == job.parent_id))
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
