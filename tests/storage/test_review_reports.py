"""Strikes that expire, the ladder, and reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, select

from storage import reports, review_undo, strikes
from storage import review_queue as queues
from storage.database import Database
from storage.errors import LimitReached, NotFound
from storage.models import Case, Generation, Member
from storage.review_words import (
    DEFAULT_LADDER,
    FIRST,
    NCII_MS,
    STRIKE_MS,
    WEIGHTS,
    Ruling,
    Step,
    step_for,
)
from storage.schema import CaseStatus, Category, Verdict
from storage.workspaces import Actor
from tests.conftest import START, actor, sound
from tests.storage.reviewing import RULES, Room, decide, held, pro, put, status


def test_the_ladder_times_out_by_itself_and_marks_expire(database: Database, room: Room) -> None:
    ann, mod, _, _ = room
    pro(database, ann)
    for index, until in ((0, None), (1, START + 1000 + 24 * 3_600_000)):
        [case] = held(database, ann)
        decide(database, mod, case, Ruling.DENY_STRIKE, code="VIO")
        member = database.read(lambda s: s.get_one(Member, ann.member.id))
        assert member.banned_until == until, index
    later = START + 1000 + STRIKE_MS
    gone = database.read(lambda s: strikes.standing(s, ann.member.id, RULES, now=later))
    assert (gone.weight, gone.step) == (0, None)


@given(st.integers(0, 40), st.integers(0, 40))
def test_more_points_never_mean_a_lower_step(a: int, b: int) -> None:
    low, high = (step_for(DEFAULT_LADDER, weight) for weight in sorted((a, b)))
    assert (low.weight if low else 0) <= (high.weight if high else 0)
    assert WEIGHTS.keys() == set(Category)
    assert step_for((Step(weight=3, hours=1),), 2) is None


def test_many_reports_are_one_case_and_crying_wolf_is_slowed(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    pro(database, ann)
    put(database, review={"reports_per_day": 6})
    shown = []
    for _ in range(7):
        [case] = held(database, ann)
        decide(database, mod, case, Ruling.APPROVE)
        shown.append(case.generation_id)
    bob, eve = actor(database, "bob"), actor(database, "eve")
    assert database.write(reports.report, shown[0], actor=bob, now=START).fresh
    assert not database.write(reports.report, shown[0], actor=bob, now=START).fresh
    assert database.write(reports.report, shown[0], actor=eve, now=START).fresh
    cases = database.read(lambda s: s.exec(select(Case).where(Case.origin == "reported")).all())
    assert len(cases) == 1
    for item in shown[1:6]:
        database.write(reports.report, item, actor=bob, now=START)
    with pytest.raises(LimitReached, match="reports_day"):
        database.write(reports.report, shown[6], actor=bob, now=START)
    assert database.write(reports.report, shown[6], actor=bob, now=START, kind=reports.NCII).fresh
    for case in database.read(lambda s: s.exec(
        select(Case).where(Case.origin == "reported", Case.status != CaseStatus.DECIDED)).all()
    )[:5]:  # fmt: skip
        decide(database, mod, case, Ruling.APPROVE)
    assert database.read(reports.precision, bob.member.id)[0] == 0
    assert database.read(reports.allowed_today, bob.member.id, 6) == 2
    first = database.read(queues.queue, ann.workspace.id, now=START)[0].case
    assert (first.severity, first.generation_id) == (FIRST, shown[6]), (
        "intimate pictures come first"
    )


def shown(database: Database, owner: Actor, mod: Actor) -> Generation:
    """A picture everybody sees, without findings."""
    [case] = held(database, owner)
    decide(database, mod, case, Ruling.APPROVE)

    def plain(session: Session) -> Generation:
        made = session.get_one(Generation, case.generation_id)
        made.verdict = Verdict().dump()
        session.add(made)
        return made

    return database.write(plain)


def test_an_intimate_report_has_48_hours_hides_and_is_put_back(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    made, eve = shown(database, ann, mod), actor(database, "eve")
    done = database.write(reports.report, made.id, actor=eve, now=START, kind=reports.NCII)
    assert (done.fresh, done.hidden, done.due_at) == (True, True, START + NCII_MS)
    case = database.read(lambda s: s.exec(select(Case).where(Case.origin == "reported")).one())
    assert (case.severity, case.shown_as) == (FIRST, "visible")
    again = database.write(reports.report, made.id, actor=eve, now=START + 5, kind=reports.NCII)
    assert (again.fresh, again.due_at) == (False, START + NCII_MS), "the clock runs from the first"
    ruling = decide(database, mod, case, Ruling.APPROVE)
    assert status(database, case) == ("decided", "visible")
    database.write(review_undo.undo, mod, ruling.id, now=START + 2000)
    assert status(database, case) == ("claimed", "held"), "hidden again until it is decided"
    decide(database, mod, case, Ruling.DENY, code="REAL", now=START + 3000)
    with pytest.raises(NotFound, match="generation_unknown"):
        database.write(reports.report, made.id, actor=eve, now=START, kind=reports.NCII)
    assert database.read(reports.precision, eve.member.id) == (1, 1)
    assert sound(database)


def test_who_cries_wolf_hides_nothing_at_once(database: Database, room: Room) -> None:
    """Their intimate report still comes first; only the picture stays until somebody looked."""
    ann, mod, _, _ = room
    pro(database, ann)
    eve = actor(database, "eve")
    for _ in range(reports.ENOUGH):
        made = shown(database, ann, mod)
        database.write(reports.report, made.id, actor=eve, now=START)
        case = database.read(
            lambda s, g=made.id: s.exec(
                select(Case).where(Case.generation_id == g, Case.origin == "reported")
            ).one()
        )
        decide(database, mod, case, Ruling.APPROVE)
    assert database.read(reports.precision, eve.member.id) == (0, reports.ENOUGH)
    made = shown(database, ann, mod)
    done = database.write(reports.report, made.id, actor=eve, now=START, kind=reports.NCII)
    assert (done.fresh, done.hidden, done.due_at) == (True, False, START + NCII_MS)
    first = database.read(queues.queue, ann.workspace.id, now=START)[0].case
    assert first.generation_id == made.id
