"""What people decided about pictures, kept as hashes: denied once is denied again, at once.

A ruling puts the picture's perceptual hash (worked out when it was made) into the workspace's own
bank; a ruling that falls takes it out again.
"""

from __future__ import annotations

from sqlalchemy import delete
from sqlmodel import Session, col, select

from storage.models import Generation
from storage.models_judged import PictureHash
from storage.schema import Millis, new_id

DENY, ALLOW, MADE = "deny", "allow", "made"


def learn(
    session: Session,
    made: Generation,
    bank: str,
    *,
    file_sha256: str,
    now: Millis,
    category: str = "",
) -> bool:
    """Put a generation's hash into a bank of its workspace; False when it has none of use.

    ``file_sha256`` of the stored file finds the hash that was worked out when it was made; that
    row says nothing of whom. A plain picture's hash is poor: its quality goes along, and whoever
    looks things up leaves poor ones out.
    """
    twin = session.exec(
        select(PictureHash).where(
            PictureHash.bank == MADE, PictureHash.file_sha256 == file_sha256,
            PictureHash.workspace_id == made.workspace_id,
        )
    ).first()  # fmt: skip
    if twin is None:
        return False
    forget(session, made)
    session.add(
        PictureHash(
            id=new_id(), workspace_id=made.workspace_id, bank=bank, pdq=twin.pdq,
            quality=twin.quality, generation_id=made.id, category=category, created_at=now,
        )
    )  # fmt: skip
    session.flush()
    return True


def forget(session: Session, made: Generation) -> None:
    """Take a generation's hash out of what people decided."""
    session.execute(
        delete(PictureHash).where(
            col(PictureHash.generation_id) == made.id, col(PictureHash.bank).in_((DENY, ALLOW))
        )
    )
