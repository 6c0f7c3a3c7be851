"""Workspaces, members and tiers: who is asking, and what their tier allows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from storage import ledger
from storage.allowance import allow, too_young
from storage.errors import NotAllowed, NotFound
from storage.models import Member, Tier, TierGrant, Workspace
from storage.rules import Rules, role_here, rules_of
from storage.schema import Millis, Platform, Role, role_at_least
from storage.tiers import tailored

Row = TypeVar("Row", Workspace, Member)

LOCAL_TIER = "team"
DEFAULT_TIER = "free"


@dataclass(frozen=True)
class Actor:
    """A person as stored: workspace, member and the tier in force."""

    workspace: Workspace
    member: Member
    tier: Tier


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
    roles: tuple[str, ...] = (),
    entitlements: tuple[str, ...] = (),
    account_created_at: Millis | None = None,
) -> Actor:
    """Find a person, or make workspace and member on first sight; grant what the calendar owes.

    ``role`` is what the platform's permissions say; the workspace's rules may raise it by a
    platform role. The tier is found anew each time (:func:`tier_for`). ``monthly_credits``
    overrides the tier's grant in the local workspace only.
    """
    space = session.exec(
        select(Workspace).where(Workspace.platform == platform, Workspace.external_id == workspace)
    ).first()
    if space is None:
        space = _revive_workspace(session, platform, workspace, workspace_name)
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
        person = revive(session, space.id, member)
    if person is None:
        fresh_member = Member(
            workspace_id=space.id, external_id=member, name=member_name, role=role,
            tier_id=space.tier_id, created_at=now,
        )  # fmt: skip
        space_id = space.id
        person = _insert_or_find(session, fresh_member, lambda: session.exec(
            select(Member).where(Member.workspace_id == space_id, Member.external_id == member)
        ).one())  # fmt: skip
    rules = rules_of(space.settings)
    tier_id = tier_for(session, space, person, rules, roles, entitlements, now)
    before = session.get(Tier, person.tier_id)
    if before is not None:
        before = tailored(before, rules)
    tier = tailored(session.get_one(Tier, tier_id), rules)
    seen = {
        "name": member_name or person.name,
        "role": str(role_here(rules, role, roles)),
        "tier_id": tier_id,
        "roles": sorted(roles),
        "account_created_at": account_created_at or person.account_created_at,
    }
    if any(getattr(person, name) != value for name, value in seen.items()):
        for name, value in seen.items():
            setattr(person, name, value)
        session.add(person)
        session.flush()
    better = before is not None and tier.monthly_credits > before.monthly_credits
    _grant(session, space, person, tier, rules, now, monthly_credits, better)
    return Actor(workspace=space, member=person, tier=tier)


def recall(session: Session, *, platform: Platform, workspace: str, member: str) -> Actor:
    """A person as stored, with the role of this moment; nothing is made, granted or written.

    For whoever comes by another way than their platform, which alone may say what they are.
    Raises ``NotFound('member_gone')``.
    """
    row = session.execute(
        select(Workspace, Member)
        .join(Member, col(Member.workspace_id) == col(Workspace.id))
        .where(
            Workspace.platform == platform,
            Workspace.external_id == workspace,
            Member.external_id == member,
        )
    ).first()
    if row is None:
        raise NotFound("member_gone")
    space, person = row
    tier = tailored(session.get_one(Tier, person.tier_id), rules_of(space.settings))
    return Actor(workspace=space, member=person, tier=tier)


def reassess(
    session: Session,
    *,
    platform: Platform,
    workspace: str,
    member: str,
    role: str,
    roles: tuple[str, ...],
) -> None:
    """Write what the platform says a person is now, asked outside of any command; nothing else of
    them changes. Raises ``NotFound('member_gone')``."""
    actor = recall(session, platform=platform, workspace=workspace, member=member)
    actor.member.role = str(role_here(rules_of(actor.workspace.settings), role, roles))
    actor.member.roles = sorted(roles)
    session.add(actor.member)
    session.flush()


def tier_for(
    session: Session,
    space: Workspace,
    person: Member,
    rules: Rules,
    roles: tuple[str, ...],
    entitlements: tuple[str, ...],
    now: Millis,
) -> str:
    """The tier in force: an admin's grant, a mapped platform role, a bought SKU, the default.

    Of several mapped roles or SKUs the one with most monthly credits counts.
    """
    granted = session.exec(
        select(TierGrant)
        .where(
            TierGrant.member_id == person.id,
            col(TierGrant.ended_at).is_(None),
            or_(col(TierGrant.until).is_(None), col(TierGrant.until) > now),
        )
        .order_by(col(TierGrant.id).desc())
    ).first()
    if granted is not None:
        return granted.tier_id
    for held, mapped in (
        (roles, rules.credits.role_tiers),
        (entitlements, rules.credits.sku_tiers),
    ):
        names = {mapped[item] for item in held if item in mapped}
        known = session.exec(select(Tier).where(col(Tier.id).in_(names))).all() if names else []
        if known:
            return max(known, key=lambda tier: (tier.monthly_credits, tier.id)).id
    return space.tier_id


def _grant(
    session: Session,
    space: Workspace,
    person: Member,
    tier: Tier,
    rules: Rules,
    now: Millis,
    override: int | None,
    better: bool,
) -> None:
    """This person's free credits, to the account that a link may have made theirs elsewhere."""
    ledger.open_account(session, account_of(person))
    if person.linked_to is not None:
        # The grant comes once per person, by the rules of the place where the account is.
        person = session.get_one(Member, person.linked_to)
        space = session.get_one(Workspace, person.workspace_id)
        rules, better = rules_of(space.settings), False
        tier = tailored(session.get_one(Tier, person.tier_id), rules)
    monthly = tier.monthly_credits
    if space.platform == Platform.LOCAL and override is not None:
        monthly = override
    if tier.id == space.tier_id and too_young(rules, person.account_created_at, now):
        return
    allow(session, person, monthly=monthly, rules=rules, now=now, tier=tier.id, better=better)


def holder_id(member: Member) -> str:
    """The member whose account pays and whose history this one shares: itself, unless linked."""
    return member.linked_to or member.id


def account_of(member: Member) -> str:
    """The ledger account that pays for this member."""
    return ledger.member_account(holder_id(member))


def _insert_or_find(session: Session, row: Row, find: Callable[[], Row]) -> Row:
    """Insert, or read what another process inserted in the same instant."""
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        return find()
    return row


def forgotten_id(workspace_id: str, external_id: str) -> str:
    """What takes the place of a platform's id when somebody asked to be forgotten."""
    return "forgotten:" + hashlib.sha256(f"{workspace_id}:{external_id}".encode()).hexdigest()


def forgotten_workspace(platform: str, external_id: str) -> str:
    """What takes the place of a workspace's platform id when it was deleted; of that, itself."""
    if external_id.startswith("forgotten:"):
        return external_id
    return "forgotten:" + hashlib.sha256(f"{platform}:{external_id}".encode()).hexdigest()


def _revive_workspace(
    session: Session, platform: Platform, external_id: str, name: str
) -> Workspace | None:
    """A deleted workspace that uses us again: empty, with the ledger and the strikes it had."""
    found = session.exec(
        select(Workspace).where(
            Workspace.platform == platform,
            Workspace.external_id == forgotten_workspace(platform, external_id),
        )
    ).first()
    if found is not None:
        found.external_id, found.name = external_id, name
        session.add(found)
        session.flush()
    return found


def revive(session: Session, workspace_id: str, external_id: str) -> Member | None:
    """Who was forgotten here and comes back by the same platform account, under their id again."""
    found = session.exec(
        select(Member).where(
            Member.workspace_id == workspace_id,
            Member.external_id == forgotten_id(workspace_id, external_id),
        )
    ).first()
    if found is not None:
        session.execute(
            update(Member).where(col(Member.id) == found.id).values(external_id=external_id)
        )
        session.refresh(found)
    return found


def lock_as_admin(session: Session, actor: Actor) -> Workspace:
    """The workspace's row, locked: two changes at once are made one after the other.

    Raises ``NotAllowed('admins_only')``.
    """
    if not role_at_least(actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    return session.exec(
        select(Workspace)
        .where(Workspace.id == actor.workspace.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def settings_of(session: Session, workspace_id: str) -> dict[str, Any]:
    """What a workspace's admins changed; empty for the defaults."""
    return dict(session.get_one(Workspace, workspace_id).settings)


def local_settings(session: Session) -> dict[str, Any]:
    """Settings of the local workspace; empty before anyone used it."""
    space = session.exec(select(Workspace).where(Workspace.platform == Platform.LOCAL)).first()
    return dict(space.settings) if space is not None else {}


def named(session: Session, name: str) -> str:
    """The id of a workspace by its own id, its platform's, or ``local``.

    For the operator's command line. Raises ``NotFound('workspace_unknown')``, also when two
    platforms have one of that name.
    """
    query = select(Workspace.id).where(
        or_(col(Workspace.id) == name, col(Workspace.external_id) == name)
    )
    if name == "local":
        query = select(Workspace.id).where(Workspace.platform == Platform.LOCAL)
    rows = session.exec(query).all()
    if len(rows) != 1:
        raise NotFound("workspace_unknown", name=name[:60])
    return rows[0]
