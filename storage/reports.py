"""Reports by members: several about one generation are one case; who cries wolf is slowed."""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import audit
from storage.allowance import DAY_MS
from storage.cases import generation, open_case
from storage.errors import LimitReached, NotFound
from storage.models import Case, Decision, Report
from storage.review_words import AGAINST, FINAL, NCII_MS
from storage.rules import rules_of
from storage.schema import CaseOrigin, CaseStatus, GenerationStatus, Millis
from storage.workspaces import Actor

NCII = "ncii"
"""Intimate pictures of somebody who did not agree: first in the queue, 48 hours at most."""
ENOUGH = 4
"""Decided reports before their precision says anything."""


def precision(session: Session, member_id: str) -> tuple[int, int]:
    """``(right, decided)``: of a member's reports that were decided, how many were confirmed."""
    rows = session.execute(
        select_columns(col(Decision.action), func.count(func.distinct(col(Report.id))))
        .join(Case, col(Case.id) == col(Decision.case_id))
        .join(Report, col(Report.case_id) == col(Case.id))
        .where(
            col(Report.member_id) == member_id, col(Decision.undone_at).is_(None),
            col(Decision.blind).is_(False), col(Decision.proposed).is_(False),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
        )
        .group_by(col(Decision.action))
    ).all()  # fmt: skip
    decided = sum(count for _, count in rows)
    return sum(count for action, count in rows if action in AGAINST), decided


def allowed_today(session: Session, member_id: str, most: int) -> int:
    """How many reports a member may make a day: fewer when most of theirs were wrong."""
    right, decided = precision(session, member_id)
    if decided >= ENOUGH and right * 2 < decided:
        return max(1, most // 3)
    return most


def report(
    session: Session, generation_id: str, *, actor: Actor, now: Millis, kind: str = ""
) -> bool:
    """A member's report of something visible; True when it is this member's first about it.

    Raises ``NotFound('generation_unknown')`` for what is not shown here, and
    ``LimitReached('reports_day')``. A report of kind :data:`NCII` is never limited and puts the
    case first, with its own clock.
    """
    made = generation(session, generation_id, workspace_id=actor.workspace.id)
    if made.status not in (GenerationStatus.VISIBLE, GenerationStatus.BLURRED):
        raise NotFound("generation_unknown")
    most = rules_of(actor.workspace.settings).review.reports_per_day
    today = session.execute(
        select_columns(func.count(col(Report.id))).where(
            col(Report.member_id) == actor.member.id, col(Report.created_at) > now - DAY_MS
        )
    ).scalar_one()
    if kind != NCII and today >= allowed_today(session, actor.member.id, most):
        raise LimitReached("reports_day")
    case, fresh = open_case(
        session, made, origin=CaseOrigin.REPORTED, verdict=made.verdict, now=now,
        reporter_id=actor.member.id,
    )  # fmt: skip
    if not fresh and case.status in (CaseStatus.DECIDED, CaseStatus.CLOSED):
        return False  # looked at before; the answer stands
    known = session.exec(
        select(Report).where(Report.case_id == case.id, Report.member_id == actor.member.id)
    ).first()
    if kind == NCII and case.severity < 4:
        case.severity, case.due_at = 4, min(case.due_at or now + NCII_MS, now + NCII_MS)
        session.add(case)
    if known is not None:
        session.flush()
        return False
    session.add(
        Report(
            case_id=case.id, workspace_id=case.workspace_id, member_id=actor.member.id, kind=kind,
            created_at=now,
        )
    )  # fmt: skip
    session.flush()
    audit.write(
        session, case.workspace_id, actor_id=actor.member.id, verb="report", target=case.id,
        now=now, after={"kind": kind} if kind else None,
    )  # fmt: skip
    return True
