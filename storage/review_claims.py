"""Cases and their locks: who looks at what, for ten minutes, and who may at all.

Every step on a case begins with one conditional UPDATE here, so that two moderators on two
platforms never both decide.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import case as case_when
from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from storage import audit
from storage.errors import LimitReached, NotAllowed, NotFound
from storage.ledger import changed
from storage.models import Case, Member
from storage.review_words import CLAIM_MS, is_sealed
from storage.schema import CaseStatus, Millis, Platform, Role, is_id, role_at_least
from storage.workspaces import Actor, holder_id

UNDECIDED = (CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)
"""Statuses of a case that waits for somebody."""


def find(session: Session, case_id: str, *, workspace_id: str) -> Case:
    """A case of this workspace. Raises ``NotFound('case_unknown')``, for foreign ones too."""
    row = None
    if is_id(case_id):
        row = session.exec(
            select(Case)
            .where(Case.id == case_id, Case.workspace_id == workspace_id)
            .execution_options(populate_existing=True)
        ).first()
    if row is None:
        raise NotFound("case_unknown")
    return row


def check_may_decide(actor: Actor, case: Case) -> None:
    """Raises ``NotAllowed`` for members, for one's own case, for escalated ones below admin, and
    ``NotFound`` for sealed content: nobody decides to show it."""
    if not role_at_least(actor.member.role, Role.MODERATOR):
        raise NotAllowed("moderators_only")
    if is_sealed(case.verdict):
        raise NotFound("case_unknown")
    if case.escalated and not role_at_least(actor.member.role, Role.ADMIN):
        raise NotAllowed("case_escalated")
    if same_person(actor, case.member_id):
        raise NotAllowed("case_own")


def same_person(actor: Actor, member_id: str) -> bool:
    """Whether the actor is that member. The local studio has one person, who does everything."""
    return actor.member.id == member_id and actor.workspace.platform != Platform.LOCAL


def check_not_theirs(session: Session, actor: Actor, member_id: str | None, code: str) -> None:
    """Raises ``NotAllowed(code)`` when that member is the actor, by a linked account too."""
    if member_id is None or actor.workspace.platform == Platform.LOCAL:
        return
    other = session.get(Member, member_id)
    if other is not None and holder_id(other) == holder_id(actor.member):
        raise NotAllowed(code)


def claim(
    session: Session, actor: Actor, case_id: str, *, now: Millis, steal: bool = False
) -> Case:
    """Lock a case for ten minutes, or renew one's own lock.

    An admin may ``steal`` a lock; that is written down. Raises ``LimitReached('case_claimed')``
    with the holder's name, ``NotFound('case_over')`` when it is decided already.
    """
    case = find(session, case_id, workspace_id=actor.workspace.id)
    check_may_decide(actor, case)
    check_not_theirs(session, actor, case.member_id, "case_own")
    if case.status in (CaseStatus.DECIDED, CaseStatus.CLOSED):
        raise NotFound("case_over")
    stealing = steal and role_at_least(actor.member.role, Role.ADMIN)
    free = or_(
        col(Case.claimed_by).is_(None),
        col(Case.claimed_by) == actor.member.id,
        col(Case.claimed_until) <= now,
    )
    holder = case.claimed_by
    taken = changed(
        session,
        update(Case)
        .where(
            col(Case.id) == case.id,
            col(Case.status).in_(UNDECIDED),
            *(() if stealing else (free,)),
        )
        .values(
            # Of the row at this moment: an appeal that came since it was read stays one.
            status=case_when(
                (col(Case.status) == CaseStatus.APPEALED, CaseStatus.APPEALED),
                else_=CaseStatus.CLAIMED,
            ),
            claimed_by=actor.member.id,
            claimed_until=now + CLAIM_MS,
        )
        .execution_options(synchronize_session=False),
    )
    case = find(session, case_id, workspace_id=actor.workspace.id)
    if not taken:
        if case.status in (CaseStatus.DECIDED, CaseStatus.CLOSED):
            raise NotFound("case_over")
        name = session.get_one(Member, case.claimed_by).name if case.claimed_by else ""
        left = max(1, -(-((case.claimed_until or now) - now) // 60_000))
        raise LimitReached("case_claimed", name=name, minutes=left)
    if holder != actor.member.id:
        note_act(session, actor, "steal" if stealing and holder else "claim", case, now)
    return case


def release(session: Session, actor: Actor, case_id: str, *, now: Millis) -> bool:
    """Give one's own lock back; False when it was not held."""
    case = find(session, case_id, workspace_id=actor.workspace.id)
    given = changed(
        session,
        update(Case)
        .where(col(Case.id) == case.id, col(Case.claimed_by) == actor.member.id)
        .values(
            claimed_by=None, claimed_until=None,
            status=CaseStatus.OPEN if case.status == CaseStatus.CLAIMED else case.status,
        )
        .execution_options(synchronize_session=False),
    )  # fmt: skip
    if given:
        note_act(session, actor, "release", case, now)
    return bool(given)


def move(session: Session, case: Case, status: CaseStatus, **values: Any) -> None:
    """To another status, without a claim."""
    case.status, case.claimed_by, case.claimed_until = status, None, None
    for name, value in values.items():
        setattr(case, name, value)
    session.add(case)
    session.flush()


def note_act(
    session: Session, actor: Actor, verb: str, case: Case, now: Millis, **after: Any
) -> None:
    """One line about a case in the audit log; empty values are left out."""
    audit.write(
        session,
        case.workspace_id,
        actor_id=actor.member.id,
        verb=verb,
        target=case.id,
        now=now,
        after={name: value for name, value in after.items() if value not in (None, "")},
    )
