"""Generations under review: opening cases, reports, removal. The review flow builds on these."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from storage import audit
from storage.errors import NotAllowed, NotFound
from storage.ledger import changed
from storage.models import Case, Generation, Job, Workspace
from storage.review_queue import names_code
from storage.review_words import DUE_MS, SEALED, worst
from storage.schema import (
    CaseOrigin,
    CaseStatus,
    GenerationStatus,
    Millis,
    Platform,
    Role,
    Verdict,
    is_id,
    role_at_least,
)
from storage.threads import forget
from storage.workspaces import Actor

_UNDER_REVIEW = (CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)


def generation(session: Session, generation_id: str, *, workspace_id: str) -> Generation:
    """A generation of this workspace. Raises ``NotFound``, for foreign ones too."""
    row = None
    if is_id(generation_id):
        row = session.exec(
            select(Generation).where(
                Generation.id == generation_id, Generation.workspace_id == workspace_id
            )
        ).first()
    if row is None:
        raise NotFound("generation_unknown")
    return row


def generations(session: Session, job_id: str, *, workspace_id: str) -> list[Generation]:
    """Everything a job of this workspace made, in order; of a foreign job, nothing."""
    if not is_id(job_id):
        return []
    return list(
        session.exec(
            select(Generation)
            .where(Generation.job_id == job_id, Generation.workspace_id == workspace_id)
            .order_by(col(Generation.index))
        )
    )


def open_case(
    session: Session,
    made: Generation,
    *,
    origin: CaseOrigin,
    verdict: Mapping[str, Any],
    now: Millis,
    reporter_id: str | None = None,
) -> tuple[Case, bool]:
    """Open a case about a generation; ``(case, True)`` when new. Duplicates join one case."""
    known = session.exec(
        select(Case).where(Case.generation_id == made.id, Case.origin == origin)
    ).first()
    if known is not None:
        return known, False
    job = session.get_one(Job, made.job_id)
    severity = worst(Verdict.parse(dict(verdict)).categories())
    case = Case(
        workspace_id=made.workspace_id, job_id=made.job_id, generation_id=made.id,
        member_id=job.member_id, reporter_id=reporter_id, origin=origin, verdict=dict(verdict),
        created_at=now, severity=severity, due_at=now + DUE_MS[severity],
    )  # fmt: skip
    try:
        with session.begin_nested():
            session.add(case)
            session.flush()
    except IntegrityError:
        # Two members reported it in the same instant: one case.
        return session.exec(
            select(Case).where(Case.generation_id == made.id, Case.origin == origin)
        ).one(), False
    return case, True


def remove(session: Session, generation_id: str, *, actor: Actor, now: Millis) -> str | None:
    """Take a generation away for its owner or a moderator; returns the blob to delete.

    What a moderator takes from somebody else is a line in the audit log. The row stays as a record
    without its content. A generation under review stays untouched: deleting evidence is not the
    owner's to do. Raises ``NotFound`` or ``NotAllowed``.
    """
    made = generation(session, generation_id, workspace_id=actor.workspace.id)
    job = session.get_one(Job, made.job_id)
    moderator = role_at_least(actor.member.role, Role.MODERATOR)
    if job.member_id != actor.member.id and not moderator:
        raise NotAllowed("not_yours")
    reviewed = session.exec(
        select(Case.id).where(
            Case.generation_id == generation_id, col(Case.status).in_(_UNDER_REVIEW)
        )
    ).first()
    if reviewed is not None and not moderator:
        raise NotAllowed("under_review")
    blob, was = made.blob, str(made.status)
    removed = changed(
        session,
        update(Generation)
        .where(col(Generation.id) == generation_id, col(Generation.status) != GenerationStatus.HELD)
        .values(status=GenerationStatus.REMOVED, blob=None, text=None)
        .execution_options(synchronize_session=False),
    )
    if not removed:
        raise NotAllowed("under_review")
    if made.text:
        forget(session, job, made.text)
    if job.member_id != actor.member.id:
        audit.write(
            session, actor.workspace.id, actor_id=actor.member.id, verb="remove",
            target=generation_id, now=now, before={"generation": was},
            after={"generation": str(GenerationStatus.REMOVED), "member": job.member_id},
        )  # fmt: skip
    return blob


def unannounced(
    session: Session,
    *,
    platforms: Sequence[Platform],
    limit: int = 20,
    without: Collection[str] = (),
) -> list[tuple[Case, Workspace, str]]:
    """New and newly appealed cases whose workspace has a review channel, with it, oldest first.

    ``without``: workspaces to leave out, so that some that cannot be told hold up no other.
    """
    if not platforms:
        return []
    spaces = {
        space.id: space
        for space in session.exec(
            select(Workspace).where(col(Workspace.platform).in_(list(platforms)))
        )
        if space.id not in without and space.settings.get("review_channel")
    }
    # Only of those: what nobody can be told of must not fill the first lines for ever.
    rows = session.exec(
        select(Case)
        .where(
            col(Case.announced_at).is_(None),
            col(Case.status).in_((CaseStatus.OPEN, CaseStatus.APPEALED)),
            col(Case.workspace_id).in_(spaces),
            *(~names_code(str(code)) for code in SEALED),
        )
        .order_by(col(Case.id))
        .limit(limit)
    )
    return [
        (case, spaces[case.workspace_id],
         str(spaces[case.workspace_id].settings["review_channel"]))
        for case in rows
    ]  # fmt: skip


def announced(session: Session, case_id: str, *, now: Millis) -> None:
    """Note that a case's card is in the review channel."""
    session.execute(update(Case).where(col(Case.id) == case_id).values(announced_at=now))


def open_cases(session: Session, *, workspace_id: str) -> list[Case]:
    """What waits for a moderator, oldest first."""
    return list(
        session.exec(
            select(Case)
            .where(
                Case.workspace_id == workspace_id,
                col(Case.status).in_(_UNDER_REVIEW),
            )
            .order_by(col(Case.id))
        )
    )
