"""Workspaces, members and tiers: who is asking, and what their tier allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from storage import ledger
from storage.models import Member, Tier, Workspace
from storage.schema import Millis, Platform

Row = TypeVar("Row", Workspace, Member)

LOCAL_TIER = "team"
DEFAULT_TIER = "free"


@dataclass(frozen=True)
class Actor:
    """A person as stored: workspace, member and the tier in force."""

    workspace: Workspace
    member: Member
    tier: Tier


def period(now: Millis) -> str:
    """The month a moment belongs to, ``YYYY-MM`` in UTC: the key of a monthly grant."""
    return datetime.fromtimestamp(now / 1000, tz=UTC).strftime("%Y-%m")


def enrol(
    session: Session,
    *,
    platform: Platform,
    workspace: str,
    workspace_name: str,
    member: str,
    member_name: str,
    role: str,
    now: Millis,
    monthly_credits: int | None = None,
) -> Actor:
    """Find a person, or make workspace and member on first sight; grant this month's credits.

    ``monthly_credits`` overrides the tier's grant in the local workspace only.
    """
    space = session.exec(
        select(Workspace).where(Workspace.platform == platform, Workspace.external_id == workspace)
    ).first()
    if space is None:
        tier_id = LOCAL_TIER if platform is Platform.LOCAL else DEFAULT_TIER
        fresh = Workspace(
            platform=platform, external_id=workspace, name=workspace_name, tier_id=tier_id,
            created_at=now,
        )  # fmt: skip
        space = _insert_or_find(session, fresh, lambda: session.exec(
            select(Workspace).where(
                Workspace.platform == platform, Workspace.external_id == workspace
            )
        ).one())  # fmt: skip
    person = session.exec(
        select(Member).where(Member.workspace_id == space.id, Member.external_id == member)
    ).first()
    if person is None:
        fresh_member = Member(
            workspace_id=space.id, external_id=member, name=member_name, role=role,
            tier_id=space.tier_id, created_at=now,
        )  # fmt: skip
        space_id = space.id
        person = _insert_or_find(session, fresh_member, lambda: session.exec(
            select(Member).where(Member.workspace_id == space_id, Member.external_id == member)
        ).one())  # fmt: skip
    elif (person.name, person.role) != (member_name or person.name, role):
        person.name, person.role = member_name or person.name, role
        session.add(person)
    tier = session.get_one(Tier, person.tier_id)
    credits = tier.monthly_credits
    if platform is Platform.LOCAL and monthly_credits is not None:
        credits = monthly_credits
    key = f"grant:{person.id}:{period(now)}"
    account = ledger.member_account(person.id)
    if credits and not ledger.has_entry(session, key):
        ledger.grant(session, account, credits, key=key, now=now, reason="monthly credits")
    else:
        ledger.open_account(session, account)
    return Actor(workspace=space, member=person, tier=tier)


def _insert_or_find(session: Session, row: Row, find: Callable[[], Row]) -> Row:
    """Insert, or read what another process inserted in the same instant."""
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        return find()
    return row


def settings_of(session: Session, workspace_id: str) -> dict[str, Any]:
    """What a workspace's admins changed; empty for the defaults."""
    return dict(session.get_one(Workspace, workspace_id).settings)
