"""What members keep: a generation may be kept by many, each only for themselves."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from storage.models import Favourite, Generation, Job
from storage.schema import GenerationStatus, Millis


def keep(session: Session, member_id: str, generation_id: str, *, now: Millis) -> bool:
    """Remember a favourite; True when it was not one before."""
    key = (member_id, generation_id)
    if session.get(Favourite, key) is not None:
        return False
    try:
        with session.begin_nested():
            session.add(Favourite(member_id=member_id, generation_id=generation_id, created_at=now))
            session.flush()
    except IntegrityError:  # pressed twice in the same instant
        return False
    return True


def drop(session: Session, member_id: str, generation_id: str) -> bool:
    """Forget a favourite; True when it was one."""
    row = session.get(Favourite, (member_id, generation_id))
    if row is None:
        return False
    session.delete(row)
    return True


def kept(session: Session, member_id: str, *, workspace_id: str, limit: int = 30) -> list[str]:
    """The jobs of what a member keeps and may still see, the newest kept first, each once."""
    rows = session.exec(
        select(Generation.job_id)
        .join(Favourite, col(Favourite.generation_id) == col(Generation.id))
        .join(Job, col(Job.id) == col(Generation.job_id))
        .where(
            Favourite.member_id == member_id,
            Job.workspace_id == workspace_id,
            col(Generation.status).in_((GenerationStatus.VISIBLE, GenerationStatus.BLURRED)),
        )
        .order_by(col(Favourite.created_at).desc(), col(Generation.id).desc())
        .limit(limit)
    ).all()
    return list(dict.fromkeys(rows))


def is_kept(session: Session, member_id: str, generation_ids: list[str]) -> set[str]:
    """Which of these a member keeps."""
    rows = session.exec(
        select(Favourite.generation_id).where(
            Favourite.member_id == member_id, col(Favourite.generation_id).in_(generation_ids)
        )
    )
    return set(rows)
