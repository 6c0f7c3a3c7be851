"""Finished jobs reach their place once, whatever fails in between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest
import redis.asyncio
from sqlalchemy import text

from bot.core import delivery
from bot.core.command import Handle, Venue
from bot.core.delivery import PAUSES_MS, Delivery
from bot.core.reply import Reply
from bot.core.services import Services
from storage import jobs
from storage.database import Database
from storage.errors import RetryLater
from storage.schema import Address, Event, EventType, JobStatus, Platform
from tests.conftest import START, HandClock, row, set_limits, sound
from tests.core.test_commands import BOTH, answer, finish, picture
from tests.fakes import FakeAdapter


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def test_what_ended_while_we_were_away_is_delivered_on_start(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    finish(database, (picture(None),))
    running = asyncio.create_task(Delivery(services, {Platform.FAKE: fake}).run())
    await until(lambda: row(database, job).delivered_at is not None)
    running.cancel()
    assert [reply.job_id for _, reply in fake.posted] == [job]
    assert fake.posted[0][0] == fake.address()
    assert fake.posted[0][1].status == JobStatus.SUCCEEDED


async def listening(valkey: str) -> None:
    """Until the delivery hears what is published."""
    async with redis.asyncio.Redis.from_url(valkey) as client:
        async with asyncio.timeout(60):
            while not dict(await client.pubsub_numsub("atelier:events"))[b"atelier:events"]:
                await asyncio.sleep(0.01)


async def test_an_announcement_delivers_at_once_and_the_sweep_does_not_repeat_it(
    fake: FakeAdapter,
    services: Services,
    database: Database,
    valkey: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SWEEP_S", 3_600.0)
    deliverer = Delivery(services, {Platform.FAKE: fake})
    running = asyncio.create_task(deliverer.run())
    await listening(valkey)
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    finish(database, (picture(None),))
    await services.wire.publish(Event(type=EventType.STATE, job_id=job))
    await until(lambda: bool(fake.posted))  # no sweep comes for an hour: the announcement did it
    await until(lambda: row(database, job).delivered_at is not None)
    await deliverer.sweep()
    running.cancel()
    assert len(fake.posted) == 1


async def test_a_platform_that_fails_is_tried_again_and_one_card_remains(
    fake: FakeAdapter, services: Services, database: Database, clock: HandClock
) -> None:
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    finish(database, (picture(None),))
    delivery = Delivery(services, {Platform.FAKE: fake})
    fake.fail_before = 1
    await delivery.sweep()
    assert row(database, job).delivered_at is None
    assert await delivery.sweep() == 0, "left alone for a while"
    clock.advance(PAUSES_MS[0])
    fake.fail_after = 1
    await delivery.sweep()
    assert row(database, job).delivered_at is None
    clock.advance(PAUSES_MS[0])
    assert await delivery.sweep() == 0, "and longer each time"
    clock.advance(PAUSES_MS[1])
    await delivery.sweep()
    assert row(database, job).delivered_at is not None
    assert list(fake.cards) == [job]
    await delivery.sweep()
    assert len(fake.posted) == 2, "accepted twice, shown as one card"


async def test_a_storm_on_one_job_holds_up_no_other(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    """Sixty jobs whose channel refuses, more than one look takes, and one that works."""
    set_limits(database)
    stuck = set()
    for number in range(60):
        stuck.add((await fake.say("ask", f"member-{number}", prompt="hello")).job_id)
        finish(database, (answer("hi"),))
    present = fake.present

    async def refusing(address: Address, reply: Reply) -> None:
        if reply.job_id in stuck:
            raise RetryLater("429")
        await present(address, reply)

    fake.present = refusing  # type: ignore[method-assign]
    delivery = Delivery(services, {Platform.FAKE: fake})
    await delivery.sweep()
    works = (await fake.say("ask", "zoe", prompt="hello")).job_id or ""
    finish(database, (answer("hi"),))
    await delivery.sweep()
    assert row(database, works).delivered_at is not None


async def test_ended_tokens_are_forgotten(
    fake: FakeAdapter, services: Services, clock: HandClock
) -> None:
    fake.handle = Handle(token="secret", until=clock.now + 900_000)  # type: ignore[arg-type]
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    clock.advance(900_000)
    running = asyncio.create_task(Delivery(services, {Platform.FAKE: fake}).run())
    with services.database.engine.connect() as connection:

        def stored() -> bool:
            found = connection.execute(text("SELECT count(*) FROM post WHERE token IS NOT NULL"))
            count = found.scalar_one()
            connection.rollback()
            return bool(count)

        await until(lambda: not stored())
    running.cancel()
    assert (await services.posts.get(job)).token is None  # type: ignore[union-attr]


async def test_what_could_not_be_sent_is_refused_before_it_is_paid(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    fake.venue = Venue(file_limit=500)
    refused = await fake.say("imagine", prompt="a")
    assert refused.code == "file_limit"
    assert (await fake.say("credits")).data["pending"] == 0
    fake.venue = Venue(file_limit=64 * 1024)
    assert (await fake.say("imagine", prompt="a")).code is None
    assert sound(database)


async def test_a_bad_card_does_not_stop_the_others(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    first = (await fake.say("imagine", prompt="a")).job_id or ""
    finish(database, (picture(None),))
    second = (await fake.say("imagine", prompt="b")).job_id or ""
    finish(database, (picture(None),))

    present = fake.present

    async def clumsy(address: Address, reply: Reply) -> None:
        if reply.job_id == first:
            raise ZeroDivisionError("a bug in an adapter")
        await present(address, reply)

    fake.present = clumsy  # type: ignore[method-assign]
    await Delivery(services, {Platform.FAKE: fake}).sweep()
    assert row(database, second).delivered_at is not None
    assert row(database, first).delivered_at is None


async def test_progress_and_partial_text_reach_the_card(
    fake: FakeAdapter, services: Services, database: Database, valkey: str
) -> None:
    running = asyncio.create_task(Delivery(services, {Platform.FAKE: fake}).run())
    await listening(valkey)
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    claim = database.write(jobs.claim, worker="w", room=BOTH, now=START)
    assert claim is not None
    for step in range(1, 20):
        await services.wire.publish(Event(type=EventType.PROGRESS, job_id=job, step=step, steps=20))
    await until(lambda: job in fake.cards and fake.cards[job].progress is not None)
    await until(lambda: (p := fake.cards[job].progress) is not None and p.step == 19)
    running.cancel()
    assert fake.posted == []
    assert "19" in fake.cards[job].text


async def test_another_platforms_jobs_are_left_alone(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    await fake.say("imagine", prompt="a")
    finish(database, (picture(None),))
    assert await Delivery(services, {Platform.DISCORD: fake}).sweep() == 0
    assert fake.posted == []


async def test_a_file_that_a_crash_left_behind_is_removed_at_start(
    fake: FakeAdapter, services: Services
) -> None:
    lost, fresh = services.blobs.put(b"lost", "webp"), services.blobs.put(b"fresh", "webp")
    os.utime(services.blobs.path(lost), (0, 0))
    running = asyncio.create_task(Delivery(services, {Platform.FAKE: fake}).run())
    await until(lambda: not services.blobs.path(lost).exists())
    running.cancel()
    assert services.blobs.get(fresh) == b"fresh"
