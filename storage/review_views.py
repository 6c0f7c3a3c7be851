"""What moderators read: the queue, one case with its context, and how well the room works."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import strikes
from storage.models import Act, Appeal, Case, Decision, Generation, Job, Member, Report, Workspace
from storage.review import find
from storage.review_words import AGAINST, FINAL
from storage.rules import rules_of
from storage.schema import CaseStatus, Frozen, Millis, Verdict
from storage.strikes import Standing

WAITING = (CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.APPEALED)


@dataclass(frozen=True)
class CaseView:
    """Everything a moderator's card shows. Holding it shows nothing: pixels are fetched apart."""

    case: Case
    job: Job
    made: Generation
    member: Member
    standing: Standing
    holder: str
    """Name of whoever has the lock now; empty when it is free."""
    reports: int
    decisions: tuple[Decision, ...]
    appeal: Appeal | None
    similar: tuple[tuple[Case, str], ...]
    """Decided cases about the same pixels, with what was decided."""
    before: tuple[Job, ...]
    """The member's five jobs before this one."""


def queue(
    session: Session,
    workspace_id: str,
    *,
    statuses: Sequence[CaseStatus] = WAITING,
    code: str = "",
    escalated: bool | None = None,
    limit: int = 50,
) -> list[Case]:
    """Cases, most severe and then soonest due first."""
    query = (
        select(Case)
        .where(Case.workspace_id == workspace_id, col(Case.status).in_(statuses))
        .order_by(col(Case.severity).desc(), col(Case.due_at), col(Case.id))
        .limit(limit)
    )
    if escalated is not None:
        query = query.where(col(Case.escalated).is_(escalated))
    found = list(session.exec(query))
    if code:
        found = [c for c in found if code in Verdict.parse(c.verdict).categories()]
    return found


def view(session: Session, case_id: str, *, workspace_id: str, now: Millis) -> CaseView:
    """One case with its context. Raises ``NotFound('case_unknown')``."""
    case = find(session, case_id, workspace_id=workspace_id)
    job = session.get_one(Job, case.job_id)
    made = session.get_one(Generation, case.generation_id)
    member = session.get_one(Member, case.member_id)
    space = session.get_one(Workspace, workspace_id)
    held = case.claimed_by if case.claimed_until and case.claimed_until > now else None
    return CaseView(
        case=case, job=job, made=made, member=member,
        standing=strikes.standing(
            session, member.id, rules_of(space.settings).review, now=now
        ),
        holder=session.get_one(Member, held).name if held else "",
        reports=session.execute(
            select_columns(func.count(col(Report.id))).where(col(Report.case_id) == case.id)
        ).scalar_one(),
        decisions=tuple(
            session.exec(
                select(Decision)
                .where(Decision.case_id == case.id, col(Decision.blind).is_(False))
                .order_by(col(Decision.id))
            )
        ),
        appeal=session.exec(
            select(Appeal).where(Appeal.case_id == case.id).order_by(col(Appeal.id).desc())
        ).first(),
        similar=_similar(session, case, made),
        before=tuple(
            session.exec(
                select(Job)
                .where(Job.member_id == member.id, col(Job.id) < job.id)
                .order_by(col(Job.id).desc())
                .limit(5)
            )
        ),
    )  # fmt: skip


def _similar(session: Session, case: Case, made: Generation) -> tuple[tuple[Case, str], ...]:
    if made.sha256 is None:
        return ()
    rows = session.execute(
        select(Case, Decision)
        .join(Generation, col(Generation.id) == col(Case.generation_id))
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .where(
            col(Case.workspace_id) == case.workspace_id, col(Case.id) != case.id,
            col(Generation.sha256) == made.sha256, col(Decision.undone_at).is_(None),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
        )
        .order_by(col(Decision.id).desc())
        .limit(5)
    ).all()  # fmt: skip
    return tuple((row[0], row[1].action) for row in rows)


def twins(session: Session, case: Case) -> list[Case]:
    """Waiting cases of this workspace about exactly the same pixels: one ruling may serve all."""
    made = session.get_one(Generation, case.generation_id)
    if made.sha256 is None:
        return []
    return list(
        session.exec(
            select(Case)
            .join(Generation, col(Generation.id) == col(Case.generation_id))
            .where(
                Case.workspace_id == case.workspace_id, Case.id != case.id,
                col(Case.status).in_(WAITING), Generation.sha256 == made.sha256,
            )
            .order_by(col(Case.id))
        )
    )  # fmt: skip


# -- how well it works -------------------------------------------------------------------------


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share (E. B. Wilson 1927): honest for small numbers.

    ``(0, 1)`` when there is nothing to go by. ``z`` 1.96 gives 95 %.
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, z * z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


class Precision(Frozen):
    """How often one stage was right about one code, as moderators saw it."""

    stage: str
    code: str
    right: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share of confirmed findings; None for none."""
        return self.right / self.total if self.total else None


class Line(Frozen):
    """What a threshold would have done to the decided findings of one stage and code."""

    threshold: float
    caught: int
    """Confirmed findings at or over it."""
    missed: int
    """Confirmed findings under it."""
    false: int
    """Findings at or over it that moderators let pass."""


class RoomMetrics(Frozen):
    """The review room between two moments."""

    waiting: int
    oldest_ms: int | None
    overdue: int
    decided: int
    first_decision_ms_p50: float | None
    first_decision_ms_p90: float | None
    appeals: int
    overturned: int
    overturn_rate: tuple[float, float] | None
    """Wilson interval of overturned among decided appeals."""
    load: dict[str, int]
    """Rulings by moderator."""
    precision: tuple[Precision, ...]
    agreement: tuple[int, int]
    """``(agreed, looked at twice)`` of the blind second looks."""


def outcomes(session: Session, workspace_id: str, since: Millis, until: Millis) -> list[
    tuple[Case, Decision, bool]
]:  # fmt: skip
    """Decided cases with the ruling that stands and whether it confirms the findings.

    An overturned ruling does not confirm them; an undone one does not count.
    """
    overturned = set(
        session.exec(
            select(Appeal.decision_id).where(
                Appeal.workspace_id == workspace_id, col(Appeal.upheld).is_(False)
            )
        )
    )
    rows = session.execute(
        select(Case, Decision)
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .where(
            col(Case.workspace_id) == workspace_id, col(Decision.undone_at).is_(None),
            col(Decision.blind).is_(False), col(Decision.proposed).is_(False),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
            col(Decision.created_at) >= since, col(Decision.created_at) < until,
        )
        .order_by(col(Decision.id))
    ).all()  # fmt: skip
    latest = {case.id: (case, ruling) for case, ruling in rows}
    return [
        (case, ruling, ruling.action in AGAINST and ruling.id not in overturned)
        for case, ruling in latest.values()
    ]


def precision_of(decided: Iterable[tuple[dict[str, Any], bool]]) -> tuple[Precision, ...]:
    """Per stage and code: findings confirmed, of those decided, with the interval. Pure.

    ``decided`` are dumped verdicts with whether a moderator confirmed them.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    for verdict, confirmed in decided:
        for stage, code in {(f["stage"], f["category"]) for f in verdict["flags"]}:
            cell = counts.setdefault((stage, code), [0, 0])
            cell[0] += confirmed
            cell[1] += 1
    found = []
    for (stage, code), (right, total) in sorted(counts.items()):
        low, high = wilson(right, total)
        found.append(
            Precision(stage=stage, code=code, right=right, total=total, low=low, high=high)
        )
    return tuple(found)


def slider(
    decided: Iterable[tuple[dict[str, Any], bool]], stage: str, code: str, steps: int = 21
) -> list[Line]:
    """What each threshold from 0 to 1 would have done to one stage's decided findings. Pure."""
    scored = [
        (max(f["score"] for f in verdict["flags"] if f["stage"] == stage and f["category"] == code),
         confirmed)
        for verdict, confirmed in decided
        if any(f["stage"] == stage and f["category"] == code for f in verdict["flags"])
    ]  # fmt: skip
    lines = []
    for step in range(steps):
        line = step / (steps - 1)
        lines.append(
            Line(
                threshold=line,
                caught=sum(good and score >= line for score, good in scored),
                missed=sum(good and score < line for score, good in scored),
                false=sum(not good and score >= line for score, good in scored),
            )
        )
    return lines


def _percentile(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def metrics(session: Session, workspace_id: str, *, since: Millis, now: Millis) -> RoomMetrics:
    """How the room did since ``since``."""
    waiting = session.exec(
        select(Case).where(Case.workspace_id == workspace_id, col(Case.status).in_(WAITING))
    ).all()
    decided = outcomes(session, workspace_id, since, now + 1)
    waits = [float(ruling.created_at - case.created_at) for case, ruling, _ in decided]
    appeals = session.exec(
        select(Appeal).where(
            Appeal.workspace_id == workspace_id, col(Appeal.decided_at).is_not(None),
            col(Appeal.decided_at) >= since,
        )
    ).all()  # fmt: skip
    overturned = sum(asked.upheld is False for asked in appeals)
    load: dict[str, int] = {}
    for _, ruling, _ in decided:
        load[ruling.moderator_id] = load.get(ruling.moderator_id, 0) + 1
    return RoomMetrics(
        waiting=len(waiting),
        oldest_ms=max((now - case.created_at for case in waiting), default=None),
        overdue=sum(case.due_at is not None and case.due_at < now for case in waiting),
        decided=len(decided),
        first_decision_ms_p50=median(waits) if waits else None,
        first_decision_ms_p90=_percentile(waits, 0.9),
        appeals=len(appeals), overturned=overturned,
        overturn_rate=wilson(overturned, len(appeals)) if appeals else None,
        load=load,
        precision=precision_of((case.verdict, right) for case, _, right in decided),
        agreement=_agreement(session, workspace_id),
    )  # fmt: skip


def _agreement(session: Session, workspace_id: str) -> tuple[int, int]:
    """How often a blind second look came to the same side (against or not)."""
    blind = session.exec(
        select(Decision).where(Decision.workspace_id == workspace_id, col(Decision.blind).is_(True))
    ).all()
    agreed = 0
    for second in blind:
        first = session.exec(
            select(Decision)
            .where(
                Decision.case_id == second.case_id, col(Decision.blind).is_(False),
                col(Decision.undone_at).is_(None),
                col(Decision.action).in_([str(ruling) for ruling in FINAL]),
            )
            .order_by(col(Decision.id))
        ).first()  # fmt: skip
        agreed += first is not None and (first.action in AGAINST) == (second.action in AGAINST)
    return agreed, len(blind)


def exposure(session: Session, workspace_id: str, member_id: str, since: Millis) -> int:
    """How many held pictures a moderator has revealed since then: a reason to take a break."""
    return int(
        session.execute(
            select_columns(func.count(col(Act.id))).where(
                col(Act.workspace_id) == workspace_id, col(Act.actor_id) == member_id,
                col(Act.verb) == "reveal", col(Act.at) >= since,
            )
        ).scalar_one()
    )  # fmt: skip
