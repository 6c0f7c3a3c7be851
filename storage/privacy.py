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

from sqlalchemy import Text, and_, cast, delete, or_, update
from sqlmodel import Session, col, select

from storage import decisions, learning, translations
from storage.allowance import DAY_MS
from storage.linking import identities
from storage.models import (
    Appeal,
    Case,
    Decision,
    DecisionRecord,
    Entry,
    Favourite,
    Generation,
    Job,
    Member,
    Message,
    Post,
    Report,
    SavedView,
    Strike,
    ThreadMemory,
    Tier,
    TierGrant,
    Workspace,
)
from storage.review_words import APPEAL_MS, BULK_UNDO_MS, SEALED
from storage.rules import Rules, rules_of
from storage.schema import (
    OPEN_STATUSES,
    CaseStatus,
    GenerationStatus,
    JobKind,
    Millis,
)
from storage.tenant import Across, across
from storage.threads import unfold
from storage.tiers import kept_days
from storage.workspaces import account_of, forgotten_id

FORGOTTEN = "[forgotten]"
_PROMPTS = ("prompt", "negative", "question")


@dataclass(frozen=True)
class Everything:
    """All we hold about a person, as plain data, and the blobs of their pictures."""

    data: dict[str, Any]
    blobs: tuple[str, ...]


@across(Across.PERSON)
def export(session: Session, member: Member, *, now: Millis) -> Everything:
    """Collect it, over all linked identities."""
    people = identities(session, member)
    ids = [person.id for person in people]
    jobs = session.exec(select(Job).where(col(Job.member_id).in_(ids)).order_by(col(Job.id))).all()
    made = _made_by(session, ids)
    account = account_of(member)
    places = {
        row.id: row
        for row in session.exec(
            select(Workspace).where(col(Workspace.id).in_({p.workspace_id for p in people}))
        )
    }
    job_ids = [job.id for job in jobs]
    # An answer that a report hid, or that was denied, is in its conversation still.
    unseen = {item.job_id for item in made if item.status not in _SHOWN}
    return Everything(
        data={
            "exported_at": now,
            "identities": [
                {
                    "platform": str(places[person.workspace_id].platform),
                    "workspace": places[person.workspace_id].name,
                    "id": person.external_id, "name": person.name, "role": person.role,
                    "tier": person.tier_id, "since": person.created_at,
                    "timed_out_until": person.banned_until,
                }
                for person in people
            ],
            "jobs": [
                {
                    "id": job.id, "kind": str(job.kind), "status": str(job.status),
                    "spec": job.spec, "created_at": job.created_at,
                    "finished_at": job.finished_at, "credits": job.cost,
                }
                for job in jobs
            ],
            "generations": [
                {
                    "id": item.id, "job": item.job_id, "status": str(item.status),
                    "seed": item.seed,
                    # What is held is not handed out before a moderator has looked, and what was
                    # denied not at all; the recipe of an answer repeats it.
                    "recipe": item.recipe
                    if item.status in _SHOWN or item.kind == JobKind.IMAGE else {},
                    "text": item.text if item.status in _SHOWN else None,
                    "file": item.blob if item.status in _SHOWN else None,
                    "sha256": item.sha256, "created_at": item.created_at,
                }
                for item in made
            ],
            "conversations": [
                {"thread": row.thread, "role": row.role, "text": row.text, "at": row.created_at}
                for row in _messages(session, job_ids)
                if row.role == "user" or row.job_id not in unseen
            ],
            "favourites": list(
                session.exec(
                    select(Favourite.generation_id).where(col(Favourite.member_id).in_(ids))
                )
            ),
            "ledger": [
                {
                    "at": entry.at, "kind": entry.kind, "job": entry.job_id,
                    "credits": entry.amount if entry.credit == account else -entry.amount,
                    "reason": entry.reason if entry.kind != "gift" else "",
                }
                for entry in session.exec(
                    select(Entry)
                    .where(or_(col(Entry.debit) == account, col(Entry.credit) == account))
                    .order_by(col(Entry.at), col(Entry.id))
                )
            ],
            "tier_grants": [
                {"tier": row.tier_id, "at": row.created_at, "until": row.until}
                for row in session.exec(select(TierGrant).where(col(TierGrant.member_id).in_(ids)))
            ],
            **_reviewed(session, ids),
        },
        blobs=tuple(item.blob for item in made if item.blob and item.status in _SHOWN),
    )  # fmt: skip


def _reviewed(session: Session, member_ids: Sequence[str]) -> dict[str, Any]:
    """What the review room holds about a person: no scores, which tell how to pass, no words that
    are sealed, and not who reviewed."""
    rulings = session.execute(
        select(Case, Decision)
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .where(
            col(Case.member_id).in_(member_ids), col(Decision.blind).is_(False),
            col(Decision.proposed).is_(False), col(Decision.undone_at).is_(None),
        )
        .order_by(col(Decision.id))
    ).all()  # fmt: skip
    return {
        "strikes": [
            {"code": row.code, "weight": row.weight, "at": row.created_at,
             "until": row.expires_at, "voided_at": row.voided_at}
            for row in session.exec(
                select(Strike).where(col(Strike.member_id).in_(member_ids)).order_by(col(Strike.id))
            )
        ],
        "rulings": [
            {"generation": case.generation_id, "action": ruling.action, "code": ruling.code,
             "note": ruling.note, "at": ruling.created_at}
            for case, ruling in rulings
        ],
        "appeals": [
            {"case": row.case_id, "text": row.text, "at": row.created_at,
             "upheld": row.upheld, "decided_at": row.decided_at}
            for row in session.exec(
                select(Appeal).where(col(Appeal.member_id).in_(member_ids)).order_by(col(Appeal.id))
            )
        ],
        "reports": [
            {"kind": row.kind, "at": row.created_at}
            for row in session.exec(
                select(Report).where(col(Report.member_id).in_(member_ids)).order_by(col(Report.id))
            )
        ],
        "judged": [
            {"surface": row.surface, "text": row.text, "outcome": row.outcome,
             "statement": row.statement, "at": row.created_at, "until": row.expires_at}
            for row in session.exec(
                select(DecisionRecord)
                .where(col(DecisionRecord.member_id).in_(member_ids))
                .order_by(col(DecisionRecord.id))
            )
            if row.surface in _TYPED
        ],
    }  # fmt: skip


_TYPED = ("prompt", "negative", "name")
_SHOWN = (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)


def _made_by(session: Session, member_ids: Sequence[str]) -> list[Generation]:
    return list(
        session.exec(
            select(Generation)
            .join(Job, col(Job.id) == col(Generation.job_id))
            .where(col(Job.member_id).in_(member_ids))
            .order_by(col(Generation.id))
        )
    )


def _messages(session: Session, job_ids: Sequence[str]) -> list[Message]:
    found: list[Message] = []
    for start in range(0, len(job_ids), 500):
        found += session.exec(
            select(Message)
            .where(col(Message.job_id).in_(job_ids[start : start + 500]))
            .order_by(col(Message.id))
        )
    return found


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
    done.generations, done.kept_for_review = _remove(
        session, _made_by(session, ids), open_cases, done.blobs
    )
    done.messages = len(_messages(session, [job.id for job in jobs]))
    for job in jobs:
        kept = any(
            item in open_cases
            for item in session.exec(select(Generation.id).where(Generation.job_id == job.id))
        )
        _blank(session, job, done.blobs, keep_words=kept)
        done.jobs += 1
    session.execute(
        update(Appeal)
        .where(col(Appeal.member_id).in_(ids), col(Appeal.decided_at).is_not(None))
        .values(text=FORGOTTEN)
        .execution_options(synchronize_session=False)
    )
    session.execute(delete(Favourite).where(col(Favourite.member_id).in_(ids)))
    session.execute(delete(SavedView).where(col(SavedView.member_id).in_(ids)))
    for identity in ids:
        decisions.forget_member(session, member_id=identity)
        learning.forget_member(session, member_id=identity)
    for person in people:
        space = session.get_one(Workspace, person.workspace_id)
        if not person.external_id.startswith("forgotten:"):
            person.external_id = forgotten_id(space.id, person.external_id)
        person.name, person.roles = "", []
        session.add(person)
    session.flush()
    return done


def _remove(
    session: Session, made: Sequence[Generation], spare: set[str], blobs: list[str]
) -> tuple[int, int]:
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


def _blank(session: Session, job: Job, blobs: list[str], *, keep_words: bool) -> None:
    """Take the words and start pictures out of a job's row; its numbers stay for the ledger."""
    session.execute(delete(Message).where(col(Message.job_id) == job.id))
    unfold(session, job)
    session.execute(delete(Post).where(col(Post.job_id) == job.id))
    if keep_words:
        return
    translations.forget(session, job.id, workspace_id=job.workspace_id)
    blank_spec(job, blobs)
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
    spec, gone = _without_sources(spec, ours_too=True)
    blobs.extend(gone)
    job.spec = spec
    job.error_params = {}


def _without_sources(spec: dict[str, Any], *, ours_too: bool) -> tuple[dict[str, Any], list[str]]:
    """A spec without the uploads it starts from, and their blobs; with ``ours_too`` it no longer
    points to what we made either (whose blob is its generation's)."""
    spec, gone = copy.deepcopy(spec), []
    control = spec.get("control") or {}
    places = [spec.get("start"), spec.get("mask"), spec.get("reference"), control.get("source")]
    for source in (*places, *(spec.get("blend") or ()), *(spec.get("images") or ())):
        if not isinstance(source, dict) or source.get("blob") in (None, FORGOTTEN):
            continue
        upload = not source.get("generation_id")
        if upload:
            gone.append(source["blob"])
        if upload or ours_too:
            source["blob"] = FORGOTTEN
    return spec, gone


def _old_uploads(session: Session, space: Workspace, before: Millis, limit: int) -> list[str]:
    """Take uploads out of jobs older than ``before``; what a younger or open job or an open case
    still needs stays until that is over."""
    words = cast(Job.spec, Text)
    older = select(Job).where(
        Job.workspace_id == space.id, col(Job.created_at) < before,
        col(Job.status).not_in(OPEN_STATUSES), words.contains('"sha256"'),
    )  # fmt: skip
    waiting = select(Case.job_id).where(
        Case.workspace_id == space.id,
        col(Case.status).in_((CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)),
    )
    needed = select(Job.id).where(
        Job.workspace_id == space.id,
        or_(
            col(Job.created_at) >= before, col(Job.status).in_(OPEN_STATUSES),
            col(Job.id).in_(waiting),
        ),
    )  # fmt: skip
    removed: set[str] = set()
    for job in session.exec(older.where(col(Job.id).not_in(waiting)).order_by(col(Job.id))).all():
        spec, gone = _without_sources(job.spec, ours_too=False)
        if not gone or any(
            session.exec(needed.where(words.contains(blob)).limit(1)).first() for blob in gone
        ):
            continue
        job.spec = spec
        session.add(job)
        removed.update(gone)
        if len(removed) >= limit:
            break
    return sorted(removed)


def _days_by_tier(session: Session, rules: Rules) -> dict[int, list[str]]:
    """Days -> the tiers whose members' results are kept that long here; without those kept on."""
    found: dict[int, list[str]] = {}
    for tier in session.exec(select(Tier).order_by(col(Tier.id))):
        if days := kept_days(tier, rules):
            found.setdefault(days, []).append(tier.id)
    return found


def _old_generations(
    session: Session, space: Workspace, tiers: list[str], before: Millis, limit: int
) -> list[Generation]:
    """What members of these tiers made before a moment and nobody has under review."""
    waiting = select(Case.generation_id).where(
        Case.workspace_id == space.id,
        col(Case.status).in_((CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)),
    )
    return list(
        session.exec(
            select(Generation)
            .join(Job, col(Job.id) == col(Generation.job_id))
            .join(Member, col(Member.id) == col(Job.member_id))
            .where(
                Generation.workspace_id == space.id,
                col(Generation.created_at) < before,
                col(Generation.status).in_(_SHOWN),
                col(Member.tier_id).in_(tiers),
                col(Generation.id).not_in(waiting),
            )
            .order_by(col(Generation.id))
            .limit(limit)
        )
    )


def _denied_for_good(
    session: Session, space: Workspace, now: Millis, limit: int
) -> list[Generation]:
    """What was denied and can be appealed no more: nothing needs its pixels and words.

    What a moderator took for child abuse goes as soon as that cannot be undone: an appeal is
    decided without it, and nobody is to have it meanwhile.
    """
    grave = select(Case.generation_id).where(
        Case.workspace_id == space.id,
        col(Case.id).in_(
            select(Decision.case_id).where(
                Decision.workspace_id == space.id, col(Decision.undone_at).is_(None),
                col(Decision.code).in_([str(code) for code in SEALED]),
                col(Decision.blind).is_(False), col(Decision.proposed).is_(False),
                col(Decision.created_at) < now - BULK_UNDO_MS,
            )
        ),
    )  # fmt: skip
    open_still = select(Case.generation_id).where(
        Case.workspace_id == space.id,
        or_(
            col(Case.status).in_((CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)),
            and_(
                col(Case.status) == CaseStatus.DECIDED,
                or_(col(Case.decided_at).is_(None), col(Case.decided_at) >= now - APPEAL_MS),
            ),
        ),
    )
    return list(
        session.exec(
            select(Generation)
            .where(
                Generation.workspace_id == space.id,
                Generation.status == GenerationStatus.REMOVED,
                or_(col(Generation.blob).is_not(None), col(Generation.text).is_not(None)),
                or_(col(Generation.id).not_in(open_still), col(Generation.id).in_(grave)),
            )
            .order_by(col(Generation.id))
            .limit(limit)
        )
    )


def sweep(session: Session, *, now: Millis, limit: int = 200) -> list[str]:
    """Retention: remove what is older than it is kept; returns blobs to delete.

    What was denied goes when it can be appealed no more. Results go by the tightest of workspace
    and tier (:func:`storage.tiers.kept_days`), by the tier their member has now; uploads and
    conversations by the workspace. At most ``limit`` generations of each keeping time and as many
    messages of each workspace in one go, so that a sweep never holds the database for long; call it
    again while it returns something.
    """
    blobs: list[str] = []
    for space in session.exec(select(Workspace)):
        rules = rules_of(space.settings)
        keeping = rules.keeping
        for days, tiers in _days_by_tier(session, rules).items():
            old = _old_generations(session, space, tiers, now - days * DAY_MS, limit)
            _remove(session, old, set(), blobs)
        _remove(session, _denied_for_good(session, space, now, limit), set(), blobs)
        if keeping.uploads_days:
            before = now - keeping.uploads_days * DAY_MS
            blobs.extend(_old_uploads(session, space, before, limit))
        if keeping.conversations_days:
            ended = session.exec(
                select(Message.id)
                .where(
                    Message.workspace_id == space.id,
                    col(Message.created_at) < now - keeping.conversations_days * DAY_MS,
                )
                .limit(limit)
            ).all()
            session.execute(delete(Message).where(col(Message.id).in_(ended)))
            session.execute(
                delete(ThreadMemory).where(
                    col(ThreadMemory.workspace_id) == space.id,
                    col(ThreadMemory.updated_at) < now - keeping.conversations_days * DAY_MS,
                )
            )
    session.flush()
    return blobs
