"""Conversations: what `/ask` remembers of a thread."""

from __future__ import annotations

from sqlalchemy import delete
from sqlmodel import Session, col, select

from storage.models import Job, Message
from storage.schema import JobKind, Millis

DELETED = "[deleted]"


def remember(
    session: Session, job_id: str, *, thread: str, question: str, answer: str, now: Millis
) -> None:
    """Keep one exchange of a conversation, once per job."""
    job = session.get_one(Job, job_id)
    if session.exec(select(Message.id).where(Message.job_id == job_id)).first() is not None:
        return
    parent = session.get(Job, job.parent_id) if job.parent_id is not None else None
    if parent is not None and parent.member_id == job.member_id:
        # A regenerated answer takes the place of the one it came from.
        session.execute(
            delete(Message).where(col(Message.job_id) == parent.id, col(Message.thread) == thread)
        )
    for role, text in (("user", question), ("assistant", answer)):
        session.add(
            Message(
                workspace_id=job.workspace_id, thread=thread, job_id=job_id, role=role, text=text,
                created_at=now,
            )
        )  # fmt: skip
        session.flush()


def forget(session: Session, job: Job, text: str) -> None:
    """Take a deleted answer out of its conversation, and out of every job that carried it along.

    Later questions of the thread hold the answers before them in their specs; without this a
    deleted answer would live on there, and go back to the model when one is asked again.
    """
    session.execute(delete(Message).where(col(Message.job_id) == job.id))
    thread = job.spec.get("thread")
    later = session.exec(
        select(Job).where(
            Job.workspace_id == job.workspace_id, Job.kind == JobKind.CHAT, col(Job.id) > job.id
        )
    )
    for other in later:
        turns = other.spec.get("turns", [])
        if other.spec.get("thread") == thread and any(turn.get("text") == text for turn in turns):
            kept = [
                turn | {"text": DELETED} if turn.get("text") == text else turn for turn in turns
            ]
            other.spec = other.spec | {"turns": kept}
            session.add(other)
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
