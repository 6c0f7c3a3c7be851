"""The review room's rulings: decide a case, with everything a ruling does, and confirm a ban.

Every step begins with a claim (:mod:`storage.review_claims`), so that two moderators on two
platforms never both decide; and it does all it does (what is shown, money, strikes, the audit
line, the announcement) in the caller's one transaction. Who may do what is checked here, on the
stored role of whoever acts, whatever a button or page has shown. Taking back is in
:mod:`storage.review_undo`, appeals are in :mod:`storage.review_appeals`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage import known, ledger, strikes
from storage.errors import BadInput, NotAllowed, NotFound
from storage.ledger import changed
from storage.models import Case, Decision, Generation, Job, Member, Outbox, Post
from storage.review_claims import claim as claim
from storage.review_claims import find as find
from storage.review_claims import move, note_act
from storage.review_claims import release as release
from storage.review_words import AGAINST, FINAL, HOUR_MS, Ruling
from storage.rules import rules_of
from storage.schema import (
    CaseOrigin,
    CaseStatus,
    Category,
    GenerationStatus,
    Millis,
    Outcome,
)
from storage.workspaces import Actor

NOTE_MAX = 2000


def decide(
    session: Session,
    actor: Actor,
    case_id: str,
    ruling: Ruling,
    *,
    now: Millis,
    code: str = "",
    note: str = "",
    hours: int = 24,
    batch: str | None = None,
    file_sha256: str = "",
) -> Decision:
    """Decide a case; an unclaimed one is claimed in the same step.

    ``code`` is the policy code a ruling against somebody rests on, ``note`` plain words for the
    member (required to ask), ``hours`` how long a ban lasts, ``batch`` names the rulings of one
    bulk act, ``file_sha256`` is the stored file's digest, with which the ruling is remembered for
    copies. Raises what :func:`claim` raises, ``BadInput`` (``ruling_code``, ``ruling_note``) and
    ``NotFound('case_appealed')`` for a case that waits for its appeal.
    """
    case = claim(session, actor, case_id, now=now)
    if case.status == CaseStatus.APPEALED:
        raise NotFound("case_appealed")
    note = note.strip()[:NOTE_MAX]
    if ruling in AGAINST and code not in set(Category):
        raise BadInput("ruling_code")
    if ruling is Ruling.ASK and not note:
        raise BadInput("ruling_note")
    rules = rules_of(actor.workspace.settings).review
    made = session.get_one(Generation, case.generation_id)
    member = session.get_one(Member, case.member_id)
    decision = Decision(
        case_id=case.id, workspace_id=case.workspace_id, moderator_id=actor.member.id,
        action=ruling, code=code if ruling in AGAINST else "", note=note,
        before={
            "generation": str(made.status), "banned_until": member.banned_until,
        },
        proposed=ruling is Ruling.BAN and rules.two_for_bans, created_at=now, batch=batch,
    )  # fmt: skip
    session.add(decision)
    session.flush()
    if decision.proposed:
        decision.before = {**decision.before, "hours": hours}
        session.add(decision)
        move(session, case, CaseStatus.OPEN)
        note_act(session, actor, "propose_ban", case, now, code=code, hours=hours)
        return decision
    _carry_out(session, actor, case, decision, hours=hours, now=now)
    if ruling in FINAL and file_sha256:
        bank = known.DENY if ruling in AGAINST else known.ALLOW
        known.learn(session, made, bank, file_sha256=file_sha256, now=now, category=decision.code)
    return decision


def confirm(session: Session, actor: Actor, decision_id: str, *, now: Millis) -> Decision:
    """The second pair of eyes agrees with a proposed ban; somebody else than who proposed it."""
    decision = session.get(Decision, decision_id, populate_existing=True)
    if decision is None or decision.workspace_id != actor.workspace.id:
        raise NotFound("case_unknown")
    case = claim(session, actor, decision.case_id, now=now)
    if case.status == CaseStatus.APPEALED:
        raise NotFound("case_appealed")  # the ruling that stands is looked at again, not outdone
    if decision.moderator_id == actor.member.id:
        raise NotAllowed("second_eyes")
    first = changed(
        session,
        update(Decision)
        .where(
            col(Decision.id) == decision.id,
            col(Decision.proposed).is_(True),
            col(Decision.undone_at).is_(None),
        )
        .values(proposed=False, confirmed_by=actor.member.id)
        .execution_options(synchronize_session=False),
    )
    if not first:
        raise NotFound("case_over")
    session.refresh(decision)
    hours = int(decision.before.get("hours", 24))
    made = session.get_one(Generation, case.generation_id)
    member = session.get_one(Member, case.member_id)
    # As it is now: an undo puts back this, not what was there when the ban was proposed.
    decision.before = {
        **decision.before,
        "generation": str(made.status),
        "banned_until": member.banned_until,
    }
    _carry_out(session, actor, case, decision, hours=hours, now=now)
    return decision


def _carry_out(
    session: Session, actor: Actor, case: Case, decision: Decision, *, hours: int, now: Millis
) -> None:
    """Everything a ruling does, once, in this transaction."""
    ruling = Ruling(decision.action)
    made = session.get_one(Generation, case.generation_id)
    member = session.get_one(Member, case.member_id)
    if ruling in FINAL:
        _show(session, case, made, ruling)
        move(session, case, CaseStatus.DECIDED, decided_at=now)
        if ruling in AGAINST:
            refund_if_nothing_left(session, case.job_id, now=now)
        own_until = None
        if ruling is Ruling.DENY_STRIKE:
            own_until = strikes.add(
                session, member, Category(decision.code),
                rules_of(actor.workspace.settings).review, now=now, case_id=case.id,
                decision_id=decision.id, actor_id=actor.member.id,
            ).until  # fmt: skip
        elif ruling is Ruling.BAN:
            own_until = strikes.time_out(session, member, hours, actor_id=actor.member.id, now=now)
        # What this ruling set: only that is lifted when it falls, not what came after.
        decision.before = {
            **decision.before,
            "set_until": member.banned_until,
            "own_until": own_until,
        }
        session.add(decision)
        _withdraw_proposals(session, case)
        redraw(session, case.job_id, now=now)
    elif ruling is Ruling.ESCALATE:
        case.escalated = True
        session.add(case)
        move(session, case, CaseStatus.OPEN)
    else:
        move(session, case, CaseStatus.OPEN)
        redraw(session, case.job_id, now=now)
    note_act(
        session, actor, str(ruling), case, now, code=decision.code, generation=str(made.status)
    )


def _withdraw_proposals(session: Session, case: Case) -> None:
    """A ruling ends what was proposed before it: nobody confirms that later over the ruling."""
    session.execute(
        update(Decision)
        .where(
            col(Decision.case_id) == case.id, col(Decision.workspace_id) == case.workspace_id,
            col(Decision.proposed).is_(True), col(Decision.undone_at).is_(None),
        )
        .values(undone_at=case.decided_at)
        .execution_options(synchronize_session=False)
    )  # fmt: skip


def _show(session: Session, case: Case, made: Generation, ruling: Ruling) -> None:
    """What members may see after a ruling. The blob stays until appeals are over."""
    if ruling is Ruling.APPROVE and case.origin == CaseOrigin.REPORTED:
        # It stays as it was shown (veiled, perhaps), or is again what a report had hidden.
        if case.shown_as is not None and made.status == GenerationStatus.HELD:
            made.status = GenerationStatus(case.shown_as)
            session.add(made)
            session.flush()
        return
    status = {
        Ruling.APPROVE: GenerationStatus.VISIBLE,
        Ruling.APPROVE_BLURRED: GenerationStatus.BLURRED,
    }.get(ruling, GenerationStatus.REMOVED)
    if made.blob is None and made.text is None:
        return  # deleted meanwhile: there is nothing to show or hide
    made.status = status
    session.add(made)
    session.flush()


def refund_if_nothing_left(session: Session, job_id: str, *, now: Millis) -> bool:
    """A job of which nothing may be seen costs nothing; True when this call gave it back."""
    made = session.exec(select(Generation).where(Generation.job_id == job_id)).all()
    return nothing_left(made) and ledger.refund(session, job_id, now=now, reason="denied")


def nothing_left(made: Iterable[Generation]) -> bool:
    """Whether everything a job made was denied or blocked. What its owner had, and deleted, was
    theirs and stays paid."""
    return all(
        item.status == GenerationStatus.REMOVED
        and (item.blob is not None or item.text is not None
             or item.verdict.get("outcome") == Outcome.BLOCK.word)
        for item in made
    )  # fmt: skip


def redraw(session: Session, job_id: str, *, now: Millis) -> None:
    """Have the job's card put in place again, at least once, wherever it was asked for."""
    job = session.get_one(Job, job_id)
    job.delivered_at = None
    session.add(job)
    # The message stays the card's; it is only no longer what it will be.
    session.execute(
        update(Post)
        .where(col(Post.job_id) == job_id, col(Post.state) == "final")
        .values(state="shown")
        .execution_options(synchronize_session=False)
    )
    session.add(Outbox(job_id=job_id, topic="announce", created_at=now))
    session.flush()


def last_ruling(session: Session, case_id: str) -> Decision | None:
    """The newest decision that ended the case and stands."""
    return session.exec(
        select(Decision)
        .where(
            Decision.case_id == case_id, col(Decision.undone_at).is_(None),
            col(Decision.proposed).is_(False), col(Decision.blind).is_(False),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
        )
        .order_by(col(Decision.id).desc())
    ).first()  # fmt: skip


def banned_hours(member: Member, now: Millis) -> int:
    """Hours left of a time-out, rounded up; 0 for none."""
    return max(0, -(-((member.banned_until or 0) - now) // HOUR_MS))
