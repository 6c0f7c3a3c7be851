"""Strikes by a fixed rule: what the machine alone may do to a member, and how it is taken back.

A refused prompt is a ``rejected`` job that made nothing, so that everything the review room does
with a ruling (the statement of reasons, the appeal, what an overturn undoes) is done with this one
too. Child abuse is not: no case, nobody to show it to; the member makes nothing more until the
owner or the operator has decided (shared/MODERATION.md 3.2 and 3.3).

All of it happens in the caller's transaction, the one that keeps the decision record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from storage import audit, ledger, strikes
from storage.models import (
    Appeal,
    Case,
    Decision,
    DecisionRecord,
    Generation,
    Job,
    Member,
    Post,
    Strike,
    Workspace,
)
from storage.posts import PostState
from storage.review_words import (
    DAY_MS,
    DISABLED,
    DUE_MS,
    STRIKE_MS,
    WEIGHTS,
    ReviewRules,
    Ruling,
    worst,
)
from storage.schema import (
    Address,
    CaseOrigin,
    CaseStatus,
    Category,
    ChatSpec,
    Frozen,
    GenerationStatus,
    JobKind,
    JobStatus,
    Millis,
    Outcome,
    Turn,
    Verdict,
)
from storage.workspaces import account_of, revive

AGAIN_MS = 600_000
"""What is refused so soon after a strike is the same wish in other words: no second strike. Ten
minutes are enough to mend a typo five times, and too long to go unnoticed at trying out words."""
TRIES_MS = DAY_MS
TRIES = 3
"""A jailbreak strikes from the third different one within a day."""

_NAME = "atelier:rules"
"""The member who stands for the rules in each workspace; no platform has such an id."""
_KEY = "refused:"


class Grounds(Frozen):
    """What a strike rests on: the code, the rule that found it, and the policy's version."""

    code: Category
    rule: str
    policy: str

    def line(self) -> dict[str, str]:
        """As the audit log and the ruling keep it."""
        return {"code": str(self.code), "rule": self.rule, "policy": self.policy}


@dataclass(frozen=True)
class Struck:
    """What a refusal came to, as its member is told."""

    code: str
    weight: int
    until: Millis
    """The strike counts until then."""
    case_id: str | None = None
    """What can be appealed; None for child abuse."""
    fresh: bool = True
    """False: an earlier strike answers for this one too."""
    out_until: Millis | None = None
    """When the time-out ends that it brought."""
    disabled: bool = False
    """Nothing more from this member until the owner or the operator has decided."""


def strike(
    session: Session,
    record: DecisionRecord,
    grounds: Grounds,
    rules: ReviewRules,
    *,
    address: Address,
    locale: str,
    verdict: Verdict,
    now: Millis,
) -> Struck | None:
    """Strike the member whose refused words this record keeps, once; None when it was no strike.

    The same invocation again, and whatever the same or a milder rule refuses within
    :data:`AGAIN_MS`, answer with the strike that is there already. What an appeal has cleared in
    this workspace is still refused, and strikes nobody any more.
    """
    assert record.member_id is not None, "only what a member typed strikes"
    # One after the other for one member; not their key, which the record just kept holds too.
    member = session.exec(
        select(Member).where(Member.id == record.member_id).with_for_update(key_share=True)
    ).one()
    session.refresh(member)
    if grounds.code is Category.CSAE:
        return _disable(session, member, grounds, rules, now=now)
    known = _known(session, record, member, grounds.code, now=now)
    if known is not None:
        return known
    if _job_of(session, record) is not None or _cleared(session, record):
        return None
    if grounds.code is Category.INJ and _tries(session, record, now=now) < TRIES:
        return None
    case, ruling = _case(
        session, record, member, grounds, address=address, locale=locale, verdict=verdict, now=now
    )
    before = member.banned_until
    until = strikes.add(
        session, member, grounds.code, rules, now=now, case_id=case.id, decision_id=ruling.id,
        grounds=grounds.line(),
    ).until  # fmt: skip
    ruling.before = {
        "generation": str(GenerationStatus.REMOVED), "banned_until": before,
        "set_until": member.banned_until, "own_until": until, **grounds.line(),
    }  # fmt: skip
    session.add(ruling)
    session.flush()
    return Struck(
        code=str(grounds.code), weight=WEIGHTS[grounds.code], until=now + STRIKE_MS,
        case_id=case.id, out_until=until,
    )  # fmt: skip


def _disable(
    session: Session, member: Member, grounds: Grounds, rules: ReviewRules, *, now: Millis
) -> Struck:
    """Nothing more from this member: a strike and two audit lines, no case and no words."""
    before = member.banned_until
    counts = now + STRIKE_MS
    fresh = before != DISABLED
    if fresh:
        # Not the ladder's to time out: only the owner or the operator ends this.
        by_hand = rules.model_copy(update={"automatic": False})
        strikes.add(session, member, grounds.code, by_hand, now=now, grounds=grounds.line())
        audit.write(
            session, member.workspace_id, actor_id=None, verb="disable", target=member.id, now=now,
            before={"until": before}, after=grounds.line(),
        )  # fmt: skip
        member.banned_until = DISABLED
        session.add(member)
        session.flush()
    return Struck(
        code=str(grounds.code), weight=WEIGHTS[grounds.code], until=counts, fresh=fresh,
        disabled=True,
    )  # fmt: skip


def _known(
    session: Session, record: DecisionRecord, member: Member, code: Category, *, now: Millis
) -> Struck | None:
    """The strike that answers for this refusal already: of the same invocation, or a moment ago."""
    soon = (col(Strike.created_at) > now - AGAIN_MS) & (col(Strike.weight) >= WEIGHTS[code])
    row = session.exec(
        select(Strike)
        .join(Case, col(Case.id) == col(Strike.case_id))
        .join(Job, col(Job.id) == col(Case.job_id))
        .where(
            Strike.member_id == member.id, Strike.workspace_id == member.workspace_id,
            Case.workspace_id == member.workspace_id, Job.workspace_id == member.workspace_id,
            col(Case.origin) == CaseOrigin.REFUSED, col(Strike.voided_at).is_(None),
            (col(Job.key) == record.key) | soon,
        )
        .order_by(col(Strike.id).desc())
    ).first()  # fmt: skip
    if row is None:
        return None
    return Struck(
        code=row.code, weight=row.weight, until=row.expires_at, case_id=row.case_id, fresh=False
    )


def _job_of(session: Session, record: DecisionRecord) -> Job | None:
    """What this invocation became already."""
    return session.exec(
        select(Job).where(Job.workspace_id == record.workspace_id, Job.key == record.key)
    ).first()


def _cleared(session: Session, record: DecisionRecord) -> bool:
    """Whether an appeal about these very words was granted here."""
    return (
        session.exec(
            select(Appeal.id)
            .join(Case, col(Case.id) == col(Appeal.case_id))
            .join(Job, col(Job.id) == col(Case.job_id))
            .where(
                Appeal.workspace_id == record.workspace_id,
                Case.workspace_id == record.workspace_id,
                Job.workspace_id == record.workspace_id,
                col(Appeal.upheld).is_(False),
                Job.batch_key == _digest(record.text),
            )
        ).first()
        is not None
    )


def _tries(session: Session, record: DecisionRecord, *, now: Millis) -> int:
    """How many different jailbreaks a list found in this member's prompts within a day."""
    rows = session.exec(
        select(DecisionRecord).where(
            DecisionRecord.member_id == record.member_id,
            DecisionRecord.workspace_id == record.workspace_id,
            DecisionRecord.outcome == Outcome.BLOCK.word,
            DecisionRecord.created_at > now - TRIES_MS,
        )
    )
    return len(
        {
            _digest(row.text)
            for row in rows
            if any(f["category"] == "INJ" and f["stage"] == "text.terms" for f in row.flags)
        }
    )


def _digest(text: str) -> str:
    plain = " ".join(text.casefold().split())
    return _KEY + hashlib.sha256(plain.encode()).hexdigest()


def _case(
    session: Session,
    record: DecisionRecord,
    member: Member,
    grounds: Grounds,
    *,
    address: Address,
    locale: str,
    verdict: Verdict,
    now: Millis,
) -> tuple[Case, Decision]:
    """A case that a rule has decided, about a job that was refused and made nothing."""
    spec = ChatSpec(
        model="", thread="", turns=(Turn(role="user", text=record.text),), max_tokens=1,
        temperature=0, seed=0,
    )  # fmt: skip
    # What stands at an address is a card; this one has none until there is news of an appeal,
    # which then goes to the member alone.
    where = address.model_copy(update={"message": None})
    job = Job(
        workspace_id=member.workspace_id, member_id=member.id, key=record.key, kind=JobKind.CHAT,
        model="", batch_key=_digest(record.text), spec=spec.model_dump(mode="json"),
        address=where.model_dump(mode="json"), locale=locale, status=JobStatus.REJECTED,
        estimate_ms=0, deadline_ms=0, created_at=now, finished_at=now, delivered_at=now, cost=0,
        verdict=verdict.dump(), error_code="prompt_refused",
        error_params={"category_code": str(grounds.code)},
    )  # fmt: skip
    session.add(job)
    session.flush()
    # Nothing was held for it; that the ledger says so too is a promise it checks (I6).
    ledger.reserve(session, account_of(member), 0, job_id=job.id, now=now)
    ledger.release(session, job.id)
    session.add(
        Post(
            job_id=job.id, platform=where.platform, workspace=where.workspace,
            channel=where.channel, thread=where.thread, private=True, state=PostState.WAITING,
            updated_at=now,
        )
    )  # fmt: skip
    made = Generation(
        job_id=job.id, workspace_id=job.workspace_id, index=0, kind=JobKind.CHAT,
        status=GenerationStatus.REMOVED, seed=0, recipe={}, verdict=verdict.dump(), created_at=now,
    )  # fmt: skip
    session.add(made)
    session.flush()
    severity = worst([grounds.code])
    case = Case(
        workspace_id=job.workspace_id, job_id=job.id, generation_id=made.id, member_id=member.id,
        origin=CaseOrigin.REFUSED, status=CaseStatus.DECIDED, verdict=verdict.dump(),
        severity=severity, due_at=now + DUE_MS[severity], decided_at=now, created_at=now,
    )  # fmt: skip
    session.add(case)
    session.flush()
    ruling = Decision(
        case_id=case.id, workspace_id=case.workspace_id,
        moderator_id=_rules_of(session, case.workspace_id, now).id,
        action=str(Ruling.DENY_STRIKE), code=str(grounds.code), created_at=now,
    )  # fmt: skip
    session.add(ruling)
    session.flush()
    return case, ruling


def _rules_of(session: Session, space_id: str, now: Millis) -> Member:
    """The member who stands for the rules: whoever decides an appeal is somebody else."""
    found = session.exec(
        select(Member).where(Member.workspace_id == space_id, Member.external_id == _NAME)
    ).first()
    found = found or revive(session, space_id, _NAME)
    if found is None:
        space = session.get_one(Workspace, space_id)
        try:
            with session.begin_nested():
                found = Member(
                    workspace_id=space_id, external_id=_NAME, tier_id=space.tier_id,
                    created_at=now,
                )  # fmt: skip
                session.add(found)
                session.flush()
        except IntegrityError:
            # Two first strikes in the same instant.
            found = session.exec(
                select(Member).where(Member.workspace_id == space_id, Member.external_id == _NAME)
            ).one()
    return found
