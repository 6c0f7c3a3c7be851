"""What front ends read: a job with its generations, the line, a member's history, open cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Text, cast, func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import jobs, review
from storage.export import FORGOTTEN
from storage.linking import identities
from storage.models import Appeal, Case, Decision, Generation, Job, Member, Workspace
from storage.places import Place as Place
from storage.places import counted_place, line_places
from storage.places import open_jobs as open_jobs
from storage.places import place_of as place_of
from storage.review_claims import UNDECIDED
from storage.review_words import AGAINST, APPEAL_MS, Ruling
from storage.rules import rules_of
from storage.schema import (
    OPEN_STATUSES,
    TERMINAL_STATUSES,
    Address,
    CaseOrigin,
    CaseStatus,
    GenerationStatus,
    JobStatus,
    Millis,
    Platform,
    is_id,
)
from storage.tenant import Across, across

_PERHAPS_RULED = (GenerationStatus.HELD, GenerationStatus.REMOVED, GenerationStatus.BLURRED)


@dataclass(frozen=True)
class RulingView:
    """What a person decided about one generation, as its owner is told."""

    case_id: str
    status: CaseStatus
    action: str
    """A :class:`~storage.review_words.Ruling`; empty while nobody decided."""
    code: str
    note: str
    question: str
    """What a moderator asked last; empty when nobody did."""
    upheld: bool | None
    """How an appeal ended; None when there was none, or it waits."""
    appealable: bool
    hidden: bool = False
    """A report hid it; a moderator decides first of all."""
    by_rule: bool = False
    """A fixed rule refused what was typed and struck for it; no person has decided."""


@dataclass(frozen=True)
class JobView:
    """A job as a card shows it."""

    job: Job
    author: str
    generations: list[Generation]
    place: Place | None
    rulings: dict[str, RulingView] = field(default_factory=dict)
    """What moderators said, by generation; empty for nearly every job."""
    disclosure: str = ""
    """What this workspace says under every result."""


def view(session: Session, job_id: str, *, workspace_id: str, now: Millis) -> JobView:
    """Everything a card needs. Raises ``NotFound('job_unknown')``."""
    job = jobs.find(session, job_id, workspace_id=workspace_id)
    return _view(session, job, now, {})


def _view(session: Session, job: Job, now: Millis, places: dict[str, Place]) -> JobView:
    """``places`` is the line as replayed for an earlier card of the same page, or empty."""
    made = session.exec(
        select(Generation).where(Generation.job_id == job.id).order_by(col(Generation.index))
    ).all()
    member = session.get_one(Member, job.member_id)
    space = session.get_one(Workspace, job.workspace_id)
    place = None
    if job.status == JobStatus.QUEUED:
        if not places:
            places.update(line_places(session, now))
        place = places.get(job.id) or counted_place(session, job.id, now)
    elif job.status == JobStatus.RUNNING and job.started_at is not None:
        place = Place(place=0, total=0, eta_at=max(now, job.started_at + job.estimate_ms))
    rulings = {}
    if any(item.status in _PERHAPS_RULED or item.verdict.get("flags") for item in made):
        rulings = _rulings(session, job, now)
    return JobView(
        job=job, author=member.name, generations=list(made), place=place, rulings=rulings,
        disclosure=rules_of(space.settings).disclosure,
    )  # fmt: skip


def _rulings(session: Session, job: Job, now: Millis) -> dict[str, RulingView]:
    found: dict[str, RulingView] = {}
    for case in session.exec(select(Case).where(Case.job_id == job.id).order_by(col(Case.id))):
        ruling = review.last_ruling(session, case.id)
        asked = session.exec(
            select(Decision)
            .where(Decision.case_id == case.id, Decision.action == Ruling.ASK)
            .order_by(col(Decision.id).desc())
        ).first()
        appeal = None
        if ruling is not None:
            appeal = session.exec(select(Appeal).where(Appeal.decision_id == ruling.id)).first()
        against = ruling is not None and ruling.action in AGAINST
        hidden = case.shown_as is not None and case.status in UNDECIDED
        quiet = ruling is None and asked is None and not hidden
        if quiet and case.origin == CaseOrigin.REPORTED:
            continue  # a report that nobody has looked at is no news for the owner
        found[case.generation_id] = RulingView(
            case_id=case.id, status=CaseStatus(case.status),
            action=ruling.action if ruling else "", code=ruling.code if ruling else "",
            note=ruling.note if ruling else "",
            question=asked.note if asked is not None and ruling is None else "",
            upheld=appeal.upheld if appeal is not None else None,
            appealable=against and appeal is None and ruling is not None
            and now - ruling.created_at <= APPEAL_MS,
            hidden=hidden, by_rule=case.origin == CaseOrigin.REFUSED,
        )  # fmt: skip
    return found


def history(
    session: Session,
    *,
    workspace_id: str,
    member_id: str | None = None,
    limit: int = 30,
    before: str | None = None,
    now: Millis,
) -> list[JobView]:
    """The newest jobs of a workspace (or one member), newest first, older than job ``before``.

    Without those of people who asked to be forgotten: there is nothing left on their cards.
    """
    query = (
        select(Job)
        .where(Job.workspace_id == workspace_id, _remembered())
        .order_by(col(Job.id).desc())
        .limit(limit)
    )
    if member_id is not None:
        query = query.where(Job.member_id == member_id)
    if before is not None and is_id(before):
        query = query.where(col(Job.id) < before)
    places: dict[str, Place] = {}
    return [_view(session, job, now, places) for job in session.exec(query)]


def _remembered() -> ColumnElement[bool]:
    return cast(Job.address, Text).not_like(f"%{FORGOTTEN}%")


@across(Across.PERSON)
def elsewhere(
    session: Session, member: Member, *, limit: int, now: Millis
) -> list[tuple[str, JobView]]:
    """The newest jobs of the same person in other places where they are linked, newest first,
    each with the place's name. For their own eyes only."""
    others = {one.id for one in identities(session, member)} - {member.id}
    rows = session.exec(
        select(Job, Workspace)
        .join(Workspace, col(Workspace.id) == col(Job.workspace_id))
        .where(col(Job.member_id).in_(others), _remembered())
        .order_by(col(Job.id).desc())
        .limit(limit)
    ).all()
    places: dict[str, Place] = {}
    return [
        (space.name or space.platform.capitalize(), _view(session, job, now, places))
        for job, space in rows
    ]


def undelivered(
    session: Session,
    *,
    platforms: list[Platform],
    limit: int = 50,
    without: Sequence[str] = (),
) -> list[tuple[Job, str]]:
    """Ended jobs whose reply was not put anywhere yet, oldest first, with their workspace.

    ``without``: jobs to leave out, so that some that cannot be delivered hold up no other.
    """
    rows = session.exec(
        select(Job, Workspace)
        .join(Workspace, col(Workspace.id) == col(Job.workspace_id))
        .where(
            col(Job.delivered_at).is_(None),
            col(Job.status).in_(TERMINAL_STATUSES),
            col(Workspace.platform).in_(platforms),
            col(Job.id).not_in(without),
        )
        .order_by(col(Job.id))
        .limit(limit)
    ).all()
    return [(job, space.id) for job, space in rows]


def where(session: Session, job_id: str) -> tuple[Address, str, str] | None:
    """Where a job's card belongs: its address, our workspace id and the language it is in."""
    job = session.get(Job, job_id)
    if job is None:
        return None
    return Address.model_validate(job.address), job.workspace_id, job.locale


def visible_blob(session: Session, *, workspace_id: str, key: str) -> bool:
    """Whether a picture may be shown now: made in this workspace, judged and not held."""
    if "\x00" in key:
        return False
    status = session.exec(
        select(Generation.status).where(
            Generation.workspace_id == workspace_id, Generation.blob == key
        )
    ).first()
    return status in (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)


@across(Across.LINE)
def waiting_by_model(session: Session) -> dict[str, tuple[int, Millis]]:
    """Open jobs of each model and how long they take together, for who is choosing one."""
    rows = session.execute(
        select_columns(
            col(Job.model), func.count(), func.coalesce(func.sum(col(Job.estimate_ms)), 0)
        )
        .where(col(Job.status).in_(OPEN_STATUSES))
        .group_by(col(Job.model))
    ).all()
    return {str(model): (int(count), int(total)) for model, count, total in rows}
