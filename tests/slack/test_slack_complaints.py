"""What users of other bots complain of most (shared/FIELD.md 2, lines 1 to 25), by name.

Lines that a front end can get wrong have a test here or in the file that is named; lines that are
the core's, the moderators' or the engine's are tested there.
"""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
from sqlmodel import select

from storage.models import Job
from storage.schema import Category, Flag, JobStatus, Outcome, Verdict
from tests.conftest import actor, sound, submitted
from tests.core.test_commands import picture
from tests.slack.conftest import Studio
from tests.slack.person import Person, buttons, until
from tests.slack.test_slack_cards import card_in

ELSEWHERE = {
    "01 buttons die after a restart": "presses.test_a_button_from_before_the_restart_works",
    "04 is this progress bar mine": "cards.test_progress_is_drawn_without_a_new_message",
    "06 anyone cancels anyone's job": (
        "presses.test_cancel_by_somebody_else_gets_a_private_sentence"
    ),
    "08 shown before it was approved": "cards.test_what_is_held_is_not_uploaded",
    "10 made but never posted": "delivery.test_killed_between_the_result_and_its_card",
    "12 long answers are cut": "delivery.test_a_long_answer_comes_whole",
    "13 Slack's Stop does nothing": "streams.test_slacks_own_stop_button_cancels_the_job",
    "14 the stream dies at five minutes": "streams.test_slack_closes_the_stream_at_five_minutes",
    "15 live for one person only": "streams.test_in_a_channel_everybody_sees_it_grow",
    "16 duplicate answers from retries": (
        "events.test_the_same_event_five_times_at_once_is_one_job"
    ),
    "17 edit storms": "delivery.test_progress_respects_the_workspaces_budget",
    "19 uploads late, or without blocks": "delivery.test_slack_may_take_its_time_with_a_picture",
    "22 parameters and seed": "cards.test_imagine_from_the_command_to_the_picture",
    "23 output pings everyone": (
        "render.test_nothing_a_model_or_a_member_writes_pings_anybody"
    ),
    "24 SSRF by image address": "events.test_a_file_that_is_not_slacks_is_never_fetched",
}  # fmt: skip


@pytest.mark.parametrize("line", ELSEWHERE)
def test_the_line_has_its_test(line: str) -> None:
    module, _, name = ELSEWHERE[line].partition(".")
    found = getattr(importlib.import_module(f"tests.slack.test_slack_{module}"), name)
    assert inspect.isfunction(found)
    assert re.search(r"\b(assert|until)\b", inspect.getsource(found))


async def test_02_and_21_limits_are_said_and_what_fits_is_queued(
    studio: Studio, ann: Person
) -> None:
    for n in range(9):
        await ann.slash(f"/imagine number {n}")
    note = (await until(ann.notes))[-1]
    assert "already" in note or "line" in note
    assert "charged" not in note or "Nothing was charged" in note
    jobs = studio.database.read(lambda s: s.exec(select(Job)).all())
    assert 1 <= len(jobs) < 9
    await until(lambda: len(studio.server.in_channel("C1")) == len(jobs))
    assert sound(studio.database)


async def test_03_one_heavy_member_does_not_starve_the_others(
    studio: Studio, ann: Person, bob: Person
) -> None:
    for n in range(3):
        await ann.slash(f"/imagine number {n}")
    await card_in(studio, nth=2)
    await bob.slash("/imagine just one")
    card = await card_in(studio, nth=3)
    assert "place 2 of 4" in card.shown(), "behind the first of ann's, not behind all"


async def test_05_the_place_counts_the_jobs_of_other_workspaces(
    studio: Studio, ann: Person
) -> None:
    stranger = actor(studio.database, "eve", workspace="elsewhere")
    submitted(studio.database, stranger)
    submitted(studio.database, stranger)
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    assert "of 3" in card.shown()


async def test_06_cancel_says_which_happened_and_what_it_cost(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    claim = await studio.begin()
    await until(lambda: "Working on it" in card.shown())
    await ann.press(card, "cancel")
    await until(lambda: "Stopping" in card.shown())
    await studio.end(claim, status=JobStatus.CANCELLED, cost=0)
    await until(lambda: "Stopped. Nothing was charged." in card.shown())


async def test_07_a_filter_is_not_fooled_by_how_a_word_is_written(studio: Studio) -> None:
    for number, text in enumerate(("a n4k3d ch1ld", "a n a k e d child", "a nakеd chіld"), 1):
        # Somebody new each time: whoever asked that may ask for nothing more until it is looked at.
        asking = studio.person(f"U{number}")
        await asking.slash(f"/imagine {text}")
        note = (await until(asking.notes))[-1]
        assert "safety of minors" in note
        assert "child" not in note, "the matched word is never echoed"
    assert studio.database.read(lambda s: s.exec(select(Job)).all()) == []
    assert studio.server.in_channel("C1") == [], "nobody else sees anything of it"


async def test_09_a_hold_says_why_in_words_and_how_to_be_heard(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine something")
    card = await card_in(studio)
    flag = Flag(category=Category.GORE, score=0.9, stage="image.test")
    verdict = Verdict(outcome=Outcome.HOLD, flags=frozenset({flag}))
    await studio.finish(picture(studio.put(), verdict))
    await until(lambda: "Held for review" in card.shown())
    # The reason is for who asked; the channel reads that there is one.
    assert "gore" not in card.shown().lower()
    told = (await until(ann.notes))[-1]
    assert "GORE" in told and "moderator" in told


async def test_11_the_acknowledgement_waits_for_nothing(studio: Studio, ann: Person) -> None:
    """No database, no queue, no call of Slack's stands before it: all of them hang here."""
    import asyncio

    stuck = asyncio.Event()

    async def hang(*args: object, **more: object) -> bool:
        await stuck.wait()
        return True

    studio.services.wire.first_sight = hang  # type: ignore[method-assign]
    await ann.slash("/imagine a tree")  # returns when it is acknowledged
    await ann.mention("hello")
    await ann.act({"type": "button", "action_id": "press.cancel.0", "value": "x"}, None)
    await ann.menu("report", {"ts": "1.1"})
    await ann.event({"type": "app_home_opened", "user": "UANN", "channel": "D", "tab": "home"})
    assert not stuck.is_set()
    assert studio.server.in_channel("C1") == []
    stuck.set()
    await card_in(studio, nth=1)


async def test_18_a_picture_is_never_made_in_vain(studio: Studio, ann: Person) -> None:
    """Slack takes files of a gigabyte; what it refuses for a while is tried again, not lost."""
    studio.server.break_next("files.getUploadURLExternal", "before", times=1)
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    await studio.finish(picture(studio.put()))
    await until(lambda: any(b["type"] == "image" for b in card.blocks))


async def test_20_members_create_only_where_the_admins_say(studio: Studio, ann: Person) -> None:
    studio.server.people["UADMIN"] = {"is_admin": True}
    studio.server.channels.add("C2")
    await studio.person("UADMIN").slash(
        "/config action:set path:commands.imagine.only_channels value:C2"
    )
    await until(lambda: any("Saved" in note for note in ann.notes()))
    await ann.slash("/imagine a tree")
    await until(lambda: any("certain channels" in note for note in ann.notes()))
    assert studio.database.read(lambda s: s.exec(select(Job)).all()) == []
    await studio.person("UANN", "C2").slash("/imagine a tree")
    await until(lambda: studio.server.in_channel("C2"))


async def test_22_the_seed_is_there_to_copy_and_to_start_from(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree seed:4711")
    card = await card_in(studio)
    await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "edit"))
    assert "`4711`" in card.shown()
    assert "starter-icons" in card.shown()


async def test_25_a_failure_says_that_nothing_was_charged(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    await studio.finish(status=JobStatus.FAILED, error_code="deadline", cost=0)
    await until(lambda: "Nothing was charged" in card.shown())
    assert sound(studio.database)
