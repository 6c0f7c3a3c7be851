"""Messages, mentions, files and the same event again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from sqlmodel import select

from bot.adapters.slack.events import attachment, first_picture, spoken, typed
from bot.core.attachment import Attachment
from storage.endings import Exchange
from storage.models import Job
from storage.schema import Platform
from tests.core.test_commands import answer, picture
from tests.slack.conftest import Studio, run_bot
from tests.slack.person import Person, buttons, until
from tests.slack.test_slack_cards import card_in


def count(studio: Studio) -> int:
    return len(studio.database.read(lambda s: s.exec(select(Job)).all()))


async def test_a_mention_is_a_question_answered_in_its_thread(studio: Studio, ann: Person) -> None:
    ts = await ann.mention("what is 2 &lt; 3 &amp; why?")
    card = await card_in(studio)
    assert card.thread == ts
    assert "what is 2 < 3 & why?" in card.shown()
    await studio.finish(answer("Because."))
    await until(lambda: "Because." in card.shown())


async def test_a_thread_remembers_what_was_said_in_it(studio: Studio, ann: Person) -> None:
    ts = await ann.mention("my name is Ann")
    await card_in(studio)
    said = Exchange(f"at:slack:C1:{ts}", "my name is Ann", "Hello Ann.")
    await studio.finish(answer("Hello Ann."), exchange=said)
    await until(lambda: "Hello Ann." in studio.server.in_channel("C1")[0].shown())
    await ann.mention("who am I?", thread_ts=ts)
    await card_in(studio, nth=1)
    specs = [job.spec for job in studio.database.read(lambda s: s.exec(select(Job)).all())]
    turns = [turn["text"] for turn in specs[1]["turns"]]
    assert "my name is Ann" in turns
    assert "Hello Ann." in turns
    assert studio.server.in_channel("C1")[1].thread == ts


async def test_a_direct_message_is_a_question(studio: Studio, ann: Person) -> None:
    ts = await ann.write("What is the capital of France?")
    await until(lambda: count(studio) == 1)
    await studio.finish(answer("Paris."))
    card = await until(lambda: studio.server.in_channel(ann.direct) and
                       studio.server.in_channel(ann.direct)[0])  # fmt: skip
    await until(lambda: "Paris." in card.shown())
    assert card.thread == ts


async def test_a_command_can_be_written_as_a_message(studio: Studio, ann: Person) -> None:
    """Threads take no slash commands, but a suggested prompt is sent as a message."""
    for nth, line in enumerate(("/imagine a red apple seed:3", "Imagine: a red apple seed:3")):
        await ann.write(line)
        card = await card_in(studio, ann.direct, nth=nth)
        assert "a red apple" in card.shown()
        assert "In line" in card.shown()
        assert card.thread is not None


@pytest.mark.parametrize(
    "event",
    [
        {"bot_id": "BOTHER"}, {"subtype": "message_changed"}, {"subtype": "message_deleted"},
        {"user": None}, {"channel_type": "channel"}, {"subtype": "bot_message"},
        {"user": "UBOT", "bot_id": "BBOT"},
    ],
)  # fmt: skip
async def test_what_nobody_said_to_us_is_no_question(
    studio: Studio, ann: Person, event: Mapping[str, Any]
) -> None:
    await ann.write("What is this?", **event)
    await ann.slash("/credits")
    await until(ann.notes)
    assert count(studio) == 0


async def test_a_bare_mention_says_what_to_do(studio: Studio, ann: Person) -> None:
    await ann.mention("")
    note = (await until(ann.notes))[-1]
    assert "/help" in note
    assert count(studio) == 0


async def test_the_same_event_five_times_at_once_is_one_job(studio: Studio, ann: Person) -> None:
    ts = studio.server.ts()
    event = {"type": "app_mention", "channel": "C1", "user": "UANN", "text": "<@UBOT> hi", "ts": ts}
    await asyncio.gather(
        *(
            ann.event(event, event_id="Ev-same", retry_attempt=n, retry_reason="timeout")
            for n in range(5)
        )
    )
    await card_in(studio)
    await ann.slash("/credits")
    await until(ann.notes)
    assert count(studio) == 1
    assert len(studio.server.in_channel("C1")) == 1


async def test_the_same_command_five_times_at_once_is_one_job(studio: Studio, ann: Person) -> None:
    payload = await ann.slash("/imagine a tree")
    await asyncio.gather(*(studio.server.push("slash_commands", payload) for _ in range(4)))
    await card_in(studio)
    await ann.slash("/credits")
    await until(ann.notes)
    assert count(studio) == 1
    assert len(studio.server.in_channel("C1")) == 1


async def test_a_retry_after_a_restart_is_known(studio: Studio, ann: Person) -> None:
    payload = await ann.slash("/imagine a tree")
    await card_in(studio)
    await studio.die()
    async with run_bot(studio.server, studio.services, f"{studio.server.url}/api/") as second:
        await second.server.push("slash_commands", payload)
        await ann.slash("/credits")
        await until(ann.notes)
        assert count(second) == 1
        assert len(second.server.in_channel("C1")) == 1


async def test_without_redis_the_job_is_still_one(studio: Studio, ann: Person) -> None:
    """What must not happen twice has its key in the database."""
    payload = await ann.slash("/imagine a tree")
    await card_in(studio)
    await studio.services.wire.pool.flushall()
    await studio.server.push("slash_commands", payload)
    await ann.slash("/credits")
    await until(ann.notes)
    assert count(studio) == 1
    assert len(studio.server.in_channel("C1")) == 1


# -- Files -------------------------------------------------------------------------------------


class Network:
    """Stands where the download would be: what was asked for, and with which headers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    async def __call__(self, url: str, platform: Platform, headers: Mapping[str, str]) -> bytes:
        self.asked.append((url, dict(headers)))
        return b"not a picture"


async def read(studio: Studio, file: dict[str, Any], network: Network) -> Attachment:
    studio.services.uploads._fetch = network
    desk = studio.part._desk
    assert desk is not None
    found = await desk.file(file)
    assert isinstance(found, Attachment)
    await studio.services.uploads.read(found)
    return found


async def test_our_token_goes_to_slacks_own_host_only(studio: Studio) -> None:
    network = Network()
    await read(studio, studio.server.add_file(), network)
    ((url, headers),) = network.asked
    assert url.startswith("https://files.slack.com/")
    assert headers["Authorization"] == "Bearer xoxb-1-canary-bot"


@pytest.mark.parametrize(
    "change",
    [
        {"is_external": True}, {"mode": "external"},
        {"url_private": "https://evil.example/x.png", "url_private_download": ""},
        {"url_private_download": "https://files.slack.com.evil.example/x.png"},
        {"url_private_download": "https://files.slack.com@evil.example/x.png"},
        {"url_private_download": "http://files.slack.com/x.png"},
        {"url_private_download": "https://files.slack.com:8443/x.png"},
        {"url_private_download": "https://169.254.169.254/latest/meta-data"},
        {"size": 50_000_000},
    ],
)  # fmt: skip
async def test_a_file_that_is_not_slacks_is_never_fetched(
    studio: Studio, change: dict[str, Any]
) -> None:
    from storage.errors import BadInput

    network = Network()
    with pytest.raises(BadInput, match="upload_"):
        await read(studio, studio.server.add_file(**change), network)
    assert network.asked == []


async def test_a_file_of_another_organisation_is_asked_for_again(studio: Studio) -> None:
    network = Network()
    file = studio.server.add_file()
    await read(studio, {"id": file["id"], "file_access": "check_file_info"}, network)
    assert len(studio.server.of("files.info")) == 1
    assert len(network.asked) == 1


def test_what_a_person_typed_without_what_slack_adds() -> None:
    assert typed("<@UBOT> draw <https://a.example/x|a.example> &amp; <@U2|bob> &lt;b&gt;") == (
        "draw a.example &  <b>"
    )
    assert typed("<@UBOT>") == ""
    assert typed("a &amp;lt; b") == "a &lt; b"


def test_a_command_may_be_said_without_its_slash() -> None:
    names = ("imagine", "help", "ask")
    for line, said in (
        ("imagine: a boat", "/imagine a boat"), ("IMAGINE： 船", "/imagine 船"), ("help", "/help"),
        ("imagine a world", "imagine a world"), ("Note: help", "Note: help"), ("", ""),
        ("helping", "helping"), ("help me", "help me"), ("ask: why\nso", "/ask why\nso"),
    ):  # fmt: skip
        assert spoken(line, names) == said


def test_the_first_picture_among_files() -> None:
    text, image = {"mimetype": "text/plain"}, {"mimetype": "image/png", "id": "F2"}
    assert first_picture([text, image]) == image
    assert first_picture([text]) is None
    assert first_picture(None) is None
    junk = attachment({"size": "huge", "name": None, "mimetype": None})
    assert (junk.size, junk.url, junk.external) == (0, "", False)


# -- Menus -------------------------------------------------------------------------------------


async def test_report_from_the_menu_of_our_message(
    studio: Studio, ann: Person, bob: Person
) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "reroll"))
    await bob.menu("report", {"ts": card.ts, "blocks": card.blocks})
    assert "Thank you" in (await until(bob.notes))[-1]


async def test_menus_on_other_messages_say_why_not(studio: Studio, ann: Person) -> None:
    for entry, words in (
        ("report", "a picture or an answer of mine"), ("describe", "no picture"),
        ("start_image", "no picture"),
    ):  # fmt: skip
        before = len(ann.notes())
        await ann.menu(entry, {"ts": "1.1", "text": "hello", "user": "UBOB"})
        await until(lambda before=before: len(ann.notes()) > before)
        assert words in ann.notes()[-1]


async def test_a_picture_from_a_menu_fills_the_command(studio: Studio, ann: Person) -> None:
    network = Network()
    studio.services.uploads._fetch = network
    file = studio.server.add_file()
    message = {"ts": "1.1", "files": [file], "user": "UBOB"}
    await ann.menu("start_image", message)
    (view,) = await until(lambda: list(studio.server.views.values()))
    assert "option.image" not in [b.get("block_id") for b in view["blocks"]]
    assert "url" not in view["private_metadata"], "an id: the address is asked from Slack again"
    await ann.submit(view, prompt="the same in blue")
    await until(lambda: len(network.asked) == 1)
    await until(lambda: any("picture" in note for note in ann.notes()))  # it was no picture
    await ann.menu("describe", message)
    await until(lambda: len(ann.notes()) == 2)
    assert count(studio) == 0
