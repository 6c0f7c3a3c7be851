"""What a person may take along and have forgotten, over every place where they are one person.

*Export* is everything we hold about someone. *Forget* removes what they wrote and made; what must
stay (the ledger, decisions about content, strikes) stays under a pseudonym: the platform's id is
replaced by a hash, so that nobody reads who it was, and who comes back by the same platform
account finds their own ledger and not a fresh grant.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Text, cast, delete, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import decisions, learning, translations
from storage.export import FORGOTTEN, made_by, messages_of, sources_of
from storage.export import Everything as Everything
from storage.export import export as export
from storage.linking import identities
from storage.models import (
    Appeal,
    Case,
    Favourite,
    Generation,
    Intent,
    Job,
    LinkCode,
    Member,
    Message,
    Post,
    SavedView,
    Workspace,
)
from storage.schema import (
    OPEN_STATUSES,
    CaseStatus,
    GenerationStatus,
    JobKind,
    Millis,
)
from storage.tenant import Across, across
from storage.threads import unfold
from storage.workspaces import forgotten_id

_PROMPTS = ("prompt", "negative", "question")


@dataclass
class Forgotten:
    """What was removed, and what stayed and why."""

    jobs: int = 0
    generations: int = 0
    messages: int = 0
    kept_for_review: int = 0
    """Generations with an open case: evidence stays until a moderator has decided."""
    open_jobs: int = 0
    """Still queued or running: they are cancelled first, then asked for again."""
    blobs: list[str] = field(default_factory=list)
    """Files to delete once the transaction is through."""


@across(Across.PERSON)
def forget(session: Session, member: Member, *, now: Millis) -> Forgotten:
    """Remove what a person wrote and made, everywhere they are one person.

    Nothing is removed while jobs are open (``open_jobs`` says how many). Doing it twice is fine.
    What is under review goes once that is over (:func:`finish_forgetting`).
    """
    people = identities(session, member)
    ids = [person.id for person in people]
    done = Forgotten()
    jobs = session.exec(select(Job).where(col(Job.member_id).in_(ids))).all()
    done.open_jobs = sum(job.status in OPEN_STATUSES for job in jobs)
    if done.open_jobs:
        return done
    open_cases = set(
        session.exec(
            select(Case.generation_id).where(
                col(Case.member_id).in_(ids), col(Case.status) != CaseStatus.CLOSED,
                col(Case.status) != CaseStatus.DECIDED,
            )
        )
    )  # fmt: skip
    made = made_by(session, ids)
    said = messages_of(session, [job.id for job in jobs])
    done.messages = len(said)
    _unsay(session, jobs, {row.text for row in said} | {row.text for row in made if row.text})
    done.generations, done.kept_for_review = remove_generations(
        session, made, open_cases, done.blobs
    )
    for job in jobs:
        kept = any(
            item in open_cases
            for item in session.exec(select(Generation.id).where(Generation.job_id == job.id))
        )
        _blank(session, job, done.blobs, keep_words=kept, now=now)
        done.jobs += 1
    session.execute(delete(Favourite).where(col(Favourite.member_id).in_(ids)))
    for table in (SavedView, Intent, LinkCode):
        session.execute(delete(table).where(col(table.member_id).in_(ids)))
    session.execute(
        update(Appeal)
        .where(col(Appeal.member_id).in_(ids), col(Appeal.upheld).is_not(None))
        .values(text=FORGOTTEN)
        .execution_options(synchronize_session=False)
    )
    for identity in ids:
        decisions.forget_member(session, member_id=identity)
        learning.forget_member(session, member_id=identity)
    for person in people:
        space = session.get_one(Workspace, person.workspace_id)
        if not person.external_id.startswith("forgotten:"):
            person.external_id = forgotten_id(space.id, person.external_id)
        person.name, person.roles, person.account_created_at = "", [], None
        session.add(person)
    session.flush()
    return done


def _unsay(session: Session, jobs: Sequence[Job], texts: set[str]) -> None:
    """Take a person's words out of what others asked in the same conversations after them: each
    question carries along what was said before it."""
    chats = [job for job in jobs if job.kind == JobKind.CHAT and job.spec.get("thread")]
    threads = {(job.workspace_id, job.spec["thread"]) for job in chats}
    words = (texts | {job.spec["turns"][-1]["text"] for job in chats}) - {"", FORGOTTEN}
    own = {job.id for job in jobs}
    carrying: list[str] = []
    for space in {space for space, _ in threads}:
        rows = session.execute(
            select_columns(col(Job.id), col(Job.spec))
            .where(col(Job.workspace_id) == space, col(Job.kind) == JobKind.CHAT)
            .execution_options(yield_per=500)
        )
        carrying += [
            job_id
            for job_id, spec in rows
            # The last turn is the asker's own, even where it is the same word for word.
            if job_id not in own
            and (space, spec.get("thread")) in threads
            and any(turn["text"] in words for turn in spec["turns"][:-1])
        ]
    for job_id in carrying:
        other = session.get_one(Job, job_id)
        *before, last = other.spec["turns"]
        before = [t | {"text": FORGOTTEN} if t["text"] in words else t for t in before]
        other.spec = other.spec | {"turns": [*before, last]}
        session.add(other)
    session.flush()


@across(Across.PERSON)
def finish_forgetting(session: Session, *, now: Millis, limit: int = 200) -> Forgotten:
    """Remove what forgetting had to leave because it was under review, now that it is decided."""
    done = Forgotten()
    waiting = select(Case.job_id).where(
        col(Case.status).in_((CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED))
    )
    left = (
        select(Job)
        .join(Member, col(Member.id) == col(Job.member_id))
        .where(
            col(Member.external_id).startswith("forgotten:"),
            col(Job.id).in_(select(Case.job_id)), col(Job.id).not_in(waiting),
            col(Job.status).not_in(OPEN_STATUSES),
            cast(Job.address, Text).not_like(f"%{FORGOTTEN}%"),
        )
        .order_by(col(Job.id))
        .limit(limit)
    )  # fmt: skip
    for job in session.exec(left).all():
        made = session.exec(select(Generation).where(Generation.job_id == job.id)).all()
        done.generations += remove_generations(session, made, set(), done.blobs)[0]
        _blank(session, job, done.blobs, keep_words=False, now=now)
        session.execute(
            update(Appeal)
            .where(col(Appeal.member_id) == job.member_id, col(Appeal.upheld).is_not(None))
            .values(text=FORGOTTEN)
            .execution_options(synchronize_session=False)
        )
        done.jobs += 1
    return done


def remove_generations(
    session: Session, made: Sequence[Generation], spare: set[str], blobs: list[str]
) -> tuple[int, int]:
    """Take away what was made but for ``spare``; how many went and how many stayed. Files to
    delete are put into ``blobs``."""
    removed = kept = 0
    for item in made:
        if item.id in spare:
            kept += 1
            continue
        if item.blob:
            blobs.append(item.blob)
        if item.status != GenerationStatus.REMOVED or item.text or item.recipe:
            removed += 1
        item.status, item.blob, item.text = GenerationStatus.REMOVED, None, None
        item.recipe = {}
        session.add(item)
    session.flush()
    return removed, kept


def _blank(session: Session, job: Job, blobs: list[str], *, keep_words: bool, now: Millis) -> None:
    """Take words, start pictures and place out of a job's row; its numbers stay for the ledger."""
    session.execute(delete(Message).where(col(Message.job_id) == job.id))
    unfold(session, job)
    session.execute(delete(Post).where(col(Post.job_id) == job.id))
    if keep_words:
        return
    translations.forget(session, job.id, workspace_id=job.workspace_id)
    blank_spec(job, blobs)
    # A direct message's channel is one person's. Nothing is put there any more.
    job.address = {**job.address, "channel": FORGOTTEN, "thread": None, "message": None}
    job.delivered_at = job.delivered_at or now
    session.add(job)
    session.flush()


def blank_spec(job: Job, blobs: list[str]) -> None:
    """A job's spec without its words and start pictures; those we were given go to ``blobs``."""
    spec = dict(job.spec)
    for name in _PROMPTS:
        if spec.get(name):
            spec[name] = FORGOTTEN
    if "turns" in spec:
        spec["turns"] = [turn | {"text": FORGOTTEN} for turn in spec["turns"][-1:]]
    spec, gone = without_sources(spec, ours_too=True)
    blobs.extend(gone)
    job.spec = spec
    job.error_params = {}


def without_sources(spec: dict[str, Any], *, ours_too: bool) -> tuple[dict[str, Any], list[str]]:
    """A spec without the uploads it starts from, and their blobs; with ``ours_too`` it no longer
    points to what we made either (whose blob is its generation's)."""
    spec, gone = copy.deepcopy(spec), []
    for source in sources_of(spec):
        upload = not source.get("generation_id")
        if upload:
            gone.append(source["blob"])
        if upload or ours_too:
            source["blob"] = FORGOTTEN
    return spec, gone
