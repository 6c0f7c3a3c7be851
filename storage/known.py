"""What people decided about pictures, kept as hashes: denied once is denied again, at once.

A ruling puts the picture's perceptual hash (worked out when it was made) into the workspace's own
bank; a ruling that falls takes it out again.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete
from sqlmodel import Session, col, select

from storage.models import Generation
from storage.models_judged import PictureHash
from storage.schema import Millis, new_id

DENY, ALLOW, MADE = "deny", "allow", "made"
POOR = 50
"""Quality (0 to 100) under which a hash says too little: plain pictures all look alike."""


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
    twin = _hash_of(session, made, file_sha256)
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


NEAR = 31
"""Bits of 256 in which two PDQ hashes of one picture may differ (Meta's advice)."""


@dataclass(frozen=True)
class Near:
    """A decided picture that looks like another one."""

    generation_id: str
    bank: str
    category: str
    distance: int
    """Bits that differ, 0 to :data:`NEAR`."""


def near(session: Session, made: Generation, *, file_sha256: str, most: int = 5) -> list[Near]:
    """Decided pictures of this workspace that look like this one, the nearest first."""
    own = _hash_of(session, made, file_sha256)
    if own is None or own.quality < POOR:
        return []
    bits = int(own.pdq, 16)
    found = []
    for row in session.exec(
        select(PictureHash).where(
            PictureHash.workspace_id == made.workspace_id,
            col(PictureHash.bank).in_((DENY, ALLOW)), col(PictureHash.generation_id).is_not(None),
            col(PictureHash.generation_id) != made.id, col(PictureHash.quality) >= POOR,
        )
    ):  # fmt: skip
        distance = (bits ^ int(row.pdq, 16)).bit_count()
        if distance <= NEAR and row.generation_id is not None:
            found.append(Near(row.generation_id, row.bank, row.category or "", distance))
    return sorted(found, key=lambda item: item.distance)[:most]


def _hash_of(session: Session, made: Generation, file_sha256: str) -> PictureHash | None:
    return session.exec(
        select(PictureHash).where(
            PictureHash.bank == MADE, PictureHash.file_sha256 == file_sha256,
            PictureHash.workspace_id == made.workspace_id,
        )
    ).first()  # fmt: skip


def forget(session: Session, made: Generation) -> None:
    """Take a generation's hash out of what people decided."""
    session.execute(
        delete(PictureHash).where(
            col(PictureHash.generation_id) == made.id, col(PictureHash.bank).in_((DENY, ALLOW))
        )
    )
