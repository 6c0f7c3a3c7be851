"""What was asked, in a moderator's language: wanted by a card, written by the worker when idle.

A card never waits for it: it says that one is coming, and shows it the next time it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from storage.ledger import changed
from storage.models import Case, CaseTranslation, Job
from storage.review_claims import UNDECIDED
from storage.review_words import is_sealed
from storage.schema import Millis, parse_spec

TRIES = 3
"""A text that failed so often stays as it is."""
LONGEST = 1000
"""Characters of the original that are put into another language."""


def of_case(session: Session, case_id: str, *, workspace_id: str) -> list[CaseTranslation]:
    """Every language a case was wanted in."""
    return list(
        session.exec(
            select(CaseTranslation).where(
                CaseTranslation.case_id == case_id, CaseTranslation.workspace_id == workspace_id
            )
        )
    )


def want(session: Session, case_id: str, locale: str, *, workspace_id: str, now: Millis) -> bool:
    """Ask for a translation; True when this call was the first to."""
    known = session.exec(
        select(CaseTranslation.id).where(
            CaseTranslation.case_id == case_id, CaseTranslation.locale == locale,
            CaseTranslation.workspace_id == workspace_id,
        )
    ).first()  # fmt: skip
    if known is not None:
        return False
    try:
        with session.begin_nested():
            session.add(
                CaseTranslation(
                    workspace_id=workspace_id, case_id=case_id, locale=locale, created_at=now
                )
            )
            session.flush()
    except IntegrityError:  # two moderators opened it in the same instant
        return False
    return True


@dataclass(frozen=True)
class Wanted:
    """One text that waits for the worker."""

    id: str
    case_id: str
    workspace_id: str
    member_id: str
    locale: str
    text: str


def next_wanted(session: Session) -> Wanted | None:
    """The oldest one of a case that still waits; None when there is nothing to do."""
    row = session.execute(
        select(CaseTranslation, Case, Job)
        .join(Case, col(Case.id) == col(CaseTranslation.case_id))
        .join(Job, col(Job.id) == col(Case.job_id))
        .where(
            col(CaseTranslation.done_at).is_(None), col(Case.status).in_(UNDECIDED),
            col(CaseTranslation.tries) < TRIES,
        )
        .order_by(col(CaseTranslation.tries), col(CaseTranslation.id))
        .limit(20)
    ).all()  # fmt: skip
    for wanted, case, job in row:
        text = parse_spec(job.spec).prompt[:LONGEST].strip()
        if text and not is_sealed(case.verdict):
            return Wanted(
                id=wanted.id, case_id=case.id, workspace_id=wanted.workspace_id,
                member_id=case.member_id, locale=wanted.locale, text=text,
            )  # fmt: skip
    return None


def keep(session: Session, wanted_id: str, text: str, model: str, *, now: Millis) -> bool:
    """Write what the model said; no text counts as a try. False when it was written before."""
    if not text:
        session.execute(
            update(CaseTranslation)
            .where(col(CaseTranslation.id) == wanted_id, col(CaseTranslation.done_at).is_(None))
            .values(tries=col(CaseTranslation.tries) + 1)
            .execution_options(synchronize_session=False)
        )
        return False
    return bool(
        changed(
            session,
            update(CaseTranslation)
            .where(col(CaseTranslation.id) == wanted_id, col(CaseTranslation.done_at).is_(None))
            .values(text=text, model=model, done_at=now)
            .execution_options(synchronize_session=False),
        )
    )


def forget(session: Session, job_id: str, *, workspace_id: str) -> None:
    """With the words of a job goes what was made of them."""
    session.execute(
        delete(CaseTranslation).where(
            col(CaseTranslation.workspace_id) == workspace_id,
            col(CaseTranslation.case_id).in_(
                select(Case.id).where(Case.job_id == job_id, Case.workspace_id == workspace_id)
            ),
        )
    )
