"""A token bucket per member: short bursts are fine, a flood is slowed down.

Kept in the member's row in thousandths of a command, so that it survives restarts and is the same
for several bots.
"""

from __future__ import annotations

from sqlmodel import Session, select

from storage.models import Member
from storage.rules import Limits
from storage.schema import Millis

UNIT = 1000
"""One command in the row's thousandths."""


def refilled(level: int, since: Millis | None, limits: Limits, now: Millis) -> int:
    """What is in the bucket now. ``since`` None: never used, so full. Never above the burst."""
    full = limits.burst * UNIT
    if since is None:
        return full
    grown = max(0, now - since) * limits.per_minute * UNIT // 60_000
    return min(full, level + grown)


def take(session: Session, member_id: str, limits: Limits, *, now: Millis) -> Millis:
    """Take one command's worth; 0 when that was possible, else the milliseconds until it is."""
    row = session.exec(select(Member).where(Member.id == member_id).with_for_update()).one()
    level = refilled(row.bucket, row.bucket_at, limits, now)
    if level < UNIT:
        missing = UNIT - level
        return -(-missing * 60_000 // (limits.per_minute * UNIT))
    row.bucket, row.bucket_at = level - UNIT, now
    session.add(row)
    session.flush()
    return 0
