"""Appeals: by whom, when, and what an overturned one undoes."""

from __future__ import annotations

import pytest
from sqlmodel import select

from storage import audit, ledger, review_undo
from storage import review_appeals as appeals
from storage.database import Database
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.models import Member, Strike
from storage.review_words import Ruling
from storage.workspaces import account_of
from tests.conftest import START, actor, sound
from tests.storage.reviewing import Room, decide, held, pro, status


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
