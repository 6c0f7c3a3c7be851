"""Second looks: every twentieth decided case is judged again by somebody who does not see how.

Which one follows from its id, so that nobody chooses. The second ruling changes nothing that is
shown; how often the two agree says how clear the rules are.
"""

from __future__ import annotations

from sqlmodel import Session, col, select

from storage.errors import BadInput, NotAllowed, NotFound
from storage.models import Case, Decision
from storage.review import last_ruling
from storage.review_claims import check_may_decide, find, note_act
from storage.review_words import AGAINST, DAY_MS, FINAL, Ruling
from storage.schema import CaseOrigin, CaseStatus, Category, Millis
from storage.workspaces import Actor

BLIND_EVERY = 20
"""One decided case in so many is looked at again by somebody who does not see the ruling."""
BLIND_MS = 30 * DAY_MS
"""How long after its ruling a case waits for its second look."""


def wants_blind_look(case_id: str) -> bool:
    """Whether a decided case is one of those looked at twice: chosen by its id, not by anyone."""
    return int.from_bytes(case_id.encode()[-4:], "big") % BLIND_EVERY == 0


def decide_blind(
    session: Session, actor: Actor, case_id: str, ruling: Ruling, *, code: str = "", now: Millis
) -> Decision:
    """A second moderator's own ruling, made without seeing the first; changes nothing shown.

    Raises ``BadInput('ruling_code')`` for a ruling that does not end a case or lacks its rule,
    ``NotFound('case_over')`` for a case that is none of those looked at twice, or was already.
    """
    case = find(session, case_id, workspace_id=actor.workspace.id)
    check_may_decide(actor, case)
    if ruling not in FINAL or (ruling in AGAINST and code not in set(Category)):
        raise BadInput("ruling_code")
    # Two at once: the second finds the first one's look.
    session.exec(select(Case.id).where(Case.id == case.id).with_for_update()).one()
    first = last_ruling(session, case.id)
    if first is None or case.origin == CaseOrigin.REFUSED or not wants_blind_look(case.id):
        raise NotFound("case_over")
    if actor.member.id in (first.moderator_id, first.confirmed_by):
        raise NotAllowed("second_eyes")
    again = session.exec(
        select(Decision.id).where(Decision.case_id == case.id, col(Decision.blind).is_(True))
    ).first()
    if again is not None:
        raise NotFound("case_over")
    made = Decision(
        case_id=case.id, workspace_id=case.workspace_id, moderator_id=actor.member.id,
        action=ruling, code=code if ruling in AGAINST else "", blind=True, created_at=now,
    )  # fmt: skip
    session.add(made)
    session.flush()
    note_act(session, actor, "blind_look", case, now)
    return made


def waiting(session: Session, actor: Actor, *, now: Millis, limit: int = 20) -> list[Case]:
    """Decided cases that this moderator could look at a second time, oldest first."""
    ruled = col(Decision.action).in_([str(ruling) for ruling in FINAL])
    rows = session.execute(
        select(Case, Decision)
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .where(
            Case.workspace_id == actor.workspace.id, col(Case.status) == CaseStatus.DECIDED,
            col(Case.origin) != CaseOrigin.REFUSED,
            col(Decision.undone_at).is_(None), col(Decision.proposed).is_(False),
            col(Decision.blind).is_(True) | ruled, col(Decision.created_at) > now - BLIND_MS,
        )
        .order_by(col(Decision.id))
    ).all()  # fmt: skip
    found: dict[str, Case] = {}
    for case, ruling in rows:
        if not wants_blind_look(case.id):
            continue
        mine = actor.member.id in (ruling.moderator_id, ruling.confirmed_by, case.member_id)
        if ruling.blind or mine:
            found.pop(case.id, None)
        else:
            found[case.id] = case
    return [case for case in found.values() if not case.escalated][:limit]
