"""Live updates: bounded, newest wins, and nothing lost when a page comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bot.adapters.web.live import CAPACITY, WebPresenter, events
from bot.core.reply import Progress, Reply
from storage.schema import JobStatus
from tests.web.fakes import ADDRESS


def reply(job: str, step: int = 0, status: JobStatus = JobStatus.RUNNING) -> Reply:
    return Reply(job_id=job, status=status, progress=Progress(step=step, steps=20))


def step_of(item: Reply) -> str:
    return str(item.progress.step if item.progress else "")


async def take(stream: Any, count: int) -> list[dict[str, str]]:
    async with asyncio.timeout(60):
        return [await anext(stream) for _ in range(count)]


async def test_the_newest_reply_of_each_job_wins(presenter: WebPresenter) -> None:
    with presenter.subscribe(presenter.cursor) as page:
        for step in range(50):
            await presenter.update(ADDRESS, reply("a", step))
            await presenter.update(ADDRESS, reply("b", step))
        assert len(page.waiting) == 2
        changes = page.changes()
        got = [await anext(changes) for _ in range(2)]
    assert [c.reply.job_id for c in got if c.reply] == ["a", "b"]
    assert [step_of(c.reply) for c in got if c.reply] == ["49", "49"]


async def test_a_page_that_missed_nothing_is_not_told_to_reread(presenter: WebPresenter) -> None:
    stream = events(presenter, presenter.cursor, step_of)
    waiting = asyncio.ensure_future(take(stream, 1))
    await asyncio.sleep(0.01)
    await presenter.update(ADDRESS, reply("a", 3))
    [event] = await waiting
    assert event["event"] == "card"
    assert event["data"] == "3"
    assert event["id"] == presenter.cursor


async def test_a_page_that_missed_something_rereads_first(presenter: WebPresenter) -> None:
    seen = presenter.cursor
    await presenter.update(ADDRESS, reply("a"))  # nobody was listening
    [event] = await take(events(presenter, seen, step_of), 1)
    assert event["event"] == "resync"
    assert event["id"] == presenter.cursor


async def test_after_a_restart_every_page_rereads(presenter: WebPresenter) -> None:
    old = WebPresenter().cursor
    [event] = await take(events(presenter, old, step_of), 1)
    assert event["event"] == "resync"
    assert json.loads(event["data"]) == {}


async def test_a_page_that_reads_too_slowly_rereads(presenter: WebPresenter) -> None:
    with presenter.subscribe(presenter.cursor) as page:
        for number in range(CAPACITY * 3):
            await presenter.update(ADDRESS, reply(f"job{number}"))
        assert len(page.waiting) <= CAPACITY
        first = await anext(page.changes())
        assert first.reply is None


async def test_a_finished_card_is_shown_twice_as_one(presenter: WebPresenter) -> None:
    with presenter.subscribe(presenter.cursor) as page:
        done = reply("a", status=JobStatus.SUCCEEDED)
        await presenter.present(ADDRESS, done)
        await presenter.present(ADDRESS, done)
        assert len(page.waiting) == 1


async def test_pages_come_and_go(presenter: WebPresenter) -> None:
    with presenter.subscribe(), presenter.subscribe() as second:
        assert presenter.listeners == 2
        presenter.close()
        assert second.closed
    assert presenter.listeners == 0
    await presenter.update(ADDRESS, reply("a"))  # nobody there: not an error


async def test_close_ends_every_stream(presenter: WebPresenter) -> None:
    stream = events(presenter, presenter.cursor, step_of)
    waiting = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0.01)
    presenter.close()
    assert await asyncio.wait_for(waiting, 60) is None


async def test_a_program_listens_to_one_job(presenter: WebPresenter) -> None:
    stream = events(presenter, presenter.cursor, step_of, wanted="b")
    waiting = asyncio.ensure_future(take(stream, 1))
    await asyncio.sleep(0.01)
    await presenter.update(ADDRESS, reply("a", 1))
    await presenter.update(ADDRESS, reply("b", 2))
    [event] = await waiting
    assert event["data"] == "2"
