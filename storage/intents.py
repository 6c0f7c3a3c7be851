"""Asked, shown, confirmed: what a member is about to do, kept for ten minutes and done once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage.errors import NotFound
from storage.ledger import changed
from storage.models import Intent
from storage.schema import Millis
from storage.workspaces import Actor

LIFE_MS = 600_000


def ask(session: Session, actor: Actor, kind: str, data: Mapping[str, Any], *, now: Millis) -> str:
    """Keep what was asked; the id goes into the confirming button."""
    intent = Intent(
        workspace_id=actor.workspace.id, member_id=actor.member.id, kind=kind, data=dict(data),
        expires_at=now + LIFE_MS,
    )  # fmt: skip
    session.add(intent)
    session.flush()
    return intent.id


def take(session: Session, actor: Actor, intent_id: str, *, now: Millis) -> Intent:
    """The intent, once, for the member who asked it, in time.

    Raises ``NotFound('intent_unknown')`` for any other: foreign, used and old look the same.
    """
    used = changed(
        session,
        update(Intent)
        .where(
            col(Intent.id) == intent_id,
            col(Intent.workspace_id) == actor.workspace.id,
            col(Intent.member_id) == actor.member.id,
            col(Intent.used_at).is_(None),
            col(Intent.expires_at) > now,
        )
        .values(used_at=now)
        .execution_options(synchronize_session=False),
    )
    if not used:
        raise NotFound("intent_unknown")
    return session.exec(select(Intent).where(Intent.id == intent_id)).one()
