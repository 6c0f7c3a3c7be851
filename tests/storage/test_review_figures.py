"""How well the room works: figures, intervals, second looks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import Session

from storage import review, review_blind
from storage import review_appeals as appeals
from storage import review_figures as figures
from storage import review_views as views
from storage.database import Database
from storage.errors import NotAllowed, NotFound
from storage.models import Case
from storage.precision import Decided, kappa, precision_of, slider, wilson
from storage.review_words import Ruling
from storage.schema import new_id
from tests.conftest import START
from tests.storage.reviewing import Room, decide, held, pro, status


def test_the_room_s_figures_come_from_its_rulings(database: Database, room: Room) -> None:
    ann, mod, mia, boss = room
    pro(database, ann)
    cases = [held(database, ann, score=score)[0] for score in (0.5, 0.6, 0.8, 0.9)]
    decide(database, mod, cases[0], Ruling.APPROVE, now=START + 10_000)
    decide(database, mod, cases[1], Ruling.DENY, now=START + 20_000)
    decide(database, mia, cases[2], Ruling.DENY, now=START + 30_000)
    database.write(appeals.appeal, ann, cases[1].id, "no", now=START + 40_000)
    database.write(appeals.decide_appeal, boss, cases[1].id, upheld=False, now=START + 50_000)
    seen = database.read(figures.metrics, ann.workspace.id, since=START, now=START + 60_000)
    assert (seen.waiting, seen.decided, seen.appeals, seen.overturned) == (1, 3, 1, 1)
    assert seen.first_ms[0] == 20_000
    assert [(one.name, one.rulings, one.overturned) for one in seen.load] == [
        ("mod", 2, 1), ("mia", 1, 0),
    ]  # fmt: skip
    [line] = seen.precision
    assert (line.stage, line.code, line.right, line.total) == ("image.nudenet", "SEX", 1, 3)
    assert line.low < 1 / 3 < line.high
    decided = database.read(figures.outcomes, ann.workspace.id, START, START + 60_000)
    lines = slider([outcome.findings() for outcome in decided], "image.nudenet", "SEX")
    at = next(row for row in lines if row.threshold == pytest.approx(0.7))
    assert (at.caught, at.missed, at.false) == (1, 0, 0)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_holds_the_share_and_narrows(right: int, wrong: int) -> None:
    total = right + wrong
    low, high = wilson(right, total)
    assert 0 <= low <= high <= 1
    if total:
        assert low <= right / total <= high + 1e-12
        wider = wilson(right * 10, total * 10)
        assert wider[1] - wider[0] <= high - low


def test_wilson_s_published_example() -> None:
    """Ten successes in ten tries: 72 % to 100 % (Newcombe 1998, table)."""
    low, high = wilson(10, 10)
    assert (round(low, 3), round(high, 3)) == (0.722, 1.0)


def test_a_blind_second_look_measures_agreement(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    pro(database, ann)
    [case] = held(database, ann)
    chosen = next(i for i in iter(new_id, "") if review_blind.wants_blind_look(i))

    def rename(session: Session) -> Case:
        session.execute(
            text("UPDATE review_case SET id = :new WHERE id = :old"),
            {"new": chosen, "old": case.id},
        )
        return session.get_one(Case, chosen)

    case = database.write(rename)
    decide(database, mod, case, Ruling.DENY)
    with pytest.raises(NotAllowed):
        database.write(
            review_blind.decide_blind, mod, case.id, Ruling.DENY, code="SEX", now=START + 2000
        )
    database.write(review_blind.decide_blind, mia, case.id, Ruling.APPROVE, now=START + 2000)
    seen = database.read(figures.metrics, ann.workspace.id, since=START, now=START + 9000)
    assert seen.agreement == (0, 1)
    assert status(database, case) == ("decided", "removed")


def test_the_view_has_what_a_moderator_needs(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    pro(database, ann)
    [first], [second] = held(database, ann), held(database, ann)
    decide(database, mod, first, Ruling.DENY_STRIKE)
    database.write(review.claim, mia, second.id, now=START + 5000)
    seen = database.read(views.view, second.id, workspace_id=ann.workspace.id, now=START + 6000)
    assert seen.holder == "mia"
    assert [(case.id, ruling) for case, ruling in seen.similar] == [(first.id, "deny_strike")]
    assert [job.id for job in seen.before] == [first.job_id]
    assert seen.standing.weight == 1
    with pytest.raises(NotFound):
        database.read(views.view, second.id, workspace_id="elsewhere", now=START)


def test_a_ruling_confirms_the_code_it_names_and_leaves_the_others_open() -> None:
    def flagged(*codes: str) -> dict[str, Any]:
        flags = [{"stage": "s", "category": code, "score": 0.6, "detail": ""} for code in codes]
        return {"outcome": "hold", "flags": flags}

    cases = [
        Decided(verdict=flagged("SEX", "HATE"), confirmed=True, code="SEX"),
        Decided(verdict=flagged("SEX"), confirmed=True, code="VIO"),
        Decided(verdict=flagged("HATE"), confirmed=False, code=""),
        Decided(verdict=flagged("SEX"), confirmed=False, code="", reported=True),
    ]
    found = {line.code: (line.right, line.total) for line in precision_of(cases)}
    assert found == {"SEX": (1, 2), "HATE": (0, 1)}


def test_kappa_by_its_published_example() -> None:
    """Cohen 1960, as usually worked: 20 both yes, 5 and 10 apart, 15 both no gives 0.40."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10
    assert kappa(pairs + [(False, False)] * 15) == pytest.approx(0.4)
    assert kappa([]) is None and kappa([(True, True)] * 3) is None


def test_the_queue_s_age_and_a_late_ruling_are_counted(database: Database, room: Room) -> None:
    ann, mod, _, _ = room
    pro(database, ann)
    late, waiting = held(database, ann)[0], held(database, ann)[0]
    hour = 3_600_000
    decide(database, mod, late, Ruling.DENY, now=START + 30 * hour)
    seen = database.read(figures.metrics, ann.workspace.id, since=START, now=START + 31 * hour)
    assert (seen.late, seen.overdue, seen.waiting) == (1, 1, 1)
    assert seen.ages == (0, 0, 0, 1, 0) and waiting.severity == 2
    assert sum(day.opened for day in seen.days) == 2 and seen.days[-1].decided == 1
    assert seen.final_ms[0] == 30 * hour
    assert figures.ages([0, hour, 5 * hour, 30 * hour, 90 * hour]) == (1, 1, 1, 1, 1)
