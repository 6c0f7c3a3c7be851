"""Bad input gets a clear sentence with a stable code, and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from bot.core.reply import Visibility
from storage.database import Database
from storage.ledger import balance, member_account
from storage.models import Job
from storage.schema import MAX_SEED, ImageSpec, parse_spec
from tests.conftest import set_limits, sound
from tests.fakes import FakeAdapter


def stored(database: Database) -> list[Job]:
    return database.read(lambda session: list(session.exec(select(Job))))


OK: dict[str, Any] = {"prompt": "a red apple"}

BAD = [
    ({"prompt": ""}, "prompt_empty"),
    ({}, "prompt_empty"),
    ({"prompt": " \n\t "}, "prompt_empty"),
    ({"prompt": "\u200b\u200d\ufeff"}, "prompt_empty"),
    ({"prompt": "\u202e\u202d"}, "prompt_empty"),
    ({"prompt": "a" * 1001}, "text_long"),
    ({"prompt": "🎨" * 10_000}, "text_long"),
    ({"prompt": "apple", "negative": "x" * 1001}, "text_long"),
    ({"prompt": b"\xff\xfe apple"}, "text_not_utf8"),
    ({"prompt": "apple \udcff"}, "text_not_utf8"),
    ({"prompt": "apple\x00pie"}, "text_has_nul"),
    (OK | {"size": "100x100"}, "size_not_multiple"),
    (OK | {"size": "129x128"}, "size_not_multiple"),
    (OK | {"size": "512x512"}, "size_range"),
    (OK | {"size": "8x8"}, "size_range"),
    (OK | {"size": "0x0"}, "size_range"),
    (OK | {"size": "99999x99999"}, "size_range"),
    (OK | {"size": "-128x128"}, "size_invalid"),
    (OK | {"size": "big"}, "size_invalid"),
    (OK | {"steps": 0}, "steps_range"),
    (OK | {"steps": "-5"}, "steps_range"),
    (OK | {"steps": 101}, "steps_range"),
    (OK | {"steps": "many"}, "option_invalid"),
    (OK | {"steps": "9" * 5000}, "option_invalid"),
    (OK | {"guidance": 31}, "guidance_range"),
    (OK | {"guidance": -1}, "guidance_range"),
    (OK | {"guidance": "nan"}, "option_invalid"),
    (OK | {"guidance": "inf"}, "option_invalid"),
    (OK | {"count": 0}, "count_range"),
    (OK | {"count": 5}, "count_range"),
    (OK | {"seed": -1}, "seed_range"),
    (OK | {"seed": MAX_SEED + 1}, "seed_range"),
    (OK | {"seed": "9" * 5000}, "seed_range"),
    (OK | {"seed": "lucky"}, "seed_range"),
    (OK | {"seed": 1.5}, "seed_range"),
    (OK | {"style": "oil"}, "style_unknown"),
    (OK | {"model": "gpt-17"}, "model_unknown"),
    (OK | {"model": "smollm2-135m"}, "model_unknown"),
    (OK | {"model": "starter-upscaler"}, "model_unknown"),  # draws nothing
    (OK | {"colour": "red"}, "option_unknown"),
]


@pytest.mark.parametrize(("values", "code"), BAD)
async def test_imagine_says_what_is_wrong(
    fake: FakeAdapter, database: Database, values: dict[str, Any], code: str
) -> None:
    reply = await fake.say("imagine", **values)
    assert reply.code == code
    assert reply.visibility is Visibility.PRIVATE
    assert reply.exit_code == 2
    assert len(reply.text) > 10
    assert "{" not in reply.text
    assert stored(database) == []
    assert sound(database)


async def test_every_code_has_a_sentence_in_chinese_too(fake: FakeAdapter) -> None:
    fake.locale = "zh-CN"
    for values, code in BAD:
        reply = await fake.say("imagine", **values)
        assert reply.code == code
        assert any("\u4e00" <= ch <= "\u9fff" for ch in reply.text)


async def test_unusual_but_good_text_is_kept(fake: FakeAdapter, database: Database) -> None:
    set_limits(database)
    for prompt in (
        "🍎" * 1000,
        "红苹果",
        "تفاحة حمراء",
        "e\u0301cole",
        "a {brace} and %s",
        "<b>&amp;",
    ):
        reply = await fake.say("imagine", prompt=prompt)
        assert reply.code is None, (prompt, reply.text)
        assert reply.job_id is not None
    specs = [parse_spec(job.spec) for job in stored(database)]
    assert "école" in {spec.prompt for spec in specs}, "text is stored in one normal form"


async def test_direction_marks_are_removed_not_refused(
    fake: FakeAdapter, database: Database
) -> None:
    reply = await fake.say("imagine", prompt="a \u202ered\u202c apple\u200f")
    assert reply.prompt == "a red apple"


async def test_seed_limits_are_inclusive(fake: FakeAdapter, database: Database) -> None:
    set_limits(database)
    for seed in (0, MAX_SEED):
        reply = await fake.say("imagine", prompt="apple", seed=str(seed), count=2)
        assert reply.code is None
    specs = [parse_spec(job.spec) for job in stored(database)]
    last = max((s for s in specs if isinstance(s, ImageSpec)), key=lambda s: s.seed)
    assert [last.seed_of(0), last.seed_of(1)] == [MAX_SEED, 0]


async def test_no_credits(fake: FakeAdapter, database: Database) -> None:
    set_limits(database)
    reply = await fake.say("imagine", prompt="apple", steps=100, count=4, size="256x256")
    assert reply.code == "credits_short"
    assert reply.exit_code == 4
    assert "80" in reply.text
    assert "50" in reply.text
    assert sound(database)


async def test_queue_full(fake: FakeAdapter, database: Database) -> None:
    for _ in range(3):
        assert (await fake.say("imagine", **OK)).code is None
    reply = await fake.say("imagine", **OK)
    assert reply.code == "queue_full_member"
    assert reply.exit_code == 4
    account = database.read(balance, member_account(stored(database)[0].member_id))
    assert account.pending == 3
    assert sound(database)


async def test_wait_too_long(fake: FakeAdapter, database: Database) -> None:
    set_limits(database)
    code = None
    for number in range(40):
        reply = await fake.say(
            "imagine", name=f"m{number}", prompt="apple", steps=100, size="256x256"
        )
        code = reply.code
        if code:
            break
    assert code == "wait_too_long"


async def test_unknown_command_and_button(fake: FakeAdapter) -> None:
    assert (await fake.say("paint", prompt="x")).code == "command_unknown"
    assert (await fake.press("explode", "x")).code == "button_unknown"
    assert (await fake.press("cancel", "no-such-job")).code == "job_unknown"
    assert (await fake.press("delete", "' OR 1=1 --")).code == "generation_unknown"


async def test_ask_limits(fake: FakeAdapter, database: Database) -> None:
    assert (await fake.say("ask", prompt="")).code == "prompt_empty"
    assert (await fake.say("ask", prompt="x" * 4001)).code == "text_long"
    assert (await fake.say("ask", prompt="hi", max_tokens=0)).code == "option_range"
    assert (await fake.say("ask", prompt="hi", temperature=3)).code == "option_range"
