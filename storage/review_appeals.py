"""Appeals: one more look at a ruling, by somebody else, once; and what an overturned one undoes."""

from __future__ import annotations

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage import known, ledger
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.ledger import changed
from storage.models import Appeal, Case, Decision, Generation
from storage.review import NOTE_MAX, last_ruling, redraw
from storage.review_claims import check_not_theirs, claim, find, move, note_act
from storage.review_undo import lift
from storage.review_words import AGAINST, APPEAL_MS, DUE_MS, FIRST
from storage.schema import CaseStatus, GenerationStatus, Millis
from storage.workspaces import Actor


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
            due_at=now + DUE_MS[min(max(case.severity, 1), FIRST)],
            breached_at=None,
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
    note_act(session, actor, "appeal", case, now)
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
    for who in (ruling.moderator_id, ruling.confirmed_by):
        check_not_theirs(session, actor, who, "appeal_other")
    asked = session.exec(select(Appeal).where(Appeal.decision_id == ruling.id)).one()
    asked.decided_by, asked.decided_at = actor.member.id, now
    asked.upheld, asked.note = upheld, note.strip()[:NOTE_MAX]
    session.add(asked)
    if not upheld:
        made = session.get_one(Generation, case.generation_id)
        if made.blob is not None or made.text is not None:
            made.status = _as_before(case, ruling)
            session.add(made)
        known.forget(session, made)
        if file_sha256:
            known.learn(session, made, known.ALLOW, file_sha256=file_sha256, now=now)
        lift(session, case, ruling, now=now)
        ledger.refund(session, case.job_id, now=now, reason="overturned on appeal")
    move(session, case, CaseStatus.CLOSED)
    note_act(session, actor, "uphold" if upheld else "overturn", case, now, decision=ruling.id)
    redraw(session, case.job_id, now=now)
    return asked


def _as_before(case: Case, ruling: Decision) -> GenerationStatus:
    """As what the ruling took away is shown again: veiled where it was veiled, else in the open."""
    was = ruling.before.get("generation")
    if was == GenerationStatus.HELD:
        was = case.shown_as  # a report had hidden it; None: it never was shown
    return GenerationStatus.BLURRED if was == GenerationStatus.BLURRED else GenerationStatus.VISIBLE
