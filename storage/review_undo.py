"""Taking rulings back: one within a minute, a bulk act within ten."""

from __future__ import annotations

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage import known, strikes
from storage.errors import NotAllowed, NotFound
from storage.ledger import changed
from storage.models import Appeal, Case, Decision, Generation, Member
from storage.review import last_ruling, redraw
from storage.review_claims import find, note_act, release
from storage.review_words import BULK_UNDO_MS, CLAIM_MS, DISABLED, UNDO_MS, Ruling
from storage.schema import CaseStatus, GenerationStatus, Millis
from storage.workspaces import Actor


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
    window = UNDO_MS if decision.batch is None else BULK_UNDO_MS
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
    note_act(session, actor, "undo", case, now, decision=decision.id)
    return find(session, case.id, workspace_id=actor.workspace.id)


def undo_batch(session: Session, actor: Actor, batch: str, *, now: Millis) -> int:
    """Take back what is left of one's own bulk act, within ten minutes; returns how many cases.

    A case that was appealed or decided anew meanwhile stays as it is. Raises
    ``NotFound('undo_late')`` when there is nothing (left) to take back.
    """
    made = session.exec(
        select(Decision)
        .where(
            Decision.workspace_id == actor.workspace.id, Decision.batch == batch,
            Decision.moderator_id == actor.member.id, col(Decision.undone_at).is_(None),
        )
        .order_by(col(Decision.id))
    ).all()  # fmt: skip
    back = 0
    for decision in made:
        try:
            case = undo(session, actor, decision.id, now=now)
        except NotFound:
            continue
        release(session, actor, case.id, now=now)
        back += 1
    if not back:
        raise NotFound("undo_late")
    return back


def _put_back(session: Session, case: Case, decision: Decision, *, now: Millis) -> None:
    made = session.get_one(Generation, case.generation_id)
    known.forget(session, made)
    if made.blob is not None or made.text is not None:
        made.status = GenerationStatus(decision.before["generation"])
        session.add(made)
    lift(session, case, decision, now=now)


def lift(session: Session, case: Case, decision: Decision, *, now: Millis) -> None:
    """Void the decision's strikes, and end the time-out it set.

    What other rulings that stand have set goes on: a fallen one neither leaves its own behind nor
    takes theirs along.
    """
    voided = strikes.void(session, decision.id, now=now)
    if not voided and decision.action != Ruling.BAN:
        return
    member = session.get_one(Member, case.member_id)
    if member.banned_until == DISABLED:
        return  # no ruling has set that, and none lifts it
    if member.banned_until != decision.before.get("set_until"):
        own = _own_until(decision)
        if own is None or member.banned_until != own:
            return  # something later and longer runs
    known, standing = _untils(session, case.workspace_id, case.member_id, without=decision.id)
    before = decision.before.get("banned_until")
    if before not in (None, DISABLED) and before not in known:
        standing.append(before)  # set by no ruling
    member.banned_until = max(standing, default=None)
    session.add(member)


def out_until(session: Session, member: Member) -> Millis | None:
    """When the longest time-out ends that this member's standing rulings come to."""
    return max(_untils(session, member.workspace_id, member.id)[1], default=None)


def _untils(
    session: Session, workspace_id: str, member_id: str, *, without: str = ""
) -> tuple[set[Millis], list[Millis]]:
    """When the time-outs end that rulings have brought: of every one, and of those that stand."""
    known, standing = set(), []
    for other, fallen in _rulings_about(session, workspace_id, member_id):
        until = _own_until(other)
        if until is not None:
            known.add(until)
            if not fallen and other.id != without:
                standing.append(until)
    return known, standing


def _own_until(decision: Decision) -> Millis | None:
    """When the time-out ends that a ruling brought by itself; rulings of older versions noted only
    what held after them."""
    noted = decision.before
    if "own_until" in noted:
        return noted["own_until"] if isinstance(noted["own_until"], int) else None
    until = noted.get("set_until")
    return until if isinstance(until, int) and until != noted.get("banned_until") else None


def _rulings_about(
    session: Session, workspace_id: str, member_id: str
) -> list[tuple[Decision, bool]]:
    """Every ruling that may have timed this member out, and whether it has fallen."""
    rows = session.execute(
        select(Decision, Appeal)
        .join(Case, col(Case.id) == col(Decision.case_id))
        .outerjoin(Appeal, col(Appeal.decision_id) == col(Decision.id))
        .where(
            col(Case.member_id) == member_id, col(Case.workspace_id) == workspace_id,
            col(Decision.proposed).is_(False),
            col(Decision.action).in_([str(Ruling.DENY_STRIKE), str(Ruling.BAN)]),
        )
    ).all()  # fmt: skip
    return [
        (ruling, ruling.undone_at is not None or (appeal is not None and appeal.upheld is False))
        for ruling, appeal in rows
    ]
