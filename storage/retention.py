"""Retention: what a workspace keeps no longer is removed, little by little, every hour."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Text, and_, cast, delete, or_
from sqlmodel import Session, col, select

from storage.allowance import DAY_MS
from storage.export import FORGOTTEN, SHOWN
from storage.ledger import changed
from storage.models import (
    Case,
    Decision,
    Generation,
    Intent,
    Job,
    LinkCode,
    Member,
    Message,
    ThreadMemory,
    Tier,
    Workspace,
)
from storage.privacy import (
    blank_spec,
    finish_forgetting,
    remove_generations,
    without_sources,
)
from storage.review_words import APPEAL_MS, BULK_UNDO_MS, SEALED
from storage.rules import Rules, rules_of
from storage.schema import OPEN_STATUSES, CaseOrigin, CaseStatus, GenerationStatus, JobKind, Millis
from storage.tiers import kept_days


@dataclass
class Swept:
    """What one go removed."""

    rows: int = 0
    """Results, uploads, conversations and what was asked and never confirmed; 0: nothing is left
    to remove now."""
    blobs: list[str] = field(default_factory=list)
    """Files to delete once the transaction is through."""


def sweep(session: Session, *, now: Millis, limit: int = 200) -> Swept:
    """Remove what is older than it is kept.

    What was denied goes when it can be appealed no more. Results go by the tightest of workspace
    and tier (:func:`storage.tiers.kept_days`), by the tier their member has now; uploads and
    conversations by the workspace. At most ``limit`` of each kind and workspace in one go, so that
    a sweep never holds the database for long; call it again while it removes something (``rows``).
    """
    done = Swept()
    for space in session.exec(select(Workspace)).all():
        rules = rules_of(space.settings)
        keeping = rules.keeping
        for days, tiers in _days_by_tier(session, rules).items():
            old = _old_generations(session, space, tiers, now - days * DAY_MS, limit)
            remove_generations(session, old, set(), done.blobs)
            done.rows += len(old)
        denied = _denied_for_good(session, space, now, limit)
        remove_generations(session, denied, set(), done.blobs)
        done.rows += len(denied)
        done.rows += _blank_refused(session, space, now, limit)
        if keeping.uploads_days:
            gone = _old_uploads(session, space, now - keeping.uploads_days * DAY_MS, limit)
            done.blobs += gone
            done.rows += len(gone)
        if keeping.conversations_days:
            before = now - keeping.conversations_days * DAY_MS
            done.rows += _old_conversations(session, space, before, limit)
    left = finish_forgetting(session, now=now, limit=limit)
    done.blobs += left.blobs
    done.rows += left.jobs
    for table in (Intent, LinkCode):
        # A day longer than they can be used: what was asked holds a member's words.
        done.rows += changed(session, delete(table).where(col(table.expires_at) < now - DAY_MS))
    session.flush()
    return done


def _blank_refused(session: Session, space: Workspace, now: Millis, limit: int) -> int:
    """Forget the words that a rule refused and struck for, once that can be appealed no more."""
    refused = session.exec(
        select(Job)
        .join(Case, col(Case.job_id) == col(Job.id))
        .where(
            Job.workspace_id == space.id, Case.workspace_id == space.id,
            col(Case.origin) == CaseOrigin.REFUSED, col(Case.created_at) < now - APPEAL_MS,
            col(Case.status).in_((CaseStatus.DECIDED, CaseStatus.CLOSED)),
            # Quoted: inside a member's own words the marks would be escaped.
            ~cast(Job.spec, Text).contains(f'"text": "{FORGOTTEN}"'),
        )
        .order_by(col(Job.id))
        .limit(limit)
    ).all()  # fmt: skip
    for job in refused:
        blank_spec(job, [])
        session.add(job)
    return len(refused)


def _old_conversations(session: Session, space: Workspace, before: Millis, limit: int) -> int:
    """Forget what was said before a moment, also where a question carries it along: the question
    itself stays on its card until its answer goes."""
    ended = session.exec(
        select(Message.id)
        .where(Message.workspace_id == space.id, col(Message.created_at) < before)
        .limit(limit)
    ).all()
    gone = len(ended)
    session.execute(delete(Message).where(col(Message.id).in_(ended)))
    gone += changed(
        session,
        delete(ThreadMemory).where(
            col(ThreadMemory.workspace_id) == space.id, col(ThreadMemory.updated_at) < before
        ),
    )
    words = cast(Job.spec, Text)
    carrying = (
        select(Job)
        .where(
            Job.workspace_id == space.id, Job.kind == JobKind.CHAT,
            col(Job.created_at) < before, col(Job.status).not_in(OPEN_STATUSES),
            or_(words.contains('"role": "system"'), words.contains('"role": "assistant"')),
        )
        .order_by(col(Job.id))
        .limit(limit)
    )  # fmt: skip
    for job in session.exec(carrying).all():
        job.spec = job.spec | {"turns": job.spec["turns"][-1:]}
        session.add(job)
        gone += 1
    return gone


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
        spec, gone = without_sources(job.spec, ours_too=False)
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
                col(Generation.status).in_(SHOWN),
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
