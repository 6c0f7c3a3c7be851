"""Whatever fails between the command and the card: exactly one result, at the right place."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from sqlmodel import select

from bot.adapters.slack.budget import Budget
from storage.jobs import Made
from storage.models import Job
from storage.posts import PostState
from storage.schema import Event, EventType, JobStatus
from tests.conftest import row, sound
from tests.core.test_commands import answer, picture
from tests.slack.conftest import Studio, run_bot
from tests.slack.person import Person, buttons, until
from tests.slack.test_slack_cards import card_in
from tests.slack.world import Stored


def results(studio: Studio, channel: str = "C1") -> list[Stored]:
    """Messages that show a finished card."""
    return [
        m for m in studio.server.in_channel(channel)
        if buttons(m.blocks, "reroll") or buttons(m.blocks, "regenerate")
    ]  # fmt: skip


async def delivered(studio: Studio, job_id: str, seconds: float = 15) -> None:
    await until(lambda: row(studio.database, job_id).delivered_at, seconds)
    post = await studio.services.posts.get(job_id)
    assert post is not None
    assert post.state is PostState.FINAL
    assert sound(studio.database)


async def test_killed_between_the_acknowledgement_and_the_card(studio: Studio, ann: Person) -> None:
    """The job is in, its card was never posted: the next life posts the result."""
    studio.server.break_next("chat.postMessage", "before", times=1)
    await ann.slash("/imagine a tree")
    await until(lambda: studio.database.read(lambda s: s.exec(select(Job)).first()))
    await until(lambda: studio.server.trouble["chat.postMessage"].times == 0)
    await studio.die()
    claim_made = picture(studio.put())
    async with run_bot(studio.server, studio.services, f"{studio.server.url}/api/") as second:
        job_id = await second.finish(claim_made)
        await delivered(second, job_id)
        assert len(results(second)) == 1
        assert len(second.server.in_channel("C1")) == 1


async def test_killed_between_the_result_and_its_card(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    await until(lambda: not studio.presenter._locks)
    await studio.die()
    job_id = await studio.finish(picture(studio.put()))
    assert row(studio.database, job_id).delivered_at is None
    async with run_bot(studio.server, studio.services, f"{studio.server.url}/api/") as second:
        await delivered(second, job_id)
        assert results(second) == [card]


async def test_killed_after_the_edit_before_it_was_noted(studio: Studio, ann: Person) -> None:
    """The same card again, in the same message; its picture is not uploaded twice."""
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    noted = studio.services.posts.finished
    cut = asyncio.Event()

    async def die_here(job_id: str) -> bool:
        cut.set()
        await asyncio.Event().wait()
        return False

    studio.services.posts.finished = die_here  # type: ignore[method-assign]
    job_id = await studio.finish(picture(studio.put()))
    await asyncio.wait_for(cut.wait(), 60)
    await studio.die()
    studio.services.posts.finished = noted  # type: ignore[method-assign]
    assert results(studio) == [card]
    async with run_bot(studio.server, studio.services, f"{studio.server.url}/api/") as second:
        await delivered(second, job_id)
        assert results(second) == [card]
        assert len(second.server.files) == 1


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize(
    "method", ["chat.update", "files.completeUploadExternal", "files.info", "chat.postMessage"]
)
async def test_trouble_at_each_call_leaves_one_result(
    studio: Studio, ann: Person, method: str, kind: str
) -> None:
    """A 500 before, or a line that drops after Slack had accepted the call."""
    if method == "chat.postMessage":
        studio.server.break_next(method, kind, times=2)
    await ann.slash("/imagine a tree")
    await until(lambda: studio.database.read(lambda s: s.exec(select(Job)).first()))
    if method != "chat.postMessage":
        await card_in(studio)
        studio.server.break_next(method, kind, times=2)
    else:
        await until(lambda: studio.server.trouble[method].times < 2)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    assert len(results(studio)) == 1


async def test_a_card_that_was_accepted_unseen_is_healed_when_pressed(
    studio: Studio, ann: Person
) -> None:
    """Its time-out came after Slack had it: it stays behind, until somebody presses it."""
    studio.server.break_next("chat.postMessage", "after", times=1)
    await ann.slash("/imagine a tree")
    stale = await card_in(studio)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    assert stale not in results(studio)
    await ann.press(stale, "cancel")
    await until(lambda: buttons(stale.blocks, "reroll"))


async def test_a_storm_of_429(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    studio.server.break_next("chat.update", "429", times=4, retry_after=0)
    for method in ("files.getUploadURLExternal", "files.info"):
        studio.server.break_next(method, "429", times=1, retry_after=0)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id, 25)
    assert results(studio) == [card]


async def test_a_slow_slack_does_not_hold_up_the_others(studio: Studio, ann: Person) -> None:
    """While one card waits out a long 429, delivery turns to other platforms."""
    from storage.errors import RetryLater
    from storage.schema import Address, Platform

    await ann.slash("/imagine a tree")
    await card_in(studio)
    studio.server.break_next("chat.update", "429", times=1, retry_after=4)
    job_id = await studio.finish(picture(studio.put()))
    from bot.core.cards import job_reply

    job = row(studio.database, job_id)
    reply = await job_reply(studio.services, job_id, "en", workspace_id=job.workspace_id)
    here = Address(platform=Platform.SLACK, workspace="T0000WORK", channel="C1")
    with pytest.raises(RetryLater, match=r"on its way|unwell"):
        async with asyncio.timeout(6):
            await studio.part.present(here, reply)
    await delivered(studio, job_id)
    assert len(results(studio)) == 1


async def test_progress_respects_the_workspaces_budget(studio: Studio, ann: Person) -> None:
    """Nine running jobs, a hundred events each: no call is refused for coming too often."""
    from tests.conftest import set_limits

    set_limits(studio.database)
    for n in range(6):
        await studio.person(f"U{n}").slash(f"/imagine picture {n}")
    await until(lambda: len(studio.server.in_channel("C1")) == 6)
    began = time.monotonic()
    claims = [await studio.begin() for _ in range(6)]
    for step in range(1, 101):
        for claim in claims:
            await studio.tell(
                Event(type=EventType.PROGRESS, job_id=claim.job_id, step=step, steps=100)
            )
    await asyncio.sleep(1)
    took = time.monotonic() - began
    assert len(studio.server.of("chat.update")) <= 6 + 2 * took, "of six hundred"
    assert studio.server.limited == []


def test_the_budget_is_fair_and_full_of_room() -> None:
    now = 0.0
    budget = Budget(lambda: now)
    sent: dict[str, list[float]] = {}
    while now < 120:
        turn = budget.turn(("a", "b", "c", "d"))
        assert turn is not None
        if turn[1] == 0:
            budget.spend(turn[0])
            sent.setdefault(turn[0], []).append(now)
        now += 0.1
    assert budget.turn(()) is None
    assert sum(map(len, sent.values())) <= 2 * 36 + 6 + 1
    for times in sent.values():
        assert all(b - a >= 3 - 1e-6 for a, b in itertools.pairwise(times))
        assert len(times) >= 10
    budget.close(60)
    assert budget.wait("new") >= 59


async def test_a_deleted_card_is_edited_no_more_and_its_result_shown_once(
    studio: Studio, ann: Person
) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    await until(lambda: not studio.presenter._locks)
    del studio.server.messages["C1", card.ts]
    claim = await studio.begin()
    studio.presenter._budget._per_job = 0.01
    for step in (1, 2, 3):
        await studio.tell(Event(type=EventType.PROGRESS, job_id=claim.job_id, step=step, steps=20))
        await asyncio.sleep(0.3)
    tries = [c for c in studio.server.of("chat.update") if c["ts"] == card.ts]
    assert len(tries) <= 2, "no more after the first 404"
    job_id = await studio.end(claim, picture(studio.put()))
    await delivered(studio, job_id)
    assert len(results(studio)) == 1


async def test_a_channel_that_was_archived_meanwhile(studio: Studio, ann: Person) -> None:
    studio.server.break_next("chat.postMessage", "error:is_archived", times=1)
    await ann.slash("/imagine a tree")
    card = await card_in(studio, ann.direct)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    assert results(studio, ann.direct) == [card]


async def test_somebody_who_left_has_nowhere_to_get_it(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree", channel="C2")
    studio.server.people["UANN"] = {"deleted": True}
    studio.server.break_next("conversations.open", "error:user_disabled", times=9)
    job = await until(lambda: studio.database.read(lambda s: s.exec(select(Job)).first()))
    await studio.finish(picture(studio.put()))
    await until(lambda: row(studio.database, job.id).delivered_at)
    post = await studio.services.posts.get(job.id)
    assert post is None or post.state in (PostState.LOST, PostState.FINAL)
    assert sound(studio.database)


async def test_a_long_answer_comes_whole(studio: Studio, ann: Person) -> None:
    words = [f"Paragraph {n}. " + "word " * 150 for n in range(40)]
    await ann.slash("/ask Tell me everything")
    card = await card_in(studio)
    job_id = await studio.finish(answer("\n\n".join(words)))
    await delivered(studio, job_id)
    shown = "".join(m.shown() for m in studio.server.in_channel("C1"))
    for n in range(40):
        assert f"Paragraph {n}. " in shown
    rest = studio.server.in_channel("C1")[1:]
    assert len(rest) == 3
    assert all(m.thread == card.ts for m in rest)
    await ann.press(card, "delete")
    await until(lambda: len(studio.server.in_channel("C1")) == 1)
    assert "Paragraph" not in card.shown()


async def test_a_failed_job_says_so_and_what_it_cost(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    claim = await studio.begin()
    job_id = await studio.end(claim, status=JobStatus.FAILED, error_code="crashed", cost=0)
    await delivered(studio, job_id)
    assert "Nothing was charged" in card.shown()
    assert buttons(card.blocks, "reroll")


async def test_a_preview_is_shown_and_thrown_away(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    claim = await studio.begin()
    blob = studio.put("blue")
    studio.presenter._budget._per_job = 0.01
    await studio.tell(
        Event(type=EventType.PROGRESS, job_id=claim.job_id, step=5, steps=20, preview=blob)
    )
    await until(lambda: any(b["type"] == "image" for b in card.blocks))
    (first,) = studio.server.files
    job_id = await studio.end(claim, picture(studio.put()))
    await delivered(studio, job_id)
    await until(lambda: first not in studio.server.files)
    assert sum(b["type"] == "image" for b in card.blocks) == 1


async def test_a_picture_whose_bytes_are_gone_is_left_out(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    made: Made = picture("ab/" + "ab" * 16 + ".png")
    job_id = await studio.finish(made)
    await delivered(studio, job_id)
    assert buttons(card.blocks, "reroll")
    assert not any(b["type"] == "image" for b in card.blocks)


async def test_slack_may_take_its_time_with_a_picture(studio: Studio, ann: Person) -> None:
    """A block that names an unfinished file would be refused."""
    studio.server.processing = 4
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    job_id = await studio.finish(picture(studio.put()))
    await delivered(studio, job_id)
    assert any(b["type"] == "image" for b in card.blocks)
    assert len(studio.server.of("files.info")) >= 4
