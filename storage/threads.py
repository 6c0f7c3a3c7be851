"""Conversations: what `/ask` remembers of a thread, bounded by tokens.

The newest messages go along word for word; what no longer fits is folded into a few sentences by
the chat model, in the background. A deleted message takes the summary it went into with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from storage.models import Job, Message, ThreadMemory
from storage.schema import JobKind, Millis

DELETED = "[deleted]"
_READ = 200
"""Most messages looked at in one go."""


@dataclass(frozen=True)
class Recollection:
    """A conversation as it goes to the model: a summary (or nothing), then messages in order."""

    summary: str
    messages: list[Message]


@dataclass(frozen=True)
class Fold:
    """The part of a conversation that should become a summary, up to and including ``upto``."""

    before: str
    """The summary so far."""
    messages: list[Message]
    upto: str
    seen: str
    """``folded`` as it was: a summary is kept only if nobody folded meanwhile."""


def tokens_of(text: str) -> int:
    """About how many tokens a text takes: one for four letters, one for each Chinese character.

    The bot has no tokenizer; measured on ours this is within a fifth, and the runner cuts for sure.
    """
    wide = sum(ord(ch) > 0x2E80 for ch in text)
    return wide + (len(text) - wide) // 4 + 4


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
        unfold(session, parent)
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
    unfold(session, job)
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


def _memory(session: Session, workspace_id: str, thread: str) -> ThreadMemory | None:
    return session.get(ThreadMemory, (workspace_id, thread), populate_existing=True)


def _since(session: Session, workspace_id: str, thread: str, after: str) -> list[Message]:
    """The newest messages after a job, oldest first."""
    rows = session.exec(
        select(Message)
        .where(
            Message.workspace_id == workspace_id,
            Message.thread == thread,
            col(Message.job_id) > after,
        )
        .order_by(col(Message.job_id).desc(), col(Message.role))
        .limit(_READ)
    ).all()
    return list(reversed(rows))


def recall(session: Session, *, workspace_id: str, thread: str, tokens: int) -> Recollection:
    """What goes along with the next question: at most about ``tokens`` tokens, whole exchanges."""
    memory = _memory(session, workspace_id, thread)
    summary = memory.summary if memory is not None else ""
    after = max(memory.begun, memory.folded) if memory is not None else ""
    room = tokens - (tokens_of(summary) if summary else 0)
    kept: list[Message] = []
    for message in reversed(_since(session, workspace_id, thread, after)):
        room -= tokens_of(message.text)
        if room < 0:
            break
        kept.append(message)
    kept.reverse()
    while kept and kept[0].role == "assistant":
        kept = kept[1:]  # its question did not fit
    return Recollection(summary, kept)


def foldable(session: Session, *, workspace_id: str, thread: str, tokens: int) -> Fold | None:
    """The oldest part of a conversation longer than ``tokens``: enough to bring it to half."""
    memory = _memory(session, workspace_id, thread)
    folded = memory.folded if memory is not None else ""
    after = max(memory.begun, folded) if memory is not None else ""
    messages = _since(session, workspace_id, thread, after)
    left = sum(tokens_of(m.text) for m in messages)
    if left <= tokens:
        return None
    taken: list[Message] = []
    for message in messages:
        if left <= tokens // 2 and message.role == "user":
            break
        taken.append(message)
        left -= tokens_of(message.text)
    before = memory.summary if memory is not None else ""
    return Fold(before, taken, taken[-1].job_id, folded)


def fold(
    session: Session, *, workspace_id: str, thread: str, made: Fold, summary: str, now: Millis
) -> bool:
    """Keep a summary. False when somebody folded, deleted or started afresh meanwhile."""
    still = session.exec(
        select(Message.id).where(col(Message.id).in_([m.id for m in made.messages]))
    ).all()
    if len(still) != len(made.messages):
        return False
    memory = _memory(session, workspace_id, thread)
    if memory is None:
        memory = ThreadMemory(workspace_id=workspace_id, thread=thread, updated_at=now)
        session.add(memory)
        session.flush()
    if memory.folded != made.seen or memory.begun >= made.upto:
        return False
    memory.summary, memory.folded, memory.updated_at = summary, made.upto, now
    session.add(memory)
    session.flush()
    return True


def unfold(session: Session, job: Job) -> None:
    """Forget the summary that a job's messages went into; what is left of them is folded anew."""
    session.execute(
        update(ThreadMemory)
        .where(
            col(ThreadMemory.workspace_id) == job.workspace_id,
            col(ThreadMemory.thread) == str(job.spec.get("thread") or ""),
            col(ThreadMemory.folded) >= job.id,
        )
        .values(summary="", folded="")
        .execution_options(synchronize_session=False)
    )


def reset(session: Session, *, workspace_id: str, thread: str, now: Millis) -> bool:
    """Begin a conversation afresh: nothing before this is remembered. False when it was empty."""
    newest = session.exec(
        select(Message.job_id)
        .where(Message.workspace_id == workspace_id, Message.thread == thread)
        .order_by(col(Message.job_id).desc())
        .limit(1)
    ).first()
    memory = _memory(session, workspace_id, thread)
    if newest is None or (memory is not None and memory.begun >= newest):
        return False
    if memory is None:
        memory = ThreadMemory(workspace_id=workspace_id, thread=thread, updated_at=now)
    memory.summary, memory.folded, memory.begun, memory.updated_at = "", "", newest, now
    session.add(memory)
    session.flush()
    return True
