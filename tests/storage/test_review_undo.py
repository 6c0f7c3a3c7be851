"""Taking back: one ruling within a minute, a bulk act within ten."""

from __future__ import annotations

import pytest

from storage import audit, review_undo, strikes
from storage import review_queue as queues
from storage.database import Database
from storage.errors import NotAllowed, NotFound
from storage.review_words import Ruling
from tests.conftest import START, sound
from tests.storage.reviewing import RULES, Room, decide, held, pro, status


def test_undo_within_a_minute_puts_everything_back_but_the_refund(
    database: Database, room: Room
) -> None:
    ann, mod, mia, _ = room
    [case] = held(database, ann)
    ruling = decide(database, mod, case, Ruling.DENY_STRIKE, code="SEXC")
    with pytest.raises(NotAllowed, match="undo_other"):
        database.write(review_undo.undo, mia, ruling.id, now=START + 2000)
    database.write(review_undo.undo, mod, ruling.id, now=START + 61_000)
    assert status(database, case) == ("claimed", "held")
    rules = database.read(lambda s: strikes.standing(s, ann.member.id, RULES, now=START))
    assert rules.weight == 0
    with pytest.raises(NotFound, match="undo_late"):
        database.write(review_undo.undo, mod, ruling.id, now=START + 61_000)
    again = decide(database, mod, case, Ruling.APPROVE, now=START + 62_000)
    with pytest.raises(NotFound, match="undo_late"):
        database.write(review_undo.undo, mod, again.id, now=START + 62_000 + 60_001)
    assert database.read(audit.verify) == []
    assert sound(database)


def test_a_bulk_ruling_can_be_taken_back_for_ten_minutes(database: Database, room: Room) -> None:
    ann, mod, _, _ = room
    pro(database, ann)
    [one], [two] = held(database, ann), held(database, ann)
    assert [c.id for c in database.read(queues.twins, one)] == [two.id]
    rulings = [decide(database, mod, case, Ruling.DENY, batch="b1") for case in (one, two)]
    for ruling in rulings:
        database.write(review_undo.undo, mod, ruling.id, now=START + 500_000)
    assert status(database, two) == ("claimed", "held")
