"""One case with its context, as a moderator's card shows it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import known, strikes
from storage.errors import NotFound
from storage.known import Near
from storage.models import (
    Appeal,
    Case,
    CaseTranslation,
    Decision,
    Generation,
    Job,
    Member,
    Report,
    Workspace,
)
from storage.review_queue import twins
from storage.review_words import FINAL
from storage.rules import rules_of
from storage.schema import Millis, is_id
from storage.strikes import Standing

SIMILAR = 5
BEFORE = 5


@dataclass(frozen=True)
class CaseView:
    """Everything a moderator's card shows. Holding it shows nothing: pixels are fetched apart."""

    case: Case
    job: Job
    made: Generation
    member: Member
    standing: Standing
    holder: str
    """Name of whoever has the lock now; empty when it is free."""
    reports: int
    decisions: tuple[Decision, ...]
    appeal: Appeal | None
    similar: tuple[tuple[Case, str], ...]
    """Decided cases about the same pixels, with what was decided."""
    near: tuple[Near, ...]
    """Decided pictures that look like this one without being it."""
    alike: int
    """Waiting cases about the same pixels."""
    before: tuple[Job, ...]
    """The member's five jobs before this one."""
    translations: tuple[CaseTranslation, ...] = ()


def subject(session: Session, case_id: str, *, workspace_id: str) -> tuple[Case, Generation]:
    """A case and what it is about. Raises ``NotFound('case_unknown')``."""
    row = None
    if is_id(case_id):
        row = session.exec(
            select(Case, Generation)
            .join(Generation, col(Generation.id) == col(Case.generation_id))
            .where(
                Case.id == case_id, Case.workspace_id == workspace_id,
                Generation.workspace_id == workspace_id,
            )
        ).first()  # fmt: skip
    if row is None:
        raise NotFound("case_unknown")
    return row[0], row[1]


def ruled_about(session: Session, made: Generation) -> list[Decision]:
    """Every ruling about a generation, of whichever case."""
    return list(
        session.exec(
            select(Decision)
            .join(Case, col(Case.id) == col(Decision.case_id))
            .where(
                Case.generation_id == made.id, Case.workspace_id == made.workspace_id,
                Decision.workspace_id == made.workspace_id,
            )
            .order_by(col(Decision.id))
        )
    )  # fmt: skip


def view(
    session: Session, case_id: str, *, workspace_id: str, now: Millis, file_sha256: str = ""
) -> CaseView:
    """One case with its context; ``file_sha256`` is the stored file's, to find its hash by.

    Raises ``NotFound('case_unknown')``.
    """
    row = None
    if is_id(case_id):
        row = session.execute(
            select_columns(Case, Job, Generation, Member, Workspace)
            .join(Job, col(Job.id) == col(Case.job_id))
            .join(Generation, col(Generation.id) == col(Case.generation_id))
            .join(Member, col(Member.id) == col(Case.member_id))
            .join(Workspace, col(Workspace.id) == col(Case.workspace_id))
            .where(
                col(Case.id) == case_id, col(Case.workspace_id) == workspace_id,
                col(Job.workspace_id) == workspace_id,
                col(Generation.workspace_id) == workspace_id,
                col(Member.workspace_id) == workspace_id, col(Workspace.id) == workspace_id,
            )
        ).first()  # fmt: skip
    if row is None:
        raise NotFound("case_unknown")
    case, job, made, member, space = row
    held = case.claimed_by if case.claimed_until and case.claimed_until > now else None
    rules = rules_of(space.settings).review
    return CaseView(
        case=case, job=job, made=made, member=member,
        standing=strikes.standing(session, member.id, rules, now=now),
        holder=session.get_one(Member, held).name if held else "",
        reports=session.execute(
            select_columns(func.count(col(Report.id))).where(col(Report.case_id) == case.id)
        ).scalar_one(),
        decisions=tuple(
            session.exec(
                select(Decision)
                .where(Decision.case_id == case.id, col(Decision.blind).is_(False))
                .order_by(col(Decision.id))
            )
        ),
        appeal=session.exec(
            select(Appeal).where(Appeal.case_id == case.id).order_by(col(Appeal.id).desc())
        ).first(),
        similar=_similar(session, case, made),
        near=tuple(known.near(session, made, file_sha256=file_sha256)) if file_sha256 else (),
        alike=len(twins(session, case)) if made.sha256 is not None else 0,
        before=tuple(
            session.exec(
                select(Job)
                .where(Job.member_id == member.id, col(Job.id) < job.id)
                .order_by(col(Job.id).desc())
                .limit(BEFORE)
            )
        ),
        translations=tuple(
            session.exec(select(CaseTranslation).where(CaseTranslation.case_id == case.id))
        ),
    )  # fmt: skip


def _similar(session: Session, case: Case, made: Generation) -> tuple[tuple[Case, str], ...]:
    """What was decided about the same pixels, newest first; a ruling that fell is left out."""
    if made.sha256 is None:
        return ()
    rows = session.execute(
        select(Case, Decision, Appeal)
        .join(Generation, col(Generation.id) == col(Case.generation_id))
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .outerjoin(Appeal, col(Appeal.decision_id) == col(Decision.id))
        .where(
            col(Case.workspace_id) == case.workspace_id, col(Case.id) != case.id,
            col(Generation.sha256) == made.sha256, col(Decision.undone_at).is_(None),
            col(Decision.blind).is_(False), col(Decision.proposed).is_(False),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
        )
        .order_by(col(Decision.id).desc())
        .limit(SIMILAR)
    ).all()  # fmt: skip
    return tuple(
        (found, ruling.action)
        for found, ruling, appeal in rows
        if appeal is None or appeal.upheld is not False
    )
