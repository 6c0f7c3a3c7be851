"""Strikes: marks that expire, and the ladder they lead up; made by people and fixed rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage import audit
from storage.models import Appeal, Case, Decision, Member, Strike
from storage.review_words import (
    APPEAL_MS,
    HOUR_MS,
    STRIKE_MS,
    WEIGHTS,
    ReviewRules,
    Step,
    step_for,
)
from storage.schema import CaseStatus, Category, Millis


@dataclass(frozen=True)
class Standing:
    """Where a member stands: the weight that counts now, and the step of the ladder they reach."""

    weight: int
    step: Step | None
    strikes: tuple[Strike, ...]
    until: Millis | None = None
    """When the time-out ends that the newest strike brought; None when it brought none."""


def standing(session: Session, member_id: str, rules: ReviewRules, *, now: Millis) -> Standing:
    """Strikes neither expired nor voided, and what they come to."""
    active = tuple(
        session.exec(
            select(Strike)
            .where(
                Strike.member_id == member_id, col(Strike.voided_at).is_(None),
                col(Strike.expires_at) > now,
            )
            .order_by(col(Strike.id))
        )
    )  # fmt: skip
    weight = sum(strike.weight for strike in active)
    return Standing(weight=weight, step=step_for(rules.ladder, weight), strikes=active)


def add(
    session: Session,
    member: Member,
    code: Category,
    rules: ReviewRules,
    *,
    now: Millis,
    case_id: str | None = None,
    decision_id: str | None = None,
    actor_id: str | None = None,
    grounds: Mapping[str, str] | None = None,
) -> Standing:
    """Mark a member by the code's weight (a weight of 0 still counts as a warning).

    When the ladder is automatic, the longest of the newly reached steps keeps the member from
    making anything new for so long (one leap over several counts them all, or who leaps onto the
    step that only proposes a ban would go free); a longer time-out that runs already stays.
    ``grounds`` go into the audit line: by which rule and policy a machine struck.
    """
    before = standing(session, member.id, rules, now=now)
    session.add(
        Strike(
            workspace_id=member.workspace_id, member_id=member.id, case_id=case_id,
            decision_id=decision_id, code=code, weight=WEIGHTS[code], created_at=now,
            expires_at=now + STRIKE_MS,
        )
    )  # fmt: skip
    session.flush()
    after = standing(session, member.id, rules, now=now)
    audit.write(
        session, member.workspace_id, actor_id=actor_id, verb="strike", target=member.id, now=now,
        before={"weight": before.weight},
        after={"weight": after.weight, "code": code, **(grounds or {})},
    )  # fmt: skip
    reached = [s for s in rules.ladder if before.weight < s.weight <= after.weight]
    hours = max((step.hours for step in reached), default=0)
    if not rules.automatic or not hours:
        return after
    until = time_out(session, member, hours, actor_id=actor_id, now=now)
    return replace(after, until=until)


def time_out(
    session: Session, member: Member, hours: int, *, actor_id: str | None, now: Millis
) -> Millis:
    """Nothing new from this member for ``hours``; never shortens what runs already. Returns when
    these hours end."""
    own = now + hours * HOUR_MS
    until = max(member.banned_until or 0, own)
    audit.write(
        session, member.workspace_id, actor_id=actor_id, verb="time_out", target=member.id,
        now=now, before={"until": member.banned_until}, after={"until": until},
    )  # fmt: skip
    member.banned_until = until
    session.add(member)
    session.flush()
    return own


def appealable(session: Session, member: Member, *, now: Millis) -> list[Strike]:
    """The member's strikes, not expired nor voided, whose ruling can still be appealed."""
    return list(
        session.exec(
            select(Strike)
            .join(Case, col(Case.id) == col(Strike.case_id))
            .join(Decision, col(Decision.id) == col(Strike.decision_id))
            .outerjoin(Appeal, col(Appeal.decision_id) == col(Decision.id))
            .where(
                Strike.member_id == member.id, Strike.workspace_id == member.workspace_id,
                Case.workspace_id == member.workspace_id,
                Decision.workspace_id == member.workspace_id,
                col(Strike.voided_at).is_(None), col(Strike.expires_at) > now,
                col(Case.status) == CaseStatus.DECIDED, col(Appeal.id).is_(None),
                col(Decision.created_at) >= now - APPEAL_MS,
            )
            .order_by(col(Strike.id))
        )
    )  # fmt: skip


def void(session: Session, decision_id: str, *, now: Millis) -> int:
    """Take back the strikes of a decision that fell; returns how many."""
    found = session.exec(
        select(Strike).where(Strike.decision_id == decision_id, col(Strike.voided_at).is_(None))
    ).all()
    session.execute(
        update(Strike)
        .where(col(Strike.decision_id) == decision_id, col(Strike.voided_at).is_(None))
        .values(voided_at=now)
        .execution_options(synchronize_session=False)
    )
    return len(found)
