"""A flood stops at the token bucket: the filters, which everybody waits for, never see it."""

from __future__ import annotations

from sqlmodel import select

from bot.core.reply import Verb
from storage.database import Database
from storage.models import DecisionRecord
from storage.rules import Limits
from tests.fakes import FakeAdapter

BURST = Limits().burst


async def test_only_what_the_bucket_holds_is_judged(fake: FakeAdapter, database: Database) -> None:
    codes = [(await fake.say("imagine", prompt=f"an apple {n}")).code for n in range(BURST + 10)]
    judged = database.read(lambda s: s.exec(select(DecisionRecord.id)).all())
    assert len(judged) == BURST
    assert codes.count(None) == 3 and codes[-10:] == ["too_fast"] * 10
    assert (await fake.say("imagine", "ben", prompt="a pear")).code is None


async def test_one_command_takes_one(fake: FakeAdapter) -> None:
    """Judged and queued, refused by a filter, or by a button: each is one from the bucket."""
    first = await fake.say("imagine", prompt="an apple")
    await fake.press(Verb.CANCEL, str(first.job_id))
    for number in range(BURST - 1):
        reply = await fake.say("imagine", prompt=f"an apple {number}", count="1")
        assert reply.code != "too_fast"
        if reply.job_id:
            await fake.press(Verb.CANCEL, reply.job_id)
    assert (await fake.say("imagine", prompt="one more")).code == "too_fast"
    assert (await fake.press(Verb.REROLL, str(first.job_id))).code == "too_fast"
