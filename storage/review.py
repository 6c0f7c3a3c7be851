"""The review room: claim a case, decide it, take it back, appeal, decide the appeal.

Every step begins with one conditional UPDATE on the case, so that two moderators on two platforms
never both decide; and it does all it does (what is shown, money, strikes, the audit line, the
announcement) in the caller's one transaction. Who may do what is checked here, on the stored
role of whoever acts, whatever a button or page has shown.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, or_, update
from sqlmodel import Session, col, select

from storage import audit, known, ledger, strikes
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.ledger import changed
from storage.models import Appeal, Case, Decision, Generation, Job, Member, Outbox, Post
from storage.review_words import (
    AGAINST,
    APPEAL_MS,
    BULK_UNDO_MS,
    CLAIM_MS,
    FINAL,
    HOUR_MS,
    UNDO_MS,
    Ruling,
)
from storage.rules import rules_of
from storage.schema import (
    CaseOrigin,
    CaseStatus,
    Category,
    GenerationStatus,
    Millis,
    Platform,
    Role,
    is_id,
    role_at_least,
)
from storage.workspaces import Actor

APPEALED = CaseStatus.APPEALED
NOTE_MAX = 2000
BLIND_EVERY = 20
"""One decided case in so many is looked at again by somebody who does not see the ruling."""


def find(session: Session, case_id: str, *, workspace_id: str) -> Case:
    """A case of this workspace. Raises ``NotFound('case_unknown')``, for foreign ones too."""
    row = None
    if is_id(case_id):
        row = session.exec(
            select(Case)
            .where(Case.id == case_id, Case.workspace_id == workspace_id)
            .execution_options(populate_existing=True)
        ).first()
    if row is None:
        raise NotFound("case_unknown")
    return row


def _moderates(actor: Actor, case: Case) -> None:
    """Raises ``NotAllowed`` for members, for one's own case, for escalated ones below admin."""
    if not role_at_least(actor.member.role, Role.MODERATOR):
        raise NotAllowed("moderators_only")
    if case.escalated and not role_at_least(actor.member.role, Role.ADMIN):
        raise NotAllowed("case_escalated")
    if _same_person(actor, case.member_id):
        raise NotAllowed("case_own")


def _same_person(actor: Actor, member_id: str) -> bool:
    """Whether the actor is that member. The local studio has one person, who does everything."""
    return actor.member.id == member_id and actor.workspace.platform != Platform.LOCAL


def claim(
    session: Session, actor: Actor, case_id: str, *, now: Millis, steal: bool = False
) -> Case:
    """Lock a case for ten minutes, or renew one's own lock.

    An admin may ``steal`` a lock; that is written down. Raises ``LimitReached('case_claimed')``
    with the holder's name, ``NotFound('case_over')`` when it is decided already.
    """
    case = find(session, case_id, workspace_id=actor.workspace.id)
    _moderates(actor, case)
    if case.status in (CaseStatus.DECIDED, CaseStatus.CLOSED):
        raise NotFound("case_over")
    stealing = steal and role_at_least(actor.member.role, Role.ADMIN)
    free = or_(
        col(Case.claimed_by).is_(None),
        col(Case.claimed_by) == actor.member.id,
        col(Case.claimed_until) <= now,
    )
    holder = case.claimed_by
    taken = changed(
        session,
        update(Case)
        .where(
            col(Case.id) == case.id,
            col(Case.status).in_((CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)),
            *(() if stealing else (free,)),
        )
        .values(
            status=APPEALED if case.status == APPEALED else CaseStatus.CLAIMED,
            claimed_by=actor.member.id,
            claimed_until=now + CLAIM_MS,
        )
        .execution_options(synchronize_session=False),
    )
    case = find(session, case_id, workspace_id=actor.workspace.id)
    if not taken:
        if case.status in (CaseStatus.DECIDED, CaseStatus.CLOSED):
            raise NotFound("case_over")
        name = session.get_one(Member, case.claimed_by).name if case.claimed_by else ""
        left = max(1, -(-((case.claimed_until or now) - now) // 60_000))
        raise LimitReached("case_claimed", name=name, minutes=left)
    if holder != actor.member.id:
        _note(session, actor, "steal" if stealing and holder else "claim", case, now)
    return case


def release(session: Session, actor: Actor, case_id: str, *, now: Millis) -> bool:
    """Give one's own lock back; False when it was not held."""
    case = find(session, case_id, workspace_id=actor.workspace.id)
    given = changed(
        session,
        update(Case)
        .where(col(Case.id) == case.id, col(Case.claimed_by) == actor.member.id)
        .values(
            claimed_by=None, claimed_until=None,
            status=CaseStatus.OPEN if case.status == CaseStatus.CLAIMED else case.status,
        )
        .execution_options(synchronize_session=False),
    )  # fmt: skip
    if given:
        _note(session, actor, "release", case, now)
    return bool(given)


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
    bulk: bool = False,
    file_sha256: str = "",
) -> Decision:
    """Decide a case; an unclaimed one is claimed in the same step.

    ``code`` is the policy code a ruling against somebody rests on, ``note`` plain words for the
    member (required to ask), ``hours`` how long a ban lasts, ``file_sha256`` the stored file's
    digest, with which the ruling is remembered for copies. Raises what :func:`claim` raises,
    ``BadInput`` (``ruling_code``, ``ruling_note``) and ``NotFound('case_appealed')`` for a case
    that waits for its appeal.
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
            "generation": str(made.status), "banned_until": member.banned_until, "bulk": bulk,
        },
        proposed=ruling is Ruling.BAN and rules.two_for_bans, created_at=now,
    )  # fmt: skip
    session.add(decision)
    session.flush()
    if decision.proposed:
        decision.before = {**decision.before, "hours": hours}
        session.add(decision)
        _move(session, case, CaseStatus.OPEN)
        _note(session, actor, "propose_ban", case, now, code=code, hours=hours)
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
    if decision.moderator_id == actor.member.id:
        raise NotAllowed("second_eyes")
    first = changed(
        session,
        update(Decision)
        .where(col(Decision.id) == decision.id, col(Decision.proposed).is_(True))
        .values(proposed=False, confirmed_by=actor.member.id)
        .execution_options(synchronize_session=False),
    )
    if not first:
        raise NotFound("case_over")
    session.refresh(decision)
    hours = int(decision.before.get("hours", 24))
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
        _move(session, case, CaseStatus.DECIDED, decided_at=now)
        if ruling in AGAINST:
            refund_if_nothing_left(session, case.job_id, now=now)
        if ruling is Ruling.DENY_STRIKE:
            strikes.add(
                session, member, Category(decision.code),
                rules_of(actor.workspace.settings).review, now=now, case_id=case.id,
                decision_id=decision.id, actor_id=actor.member.id,
            )  # fmt: skip
        elif ruling is Ruling.BAN:
            strikes.time_out(session, member, hours, actor_id=actor.member.id, now=now)
        # What this ruling set: only that is lifted when it falls, not what came after.
        decision.before = {**decision.before, "set_until": member.banned_until}
        session.add(decision)
        redraw(session, case.job_id, now=now)
    elif ruling is Ruling.ESCALATE:
        case.escalated = True
        session.add(case)
        _move(session, case, CaseStatus.OPEN)
    else:
        _move(session, case, CaseStatus.OPEN)
        redraw(session, case.job_id, now=now)
    _note(session, actor, str(ruling), case, now, code=decision.code, generation=str(made.status))


def _show(session: Session, case: Case, made: Generation, ruling: Ruling) -> None:
    """What members may see after a ruling. The blob stays until appeals are over."""
    if ruling is Ruling.APPROVE and case.origin == CaseOrigin.REPORTED:
        return  # it stays as it was shown: veiled, perhaps
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
    left = session.exec(
        select(Generation.id).where(
            Generation.job_id == job_id, Generation.status != GenerationStatus.REMOVED
        )
    ).first()
    return left is None and ledger.refund(session, job_id, now=now, reason="denied")


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


def _move(session: Session, case: Case, status: CaseStatus, **values: Any) -> None:
    """To another status, without a claim."""
    case.status, case.claimed_by, case.claimed_until = status, None, None
    for name, value in values.items():
        setattr(case, name, value)
    session.add(case)
    session.flush()


def _note(session: Session, actor: Actor, verb: str, case: Case, now: Millis, **after: Any) -> None:
    audit.write(
        session,
        case.workspace_id,
        actor_id=actor.member.id,
        verb=verb,
        target=case.id,
        now=now,
        after={name: value for name, value in after.items() if value not in (None, "")},
    )


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


def undo(session: Session, actor: Actor, decision_id: str, *, now: Millis) -> Case:
    """Take one's own ruling back within 60 seconds (10 minutes for a bulk ruling).

    What was shown is hidden again, a strike is voided, a time-out it set is lifted; a refund
    stays with the member. Raises ``NotFound('undo_late')`` afterwards or after an appeal.
    """
    decision = session.get(Decision, decision_id, populate_existing=True)
    if decision is None or decision.workspace_id != actor.workspace.id:
        raise NotFound("case_unknown")
    case = find(session, decision.case_id, workspace_id=actor.workspace.id)
    if decision.moderator_id != actor.member.id:
        raise NotAllowed("undo_other")
    window = BULK_UNDO_MS if decision.before.get("bulk") else UNDO_MS
    last = last_ruling(session, case.id)
    if last is None or last.id != decision.id or now - decision.created_at > window:
        raise NotFound("undo_late")
    back = changed(
        session,
        update(Case)
        .where(col(Case.id) == case.id, col(Case.status) == CaseStatus.DECIDED)
        .values(
            status=CaseStatus.CLAIMED, claimed_by=actor.member.id, claimed_until=now + CLAIM_MS,
            decided_at=None,
        )
        .execution_options(synchronize_session=False),
    )  # fmt: skip
    if not back:
        raise NotFound("undo_late")
    decision.undone_at = now
    session.add(decision)
    _put_back(session, case, decision, now=now)
    session.flush()
    redraw(session, case.job_id, now=now)
    _note(session, actor, "undo", case, now, decision=decision.id)
    return find(session, case.id, workspace_id=actor.workspace.id)


def _put_back(session: Session, case: Case, decision: Decision, *, now: Millis) -> None:
    made = session.get_one(Generation, case.generation_id)
    known.forget(session, made)
    if made.blob is not None or made.text is not None:
        made.status = GenerationStatus(decision.before["generation"])
        session.add(made)
    _lift(session, case, decision, now=now)


def _lift(session: Session, case: Case, decision: Decision, *, now: Millis) -> None:
    """Void the decision's strikes and put the member's time-out back to what it was."""
    voided = strikes.void(session, decision.id, now=now)
    if voided or decision.action == Ruling.BAN:
        member = session.get_one(Member, case.member_id)
        if member.banned_until == decision.before.get("set_until"):
            member.banned_until = decision.before.get("banned_until")
            session.add(member)


def appeal(session: Session, actor: Actor, case_id: str, text: str, *, now: Millis) -> Appeal:
    """The owner asks for one more look at a ruling against them; once per decision, six months.

    Raises ``NotAllowed('not_yours')``, ``NotFound`` (``appeal_nothing``, ``appeal_late``),
    ``LimitReached('appeal_twice')`` and ``BadInput('appeal_empty')``.
    """
    case = find(session, case_id, workspace_id=actor.workspace.id)
    if case.member_id != actor.member.id:
        raise NotAllowed("not_yours")
    if not text.strip():
        raise BadInput("appeal_empty")
    ruling = last_ruling(session, case.id)
    if ruling is None or ruling.action not in AGAINST:
        raise NotFound("appeal_nothing")
    before = session.exec(select(Appeal).where(Appeal.decision_id == ruling.id)).first()
    if before is not None:
        raise LimitReached("appeal_twice")
    if now - ruling.created_at > APPEAL_MS:
        raise NotFound("appeal_late")
    moved = changed(
        session,
        update(Case)
        .where(col(Case.id) == case.id, col(Case.status) == CaseStatus.DECIDED)
        .values(
            status=CaseStatus.APPEALED,
            claimed_by=None,
            claimed_until=None,
            announced_at=None,  # the moderators are told again
        )
        .execution_options(synchronize_session=False),
    )
    if not moved:
        raise NotFound("appeal_nothing")
    made = Appeal(
        case_id=case.id, decision_id=ruling.id, workspace_id=case.workspace_id,
        member_id=actor.member.id, text=text.strip()[:NOTE_MAX], created_at=now,
    )  # fmt: skip
    session.add(made)
    session.flush()
    _note(session, actor, "appeal", case, now)
    redraw(session, case.job_id, now=now)
    return made


def decide_appeal(
    session: Session,
    actor: Actor,
    case_id: str,
    *,
    upheld: bool,
    now: Millis,
    note: str = "",
    file_sha256: str = "",
) -> Appeal:
    """Somebody else than the first moderator decides an appeal; nobody decides it again.

    Overturned: the generation is posted, the strike voided, a time-out of its lifted, the price
    given back, all at once. Raises ``NotAllowed('appeal_other')`` for the first moderator.
    """
    case = claim(session, actor, case_id, now=now)
    if case.status != CaseStatus.APPEALED:
        raise NotFound("appeal_nothing")
    ruling = last_ruling(session, case.id)
    assert ruling is not None, "an appealed case has a ruling"
    if actor.workspace.platform != Platform.LOCAL and actor.member.id in (
        ruling.moderator_id,
        ruling.confirmed_by,
    ):
        raise NotAllowed("appeal_other")
    asked = session.exec(select(Appeal).where(Appeal.decision_id == ruling.id)).one()
    asked.decided_by, asked.decided_at = actor.member.id, now
    asked.upheld, asked.note = upheld, note.strip()[:NOTE_MAX]
    session.add(asked)
    if not upheld:
        made = session.get_one(Generation, case.generation_id)
        if made.blob is not None or made.text is not None:
            made.status = GenerationStatus.VISIBLE
            session.add(made)
        known.forget(session, made)
        if file_sha256:
            known.learn(session, made, known.ALLOW, file_sha256=file_sha256, now=now)
        _lift(session, case, ruling, now=now)
        ledger.refund(session, case.job_id, now=now, reason="overturned on appeal")
    _move(session, case, CaseStatus.CLOSED)
    _note(session, actor, "uphold" if upheld else "overturn", case, now, decision=ruling.id)
    redraw(session, case.job_id, now=now)
    return asked


def wants_blind_look(case_id: str) -> bool:
    """Whether a decided case is one of those looked at twice: chosen by its id, not by anyone."""
    return int.from_bytes(case_id.encode()[-4:], "big") % BLIND_EVERY == 0


def decide_blind(
    session: Session, actor: Actor, case_id: str, ruling: Ruling, *, code: str = "", now: Millis
) -> Decision:
    """A second moderator's own ruling, made without seeing the first; changes nothing shown."""
    case = find(session, case_id, workspace_id=actor.workspace.id)
    _moderates(actor, case)
    first = last_ruling(session, case.id)
    if first is None or not wants_blind_look(case.id):
        raise NotFound("case_over")
    if first.moderator_id == actor.member.id:
        raise NotAllowed("second_eyes")
    again = session.exec(
        select(Decision.id).where(Decision.case_id == case.id, col(Decision.blind).is_(True))
    ).first()
    if again is not None:
        raise NotFound("case_over")
    made = Decision(
        case_id=case.id, workspace_id=case.workspace_id, moderator_id=actor.member.id,
        action=ruling, code=code, blind=True, created_at=now,
    )  # fmt: skip
    session.add(made)
    session.flush()
    _note(session, actor, "blind_look", case, now)
    return made


def overdue(session: Session, *, workspace_id: str, now: Millis) -> list[Case]:
    """Cases past their due time, most severe first."""
    return list(
        session.exec(
            select(Case)
            .where(
                Case.workspace_id == workspace_id,
                col(Case.status).in_((CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)),
                and_(col(Case.due_at).is_not(None), col(Case.due_at) < now),
            )
            .order_by(col(Case.severity).desc(), col(Case.due_at))
        )
    )


def banned_hours(member: Member, now: Millis) -> int:
    """Hours left of a time-out, rounded up; 0 for none."""
    return max(0, -(-((member.banned_until or 0) - now) // HOUR_MS))
