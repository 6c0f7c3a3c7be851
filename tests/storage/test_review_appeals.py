"""Appeals: by whom, when, and what an overturned one undoes."""

from __future__ import annotations

import pytest
from sqlmodel import select

from storage import audit, ledger, linking, reports, review, review_undo
from storage import review_appeals as appeals
from storage.database import Database
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.models import Case, Member, Strike
from storage.review_words import HOUR_MS, Ruling
from storage.workspaces import Actor, account_of
from tests.conftest import START, actor, sound
from tests.storage.reviewing import Room, decide, held, pro, put, status


def test_an_overturned_appeal_posts_refunds_and_voids_at_once(
    database: Database, room: Room
) -> None:
    ann, mod, mia, _ = room
    other, denied = held(database, ann, count=2)
    decide(database, mod, other, Ruling.APPROVE)
    decide(database, mod, denied, Ruling.DENY_STRIKE, code="REAL")
    assert database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until is not None
    ann = actor(database, "ann")
    with pytest.raises(NotAllowed):
        database.write(appeals.appeal, mia, denied.id, "not mine", now=START + 5000)
    with pytest.raises(BadInput):
        database.write(appeals.appeal, ann, denied.id, "  ", now=START + 5000)
    with pytest.raises(NotFound, match="appeal_nothing"):
        database.write(appeals.appeal, ann, other.id, "approved", now=START + 5000)
    database.write(appeals.appeal, ann, denied.id, "It is a statue.", now=START + 5000)
    assert status(database, denied) == ("appealed", "removed")
    with pytest.raises(LimitReached, match="appeal_twice"):
        database.write(appeals.appeal, ann, denied.id, "again", now=START + 6000)
    with pytest.raises(NotAllowed, match="appeal_other"):
        database.write(appeals.decide_appeal, mod, denied.id, upheld=False, now=START + 7000)
    with pytest.raises(NotFound, match="case_appealed"):
        decide(database, mia, denied, Ruling.DENY)
    database.write(appeals.decide_appeal, mia, denied.id, upheld=False, now=START + 8000)
    assert status(database, denied) == ("closed", "visible")
    assert database.read(ledger.balance, account_of(ann.member)).posted == 50
    assert database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until is None
    assert database.read(lambda s: s.exec(select(Strike)).one()).voided_at == START + 8000
    with pytest.raises(NotFound, match="case_over"):
        database.write(appeals.decide_appeal, mia, denied.id, upheld=True, now=START + 9000)
    assert database.read(audit.verify) == []
    assert sound(database)


def test_an_upheld_appeal_changes_nothing_shown(database: Database, room: Room) -> None:
    ann, mod, _, boss = room
    [case] = held(database, ann)
    decide(database, mod, case, Ruling.DENY)
    database.write(appeals.appeal, ann, case.id, "please", now=START + 5000)
    database.write(appeals.decide_appeal, boss, case.id, upheld=True, note="No.", now=START + 6000)
    assert status(database, case) == ("closed", "removed")
    with pytest.raises(LimitReached, match="appeal_twice"):
        database.write(appeals.appeal, ann, case.id, "please", now=START + 7000)


def test_an_appeal_comes_within_six_months_and_not_after_an_undo(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    [case] = held(database, ann)
    ruling = decide(database, mod, case, Ruling.DENY)
    with pytest.raises(NotFound, match="appeal_late"):
        database.write(appeals.appeal, ann, case.id, "late", now=START + 183 * 86_400_000)
    database.write(review_undo.undo, mod, ruling.id, now=START + 2000)
    with pytest.raises(NotFound, match="appeal_nothing"):
        database.write(appeals.appeal, ann, case.id, "what for", now=START + 3000)


def test_a_lifted_ban_leaves_a_later_one_alone(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    pro(database, ann)
    [one], [two] = held(database, ann), held(database, ann)
    decide(database, mod, one, Ruling.BAN, hours=1)
    decide(database, mod, two, Ruling.BAN, hours=100)
    database.write(appeals.appeal, ann, one.id, "sorry", now=START + 5000)
    database.write(appeals.decide_appeal, mia, one.id, upheld=False, now=START + 6000)
    until = database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until
    assert until == START + 1000 + 100 * 3_600_000


def test_a_proposed_ban_is_not_confirmed_over_an_appeal(database: Database, room: Room) -> None:
    """It would decide the case again and leave the appeal without an answer for ever."""
    ann, mod, mia, boss = room
    put(database, review={"two_for_bans": True})
    mod = actor(database, "mod", role="moderator")
    [case] = held(database, ann)
    proposed = decide(database, mod, case, Ruling.BAN)
    database.write(review.release, mod, case.id, now=START + 1500)
    decide(database, mia, case, Ruling.DENY)
    database.write(appeals.appeal, ann, case.id, "It is a statue.", now=START + 5000)
    with pytest.raises(NotFound, match="case_appealed"):
        database.write(review.confirm, boss, proposed.id, now=START + 6000)
    database.write(appeals.decide_appeal, boss, case.id, upheld=False, now=START + 7000)
    assert status(database, case) == ("closed", "visible")
    assert database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until is None


def test_a_ruling_withdraws_what_was_proposed_before_it(database: Database, room: Room) -> None:
    ann, mod, mia, boss = room
    put(database, review={"two_for_bans": True})
    mod = actor(database, "mod", role="moderator")
    [case] = held(database, ann)
    proposed = decide(database, mod, case, Ruling.BAN)
    made = decide(database, mia, case, Ruling.APPROVE)
    database.write(review_undo.undo, mia, made.id, now=START + 2000)
    database.write(review.release, mia, case.id, now=START + 2500)
    with pytest.raises(NotFound, match="case_over"):
        database.write(review.confirm, boss, proposed.id, now=START + 3000)
    assert status(database, case)[1] == "held"


def test_what_was_veiled_comes_back_veiled(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    veiled, hidden = held(database, ann, count=2)
    decide(database, mod, veiled, Ruling.APPROVE_BLURRED)
    decide(database, mod, hidden, Ruling.APPROVE_BLURRED)
    again = []
    for number, kind in enumerate(("", reports.NCII)):
        made = (veiled, hidden)[number].generation_id
        database.write(reports.report, made, actor=mia, now=START + 2000, kind=kind)
        again.append(
            database.read(
                lambda s, made=made: s.exec(
                    select(Case).where(Case.generation_id == made, Case.origin == "reported")
                ).one()
            )
        )
    for case in again:
        decide(database, mod, case, Ruling.DENY)
        database.write(appeals.appeal, ann, case.id, "It was veiled.", now=START + 5000)
        database.write(appeals.decide_appeal, mia, case.id, upheld=False, now=START + 6000)
        assert status(database, case) == ("closed", "blurred")


@pytest.mark.parametrize("first", [0, 1])
def test_each_overturned_ruling_lifts_its_own_time_out(
    database: Database, room: Room, first: int
) -> None:
    """In whichever order they fall, none leaves its time-out behind or takes the other's along."""
    ann, mod, mia, _ = room
    pro(database, ann)
    cases = [held(database, ann)[0] for _ in range(2)]
    short = decide(database, mod, cases[0], Ruling.BAN, hours=24, now=START + 1000)
    long = decide(database, mod, cases[1], Ruling.BAN, hours=48, now=START + 2000)
    ends = [made.created_at + hours * HOUR_MS for made, hours in ((short, 24), (long, 48))]

    def until() -> int | None:
        return database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until

    def overturn(case: Case) -> None:
        database.write(appeals.appeal, ann, case.id, "No.", now=START + 5000)
        database.write(appeals.decide_appeal, mia, case.id, upheld=False, now=START + 6000)

    assert until() == ends[1]
    overturn(cases[first])
    assert until() == ends[1 - first]
    overturn(cases[1 - first])
    assert until() is None


def test_a_second_account_of_the_same_person_is_nobody_else(database: Database, room: Room) -> None:
    """Accounts joined by a code are one person: no own case, no appeal against one's own ruling."""
    ann, mod, mia, boss = room
    [case] = held(database, ann)

    def join(one: Actor, two: Actor) -> None:
        code = database.write(linking.ask_code, one, now=START)
        database.write(linking.enter_code, two, code, now=START)

    alt = actor(database, "alt", role="moderator")
    join(mod, alt)
    join(ann, boss)
    with pytest.raises(NotAllowed, match="case_own"):
        decide(database, actor(database, "boss", role="admin"), case, Ruling.APPROVE)
    decide(database, mod, case, Ruling.DENY)
    database.write(appeals.appeal, ann, case.id, "It is a statue.", now=START + 5000)
    alt = actor(database, "alt", role="moderator")
    with pytest.raises(NotAllowed, match="appeal_other"):
        database.write(appeals.decide_appeal, alt, case.id, upheld=True, now=START + 6000)
    database.write(appeals.decide_appeal, mia, case.id, upheld=True, now=START + 7000)
