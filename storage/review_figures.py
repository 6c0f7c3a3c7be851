"""How well the review room works: waits, overturned rulings, load, agreement, reporters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import reports
from storage.models import Act, Appeal, Case, Decision, Member, Report
from storage.precision import Decided, Precision, kappa, percentile, precision_of, wilson
from storage.review_claims import UNDECIDED
from storage.review_words import AGAINST, DAY_MS, FINAL, HOUR_MS
from storage.schema import CaseOrigin, Frozen, Millis

AGES_MS = (HOUR_MS, 4 * HOUR_MS, DAY_MS, 3 * DAY_MS)
"""Upper ends of the first four classes of the queue's age; the fifth is open."""
REPORTERS = 10
"""Reporters listed, those with most decided reports first."""


class Load(Frozen):
    """What one moderator did in the window."""

    name: str
    rulings: int
    overturned: int
    """Of these, fallen on appeal."""


class Reporter(Frozen):
    """How often one member's reports were right, over all time."""

    name: str
    right: int
    decided: int
    low: float
    high: float


class Day(Frozen):
    """One day, counted back from now: 0 is the last 24 hours."""

    ago: int
    opened: int
    decided: int


class RoomMetrics(Frozen):
    """The review room between two moments."""

    waiting: int
    oldest_ms: int | None
    ages: tuple[int, ...]
    """Waiting cases by age: under 1 h, 4 h, a day, three days, older."""
    overdue: int
    decided: int
    late: int
    """Decided after their due time."""
    first_ms: tuple[float | None, float | None]
    """Median and 90th percentile from opening to the first ruling that stands."""
    final_ms: tuple[float | None, float | None]
    """The same to the last word, appeals included."""
    appeals: int
    overturned: int
    overturn_rate: tuple[float, float] | None
    """Wilson interval of overturned among decided appeals."""
    load: tuple[Load, ...]
    days: tuple[Day, ...]
    precision: tuple[Precision, ...]
    agreement: tuple[int, int]
    """``(agreed, looked at twice)`` of the blind second looks."""
    kappa: float | None
    reporters: tuple[Reporter, ...]


@dataclass(frozen=True)
class Outcome:
    """One decided case: its first ruling that stands, its last, and whether that still holds."""

    case: Case
    first: Decision
    last: Decision
    appeal: Appeal | None
    """The decided appeal against the last ruling, if there was one."""

    @property
    def confirmed(self) -> bool:
        """Against the content, and not overturned."""
        fallen = self.appeal is not None and self.appeal.upheld is False
        return self.last.action in AGAINST and not fallen

    @property
    def ended_at(self) -> Millis:
        """When the last word was said."""
        decided = self.appeal.decided_at if self.appeal is not None else None
        return decided or self.last.created_at

    def findings(self) -> Decided:
        """What it says about the filters."""
        return Decided(
            verdict=self.case.verdict, confirmed=self.confirmed, code=self.last.code,
            reported=self.case.origin == CaseOrigin.REPORTED,
        )  # fmt: skip


def outcomes(session: Session, workspace_id: str, since: Millis, until: Millis) -> list[Outcome]:
    """Cases with a ruling of this window that stands; an undone one does not count."""
    rows = session.execute(
        select(Case, Decision)
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .where(
            col(Case.workspace_id) == workspace_id, col(Decision.undone_at).is_(None),
            col(Case.origin) != CaseOrigin.REFUSED,  # a rule decided, no moderator
            col(Decision.blind).is_(False), col(Decision.proposed).is_(False),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
            col(Decision.created_at) >= since, col(Decision.created_at) < until,
        )
        .order_by(col(Decision.id))
    ).all()  # fmt: skip
    appeals = {
        asked.decision_id: asked
        for asked in session.exec(
            select(Appeal).where(
                Appeal.workspace_id == workspace_id, col(Appeal.decided_at).is_not(None)
            )
        )
    }
    found: dict[str, Outcome] = {}
    for case, ruling in rows:
        first = found[case.id].first if case.id in found else ruling
        found[case.id] = Outcome(case, first, ruling, appeals.get(ruling.id))
    return list(found.values())


def metrics(session: Session, workspace_id: str, *, since: Millis, now: Millis) -> RoomMetrics:
    """How the room did since ``since``."""
    waiting = session.exec(
        select(Case).where(Case.workspace_id == workspace_id, col(Case.status).in_(UNDECIDED))
    ).all()
    decided = outcomes(session, workspace_id, since, now + 1)
    appeals = session.exec(
        select(Appeal).where(
            Appeal.workspace_id == workspace_id, col(Appeal.decided_at).is_not(None),
            col(Appeal.decided_at) >= since,
        )
    ).all()  # fmt: skip
    overturned = sum(asked.upheld is False for asked in appeals)
    first = [float(o.first.created_at - o.case.created_at) for o in decided]
    final = [float(o.ended_at - o.case.created_at) for o in decided]
    pairs = second_looks(session, workspace_id)
    return RoomMetrics(
        waiting=len(waiting),
        oldest_ms=max((now - case.created_at for case in waiting), default=None),
        ages=ages([now - case.created_at for case in waiting]),
        overdue=sum(case.due_at is not None and case.due_at < now for case in waiting),
        decided=len(decided),
        late=sum(o.case.due_at is not None and o.first.created_at > o.case.due_at for o in decided),
        first_ms=(percentile(first, 0.5), percentile(first, 0.9)),
        final_ms=(percentile(final, 0.5), percentile(final, 0.9)),
        appeals=len(appeals), overturned=overturned,
        overturn_rate=wilson(overturned, len(appeals)) if appeals else None,
        load=_load(session, workspace_id, decided),
        days=_days(session, workspace_id, decided, since, now),
        precision=precision_of(o.findings() for o in decided),
        agreement=(sum(a == b for a, b in pairs), len(pairs)),
        kappa=kappa(pairs),
        reporters=reporters(session, workspace_id),
    )  # fmt: skip


def ages(waited: Sequence[Millis]) -> tuple[int, ...]:
    """How many fall into each class of :data:`AGES_MS`. Pure."""
    found = [0] * (len(AGES_MS) + 1)
    for age in waited:
        found[sum(age >= end for end in AGES_MS)] += 1
    return tuple(found)


def _load(session: Session, workspace_id: str, decided: Sequence[Outcome]) -> tuple[Load, ...]:
    done: Counter[str] = Counter(o.last.moderator_id for o in decided)
    fell: Counter[str] = Counter(
        o.last.moderator_id for o in decided if o.last.action in AGAINST and not o.confirmed
    )
    names = _names(session, workspace_id, list(done))
    return tuple(
        Load(name=names.get(who, ""), rulings=count, overturned=fell[who])
        for who, count in done.most_common()
    )


def _names(session: Session, workspace_id: str, ids: Sequence[str]) -> dict[str, str]:
    rows = session.exec(
        select(Member).where(Member.workspace_id == workspace_id, col(Member.id).in_(ids))
    )
    return {row.id: row.name or row.external_id for row in rows}


def _days(
    session: Session, workspace_id: str, decided: Sequence[Outcome], since: Millis, now: Millis
) -> tuple[Day, ...]:
    opened: Counter[int] = Counter()
    for at in session.exec(
        select(Case.created_at).where(
            Case.workspace_id == workspace_id, Case.created_at >= since,
            col(Case.origin) != CaseOrigin.REFUSED,
        )
    ):  # fmt: skip
        opened[(now - at) // DAY_MS] += 1
    ended: Counter[int] = Counter((now - o.first.created_at) // DAY_MS for o in decided)
    length = max(1, -(-(now - since) // DAY_MS))
    return tuple(
        Day(ago=ago, opened=opened[ago], decided=ended[ago]) for ago in reversed(range(length))
    )


def second_looks(session: Session, workspace_id: str) -> list[tuple[bool, bool]]:
    """``(first, second)`` of every blind second look: against the content or not."""
    rows = session.exec(
        select(Decision)
        .where(
            Decision.workspace_id == workspace_id, col(Decision.undone_at).is_(None),
            col(Decision.proposed).is_(False),
            col(Decision.action).in_([str(ruling) for ruling in FINAL]),
            col(Decision.case_id).in_(
                select(Decision.case_id).where(
                    Decision.workspace_id == workspace_id, col(Decision.blind).is_(True)
                )
            ),
        )
        .order_by(col(Decision.id))
    ).all()  # fmt: skip
    first: dict[str, bool] = {}
    found = []
    for row in rows:
        if not row.blind:
            first[row.case_id] = row.action in AGAINST
        elif row.case_id in first:
            found.append((first[row.case_id], row.action in AGAINST))
    return found


def reporters(session: Session, workspace_id: str) -> tuple[Reporter, ...]:
    """Who reports, and how often they are right."""
    ids = session.exec(
        select(Report.member_id).where(Report.workspace_id == workspace_id).distinct()
    ).all()
    names = _names(session, workspace_id, ids)
    found = []
    for member_id in ids:
        right, decided = reports.precision(session, member_id, workspace_id=workspace_id)
        if decided:
            low, high = wilson(right, decided)
            found.append(
                Reporter(name=names.get(member_id, ""), right=right, decided=decided, low=low,
                         high=high)
            )  # fmt: skip
    return tuple(sorted(found, key=lambda r: -r.decided)[:REPORTERS])


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
