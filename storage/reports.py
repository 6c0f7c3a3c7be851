"""Reports by members: several about one generation are one case; who cries wolf is slowed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import audit
from storage.allowance import DAY_MS
from storage.cases import generation, open_case
from storage.errors import LimitReached, NotFound
from storage.models import Appeal, Case, Decision, Generation, Report
from storage.review import last_ruling, redraw
from storage.review_claims import UNDECIDED
from storage.review_words import AGAINST, FINAL, FIRST, NCII_MS
from storage.rules import rules_of
from storage.schema import CaseOrigin, CaseStatus, GenerationStatus, Millis
from storage.workspaces import Actor

NCII = "ncii"
"""Intimate pictures of somebody who did not agree: first in the queue, 48 hours at most."""
ENOUGH = 4
"""Decided reports before their precision says anything."""


def precision(
    session: Session, member_id: str, *, workspace_id: str | None = None
) -> tuple[int, int]:
    """``(right, decided)``: of a member's reports that were decided, how many were confirmed.

    The ruling that stands counts; one that fell on appeal confirms nothing. An own case that was
    decided before the report was made does not count for it.
    """
    query = (
        select(Report, Decision, Appeal)
        .join(Case, col(Case.id) == col(Report.case_id))
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .outerjoin(Appeal, col(Appeal.decision_id) == col(Decision.id))
        .where(
            col(Report.member_id) == member_id, col(Decision.undone_at).is_(None),
            col(Decision.blind).is_(False), col(Decision.proposed).is_(False),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
            col(Decision.created_at) >= col(Report.created_at),
        )
        .order_by(col(Decision.id))
    )  # fmt: skip
    if workspace_id is not None:
        query = query.where(
            col(Report.workspace_id) == workspace_id, col(Case.workspace_id) == workspace_id,
            col(Decision.workspace_id) == workspace_id,
        )  # fmt: skip
    stands: dict[str, bool] = {}
    for made, ruling, appeal in session.execute(query):
        fell = appeal is not None and appeal.upheld is False
        stands[made.id] = ruling.action in AGAINST and not fell
    return sum(stands.values()), len(stands)


def trusted(session: Session, member_id: str) -> bool:
    """False for who was wrong in most of at least :data:`ENOUGH` decided reports."""
    right, decided = precision(session, member_id)
    return decided < ENOUGH or right * 2 >= decided


def allowed_today(session: Session, member_id: str, most: int) -> int:
    """How many reports a member may make a day: fewer when most of theirs were wrong."""
    return most if trusted(session, member_id) else max(1, most // 3)


@dataclass(frozen=True)
class Reported:
    """What a report came to."""

    fresh: bool
    """This member's first about it (of this kind)."""
    hidden: bool = False
    """Nobody sees it until a moderator has decided."""
    due_at: Millis | None = None
    """By when that has to be; None when the answer of before stands."""


def report(
    session: Session, generation_id: str, *, actor: Actor, now: Millis, kind: str = ""
) -> Reported:
    """A member's report of something visible; several about one generation are one case.

    Raises ``NotFound('generation_unknown')`` for what is not shown here, and
    ``LimitReached('reports_day')``. A report of kind :data:`NCII` is never limited, opens a decided
    case again, puts it first with a clock of its own, and hides what it is about at once, unless
    most of this member's reports were wrong.
    """
    made = generation(session, generation_id, workspace_id=actor.workspace.id)
    ncii = kind == NCII
    waits = _case_of(session, made) if made.status == GenerationStatus.HELD and ncii else None
    if made.status not in (GenerationStatus.VISIBLE, GenerationStatus.BLURRED) and waits is None:
        raise NotFound("generation_unknown")
    if not ncii:
        _check_today(session, actor, now)
    case, fresh = open_case(
        session, made, origin=CaseOrigin.REPORTED, verdict=made.verdict, now=now,
        reporter_id=actor.member.id,
    )  # fmt: skip
    mine = session.exec(
        select(Report).where(Report.case_id == case.id, Report.member_id == actor.member.id)
    ).first()
    again = mine is not None and mine.kind == kind
    if not fresh and case.status in (CaseStatus.DECIDED, CaseStatus.CLOSED):
        if not ncii or again:
            return Reported(fresh=False)  # looked at before; the answer stands
        case.status, case.decided_at, case.announced_at = CaseStatus.OPEN, None, None
        case.severity, case.breached_at = FIRST, None
        case.due_at = now + NCII_MS
    if ncii:
        _put_first(session, case, made, actor, now)
    session.add(case)
    session.flush()
    hidden = made.status == GenerationStatus.HELD
    if again:
        return Reported(fresh=False, hidden=hidden, due_at=case.due_at)
    if mine is None:
        mine = Report(
            case_id=case.id, workspace_id=case.workspace_id, member_id=actor.member.id,
            created_at=now,
        )  # fmt: skip
    elif not ncii:
        return Reported(fresh=False, hidden=hidden, due_at=case.due_at)
    mine.kind = kind
    session.add(mine)
    session.flush()
    audit.write(
        session, case.workspace_id, actor_id=actor.member.id, verb="report", target=case.id,
        now=now, after={"kind": kind} if kind else None,
    )  # fmt: skip
    return Reported(fresh=True, hidden=hidden, due_at=case.due_at)


def _check_today(session: Session, actor: Actor, now: Millis) -> None:
    most = rules_of(actor.workspace.settings).review.reports_per_day
    today = session.execute(
        select_columns(func.count(col(Report.id))).where(
            col(Report.member_id) == actor.member.id, col(Report.created_at) > now - DAY_MS
        )
    ).scalar_one()
    if today >= allowed_today(session, actor.member.id, most):
        raise LimitReached("reports_day")


def _case_of(session: Session, made: Generation) -> Case | None:
    """The open case of a report that hid this already."""
    return session.exec(
        select(Case).where(
            Case.workspace_id == made.workspace_id, Case.generation_id == made.id,
            Case.origin == CaseOrigin.REPORTED, col(Case.shown_as).is_not(None),
        )
    ).first()  # fmt: skip


def _put_first(session: Session, case: Case, made: Generation, actor: Actor, now: Millis) -> None:
    """An intimate picture: before everything else, 48 hours from the first such report."""
    if case.severity < FIRST:
        case.severity, case.due_at = FIRST, min(case.due_at or now + NCII_MS, now + NCII_MS)
        case.announced_at = None  # the moderators are told (again) that this is one
    if made.status != GenerationStatus.HELD and trusted(session, actor.member.id):
        case.shown_as = str(made.status)
        made.status = GenerationStatus.HELD
        session.add(made)
        session.flush()
        redraw(session, made.job_id, now=now)


@dataclass(frozen=True)
class Answered:
    """One of a member's own reports and what came of it."""

    at: Millis
    kind: str
    action: str
    """The ruling that stands; empty while it waits."""
    due_at: Millis | None


def own(session: Session, actor: Actor, *, limit: int = 10) -> list[Answered]:
    """A member's newest reports with their answers."""
    rows = session.execute(
        select(Report, Case)
        .join(Case, col(Case.id) == col(Report.case_id))
        .where(
            Report.member_id == actor.member.id, Report.workspace_id == actor.workspace.id,
            Case.workspace_id == actor.workspace.id,
        )
        .order_by(col(Report.id).desc())
        .limit(limit)
    ).all()  # fmt: skip
    found = []
    for made, case in rows:
        waits = case.status in UNDECIDED
        ruling = None if waits else last_ruling(session, case.id)
        found.append(
            Answered(
                at=made.created_at, kind=made.kind, action=ruling.action if ruling else "",
                due_at=case.due_at if waits else None,
            )
        )  # fmt: skip
    return found
