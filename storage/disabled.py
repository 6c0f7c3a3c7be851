"""Members whom the rule on child abuse keeps from making anything, until somebody decides.

The owner and the operator are told that it happened, never what was written: the words are sealed
(shared/MODERATION.md 3.3). Who ends it takes the machine's strike back with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import audit, removal
from storage.errors import NotAllowed, NotFound
from storage.models import Act, Member, Strike, Workspace
from storage.review_claims import check_not_theirs
from storage.review_undo import out_until
from storage.review_words import DAY_MS, DISABLED
from storage.schema import Category, Millis, Platform, is_id
from storage.workspaces import Actor

_TOLD = "alert_owner"


def count(session: Session) -> int:
    """How many members, in every workspace, wait for somebody to decide."""
    return int(
        session.execute(
            select_columns(func.count(col(Member.id))).where(col(Member.banned_until) == DISABLED)
        ).scalar_one()
    )


def listed(session: Session, workspace_id: str | None = None) -> list[dict[str, Any]]:
    """Who they are, as plain data: of one workspace, or for the operator of all."""
    query = (
        select(Member, Workspace)
        .join(Workspace, col(Workspace.id) == col(Member.workspace_id))
        .where(col(Member.banned_until) == DISABLED)
        .order_by(col(Member.id))
    )
    if workspace_id is not None:
        query = query.where(Member.workspace_id == workspace_id, Workspace.id == workspace_id)
    return [
        {
            "id": person.id, "member": person.external_id, "name": person.name,
            "platform": str(space.platform), "workspace": space.external_id,
        }
        for person, space in session.exec(query)
    ]  # fmt: skip


def enable(session: Session, member_id: str, *, now: Millis, actor_id: str | None = None) -> Member:
    """Let a member make things again, void the rule's strike, and write it down.

    A time-out that a moderator's ruling set goes on. ``actor_id`` None: the operator did it.
    Raises ``NotFound('member_enabled')`` when nobody keeps them from it.
    """
    found = None
    if is_id(member_id):
        # Read anew: whoever waited for the lock must not go by what they saw before.
        found = session.exec(
            select(Member)
            .where(Member.id == member_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).first()
    if found is None or found.banned_until != DISABLED:
        raise NotFound("member_enabled")
    session.execute(
        update(Strike)
        .where(
            col(Strike.member_id) == found.id, col(Strike.workspace_id) == found.workspace_id,
            col(Strike.code) == Category.CSAE, col(Strike.case_id).is_(None),
            col(Strike.voided_at).is_(None),
        )
        .values(voided_at=now)
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    until = out_until(session, found)
    found.banned_until = until if until is not None and until > now else None
    session.add(found)
    audit.write(
        session, found.workspace_id, actor_id=actor_id, verb="enable", target=found.id, now=now,
        before={"until": DISABLED}, after={"until": found.banned_until},
    )  # fmt: skip
    return found


def enable_as_owner(session: Session, actor: Actor, member_id: str, *, now: Millis) -> Member:
    """See :func:`enable`; for the owner, of a member of this workspace, and not of themselves.

    Raises ``NotAllowed`` (``owners_only``, ``case_own``).
    """
    removal.check_owner(actor)
    if member_id == actor.member.id:
        raise NotAllowed("case_own")
    check_not_theirs(session, actor, member_id, "case_own")
    person = session.get(Member, member_id)
    if person is None or person.workspace_id != actor.workspace.id:
        raise NotFound("member_enabled")
    return enable(session, member_id, now=now, actor_id=actor.member.id)


def alerts(
    session: Session, *, platforms: Sequence[Platform], now: Millis
) -> list[tuple[Workspace, str, str]]:
    """Of whom nobody was told yet: the workspace of a member disabled within the last day, its
    review channel and the strike's id."""
    rows = session.exec(
        select(Strike, Workspace)
        .join(Workspace, col(Workspace.id) == col(Strike.workspace_id))
        .where(
            col(Strike.created_at) > now - DAY_MS, col(Strike.code) == Category.CSAE,
            col(Strike.case_id).is_(None), col(Strike.voided_at).is_(None),
            col(Workspace.platform).in_(list(platforms)),
        )
        .order_by(col(Strike.id))
    ).all()  # fmt: skip
    found = []
    for strike, space in rows:
        channel = space.settings.get("review_channel")
        if channel and not _told(session, strike):
            found.append((space, str(channel), strike.id))
    return found


def alerted(session: Session, workspace_id: str, strike_id: str, *, now: Millis) -> None:
    """Note that the workspace was told, in its audit log."""
    audit.write(session, workspace_id, actor_id=None, verb=_TOLD, target=strike_id, now=now)


def _told(session: Session, strike: Strike) -> bool:
    said = session.exec(
        select(Act.id).where(
            Act.workspace_id == strike.workspace_id, Act.verb == _TOLD, Act.target == strike.id
        )
    ).first()
    return said is not None
