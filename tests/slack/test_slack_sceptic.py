"""What a second reading found: veils, copies, refusals in words, people of elsewhere, languages."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import Session, select

from bot.adapters.slack.app import Keys, SlackPart
from bot.adapters.slack.people import role_of
from bot.adapters.slack.render import message, words_for
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.reply import Reply
from bot.core.services import Services
from storage.models import Generation, Job, Workspace
from storage.review import redraw
from storage.schema import Event, EventType, GenerationStatus, JobStatus, Platform, Role
from tests.conftest import row
from tests.core.test_commands import answer, picture
from tests.slack.conftest import Studio
from tests.slack.person import Person, buttons, until
from tests.slack.server import SlackServer
from tests.slack.test_slack_cards import card_in
from tests.slack.test_slack_delivery import delivered, results
from tests.slack.world import APP_TOKEN, BOT_TOKEN, Stored


def shown_file(message: Stored) -> str | None:
    """The Slack file a message shows, if any."""
    return next((b["slack_file"]["id"] for b in message.blocks if b["type"] == "image"), None)


async def rule(studio: Studio, job_id: str, status: GenerationStatus) -> None:
    """A moderator's ruling about what is posted, as the review room writes it."""

    def change(session: Session) -> None:
        made = session.exec(select(Generation).where(Generation.job_id == job_id)).one()
        made.status = status
        session.add(made)
        redraw(session, job_id, now=studio.services.clock())

    studio.database.write(change)
    await studio.tell(Event(type=EventType.STATE, job_id=job_id))
    await until(lambda: row(studio.database, job_id).delivered_at)


async def drawn(studio: Studio, ann: Person) -> tuple[str, Stored]:
    """A finished picture and its card."""
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    return job_id, card


def speak(studio: Studio, locale: str) -> None:
    """An admin chose the language of public cards."""

    def choose(session: Session) -> None:
        space = session.exec(select(Workspace).where(Workspace.platform == Platform.SLACK)).one()
        space.settings = space.settings | {"locale": locale}
        session.add(space)

    studio.database.write(choose)


async def test_what_is_veiled_later_is_shown_by_another_file(studio: Studio, ann: Person) -> None:
    """The clear file was uploaded first: a card that finds it again would veil nothing."""
    job_id, card = await drawn(studio, ann)
    clear = shown_file(card)
    await rule(studio, job_id, GenerationStatus.BLURRED)
    await until(lambda: "Blurred" in card.shown())
    assert shown_file(card) not in (None, clear)
    assert clear not in studio.server.files, "the clear bytes are gone from Slack"
    veiled = shown_file(card)
    await rule(studio, job_id, GenerationStatus.VISIBLE)
    await until(lambda: "Blurred" not in card.shown())
    assert shown_file(card) not in (None, veiled), "and what is cleared is not blurred for ever"


async def test_a_copy_shows_the_cards_own_file_and_goes_with_it(
    studio: Studio, ann: Person, bob: Person
) -> None:
    _, card = await drawn(studio, ann)
    await bob.press(card, "favourite")
    copy = await card_in(studio, bob.direct)
    assert shown_file(copy) == shown_file(card)
    assert len(studio.server.files) == 1
    await ann.press(card, "delete")
    await until(lambda: not studio.server.files)


async def test_a_post_whose_answer_was_lost_is_known_again(studio: Studio, ann: Person) -> None:
    """Where Slack knows its own clients' repeats, the result lands in the very card in line."""
    studio.server.knows_repeats = True
    studio.server.break_next("chat.postMessage", "after", times=1)
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    assert studio.server.in_channel("C1") == [card]
    assert results(studio) == [card]


async def test_a_known_card_that_was_deleted_is_posted_as_another(
    studio: Studio, ann: Person
) -> None:
    studio.server.knows_repeats = True
    studio.server.break_next("chat.postMessage", "after", times=1)
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    del studio.server.messages["C1", card.ts]
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    assert len(results(studio)) == 1


async def test_a_placeholder_that_stays_behind_brings_the_card_into_its_place(
    studio: Studio, ann: Person
) -> None:
    """Slack took it, and the answer was lost: what is left has a button that heals it."""
    studio.server.break_next("chat.postMessage", "before", times=1)
    await ann.slash("/imagine a tree")
    await until(lambda: studio.server.trouble["chat.postMessage"].times == 0)
    studio.server.break_next("chat.postMessage", "after", times=1)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    (card,) = results(studio)
    (stale,) = [m for m in studio.server.in_channel("C1") if m is not card]
    await ann.press(stale, "show")
    await until(lambda: buttons(stale.blocks, "reroll"))
    assert len(studio.server.in_channel("C1")) == 2, "healed, not said a third time"


async def test_a_list_in_direct_messages_stays_when_one_of_it_is_opened(
    studio: Studio, ann: Person
) -> None:
    def queued() -> object:
        waits = select(Job).where(Job.status == JobStatus.QUEUED)
        return studio.database.read(lambda s: s.exec(waits).first())

    for _ in range(2):
        await ann.slash("/imagine a tree")
        await until(queued)
        await delivered(studio, await studio.finish(picture(studio.put())))
    await ann.write("history")

    def listed() -> list[Stored]:
        return [m for m in studio.server.in_channel("DUANN") if len(buttons(m.blocks, "show")) > 1]

    (kept,) = await until(listed)
    before = kept.shown()
    await ann.press(kept, "show")
    await until(lambda: results(studio, "DUANN"))
    assert kept.shown() == before


async def test_a_stream_whose_beginning_was_lost_is_not_begun_again(
    studio: Studio, ann: Person
) -> None:
    studio.server.break_next("chat.startStream", "after", times=1)
    await ann.write("what is the capital of France?")
    await until(lambda: studio.database.read(lambda s: s.exec(select(Job)).first()))
    claim = await studio.begin()
    await studio.say(claim.job_id, "Paris.", lambda: studio.server.of("chat.startStream"))

    def goes_on() -> bool:
        for budget in (studio.presenter._budget, studio.presenter._stream_budget):
            budget._closed_until = 0.0  # the pause after trouble, cut short
        return any("More" in m.shown() for m in studio.server.in_channel(ann.direct))

    await studio.say(claim.job_id, "Paris. More.", goes_on)
    job_id = await studio.end(claim, answer("Paris."))
    await delivered(studio, job_id)
    assert len(studio.server.of("chat.startStream")) == 1
    assert len(results(studio, ann.direct)) == 1


async def test_a_file_that_slack_does_not_show_us_is_said(studio: Studio, ann: Person) -> None:
    message = {"ts": "1.1", "user": "UBOB", "blocks": [
        {"type": "image", "slack_file": {"id": "F0GONE"}, "alt_text": "x"}
    ]}  # fmt: skip
    await ann.menu("describe", message)
    assert "attach" in (await until(ann.notes))[-1].lower()


async def test_a_dialogue_that_came_too_late_is_said(studio: Studio, ann: Person) -> None:
    studio.server.break_next("views.open", "error:expired_trigger_id", times=1)
    await ann.slash("/imagine")
    assert "try again" in (await until(ann.notes))[-1]


async def test_no_log_names_a_response_url(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has one can answer for us for half an hour; it is gone when Slack hangs up on it."""
    desk = studio.part._desk
    assert desk is not None
    texts = words_for("en")
    with caplog.at_level(logging.INFO):
        url = studio.server.response_url()
        studio.server.hang_up.add(url)
        assert not await desk._respond(url, message(Reply(text="hi"), texts))
    assert "a response URL did not work" in caplog.text and "hooks" not in caplog.text


async def test_a_bug_after_the_acknowledgement_is_said_and_stays_acknowledged(
    studio: Studio, ann: Person
) -> None:
    """Bolt takes an acknowledgement back when the listener raises within its 10 ms."""

    async def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    desk = studio.part._desk
    assert desk is not None
    object.__setattr__(desk, "typed", broken)
    await ann.slash("/credits")  # returns when it was acknowledged
    assert "went wrong" in (await until(ann.notes))[-1].lower()


@pytest.mark.parametrize(
    ("facts", "role"),
    [
        ({"is_admin": True}, Role.ADMIN),
        ({"is_admin": True, "team_id": "T1"}, Role.ADMIN),
        ({"is_owner": True, "team_id": "T9"}, Role.MEMBER),
        ({"is_admin": True, "team_id": "T1", "is_stranger": True}, Role.MEMBER),
        ({"is_admin": True, "team_id": "T9", "enterprise_user": {"teams": ["T1"]}}, Role.ADMIN),
        ({"is_admin": True, "is_restricted": True}, Role.MEMBER),
    ],
)
def test_an_admin_of_another_organisation_is_none_here(facts: dict[str, Any], role: Role) -> None:
    assert role_of(facts, "T1") is role


@pytest.mark.parametrize(
    "trouble", [("apps.connections.open", "before"), ("auth.test", "error:team_not_found")]
)
async def test_a_slack_that_is_away_at_any_step_ends_nothing(
    server: SlackServer, services: Services, trouble: tuple[str, str]
) -> None:
    said: list[str] = []
    keys = Keys(
        bot_token=SecretStr(BOT_TOKEN), app_token=SecretStr(APP_TOKEN), api=f"{server.url}/api/"
    )
    server.break_next(*trouble, times=1)
    part = SlackPart(Core(services, COMMANDS, PRESSES), keys, said.append)
    running = asyncio.create_task(part.run())
    await until(lambda: running.done() or any("connected to" in line for line in said))
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_card_speaks_the_workspaces_language_and_a_no_the_readers(
    studio: Studio, ann: Person, bob: Person
) -> None:
    await ann.slash("/credits")
    await until(ann.notes)
    speak(studio, "zh")
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    assert "排队" in card.shown()
    await ann.slash("/imagine a tree size:7x7")
    assert "must" in (await until(lambda: ann.notes()[1:]))[-1]
    seen = len(ann.notes())  # a note by response URL names nobody: both see it here
    await bob.press(card, "cancel")
    assert "Only who asked for it" in (await until(lambda: ann.notes()[seen:]))[-1]


@pytest.mark.parametrize("line", ["/atelier help", "/help", "/atelier"])
async def test_help_is_in_the_members_language(studio: Studio, ann: Person, line: str) -> None:
    """A manifest's hints are English only; what a command answers is not."""
    studio.server.people["UANN"] = {"locale": "zh-CN"}
    await ann.slash(line)
    note = (await until(ann.notes))[-1]
    assert "/imagine" in note and "生成" in note


async def test_the_usage_of_a_command_is_in_the_members_language(
    studio: Studio, ann: Person
) -> None:
    studio.server.people["UANN"] = {"locale": "zh-CN"}
    await ann.slash("/credits")
    await until(ann.notes)
    await ann.slash("/imagine")
    (view,) = await until(lambda: list(studio.server.views.values()))
    labels = [b["label"]["text"] for b in view["blocks"] if b["type"] == "input"]
    assert all(any("\u4e00" <= sign <= "\u9fff" for sign in label) for label in labels)
