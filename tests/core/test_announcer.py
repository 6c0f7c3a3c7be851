"""One bad case, one slow card or one unwell platform keeps nothing else from its turn."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from sqlmodel import Session, select

from bot.core.announcer import LONGEST_REST_MS
from bot.core.delivery import Delivery
from bot.core.reply import Reply
from bot.core.services import Services
from storage.database import Database
from storage.errors import RetryLater
from storage.models import Workspace
from storage.schema import Address, Category, Event, EventType, Platform
from tests.conftest import HandClock
from tests.core.test_delivery import listening, until
from tests.core.test_review_walk import hold
from tests.fakes import FakeAdapter


async def cases(fake: FakeAdapter, services: Services, database: Database, count: int) -> list[str]:
    """Held pictures, and a channel where the moderators read."""
    found = []
    for number in range(count):
        job = (await fake.say("imagine", f"member{number}", prompt="a statue")).job_id or ""
        found.append(hold(database, services, job, Category.SEX).id)

    def choose(session: Session) -> None:
        space = session.exec(select(Workspace)).one()
        space.settings = space.settings | {"review_channel": "mods"}
        session.add(space)

    database.write(choose)
    return found


@pytest.fixture
def delivery(fake: FakeAdapter, services: Services) -> Delivery:
    return Delivery(services, {Platform.FAKE: fake}, {Platform.FAKE: fake})


async def test_a_case_that_cannot_be_shown_keeps_no_other_back(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    first, second = await cases(fake, services, database, 2)
    notify = fake.notify

    async def clumsy(address: Address, reply: Reply) -> None:
        if reply.data["case_id"] == first:
            raise ZeroDivisionError("a bug in an adapter")
        await notify(address, reply)

    fake.notify = clumsy  # type: ignore[method-assign]
    assert await delivery.announcer.announce_cases() == 1
    assert [reply.data["case_id"] for _, reply in fake.notices] == [second]


async def test_an_unwell_platform_is_left_alone_for_longer_and_longer(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery,
    clock: HandClock,
) -> None:  # fmt: skip
    await cases(fake, services, database, 4)
    tries: list[int] = []

    async def unwell(address: Address, reply: Reply) -> None:
        tries.append(clock())
        raise RetryLater("429")

    notify, fake.notify = fake.notify, unwell  # type: ignore[method-assign]
    for _ in range(60):  # two minutes of sweeps
        await delivery.announcer.announce_cases()
        await delivery.announcer.announce_breaches()
        clock.advance(2_000)
    assert len(tries) <= 8, "a storm of refusals is not answered with one of tries"
    gaps = [after - before for before, after in pairwise(tries)]
    assert gaps == sorted(gaps) and gaps[0] < gaps[-1], "longer and longer"
    fake.notify = notify  # type: ignore[method-assign]
    clock.advance(LONGEST_REST_MS)
    assert await delivery.announcer.announce_cases() == 4, "and nothing is lost"


async def test_a_chore_that_always_fails_keeps_no_other_from_its_turn(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    await cases(fake, services, database, 1)

    async def broken() -> int:
        raise ZeroDivisionError

    delivery.sweep = broken  # type: ignore[method-assign]
    running = asyncio.create_task(delivery.run())
    await until(lambda: len(fake.notices) == 1)
    running.cancel()


async def test_a_slow_card_does_not_stop_the_progress_of_others(
    fake: FakeAdapter, services: Services, delivery: Delivery, valkey: str
) -> None:
    slow = (await fake.say("imagine", "ann", prompt="a")).job_id or ""
    quick = (await fake.say("imagine", "bob", prompt="b")).job_id or ""
    begun, shown = asyncio.Event(), asyncio.Event()

    async def update(address: Address, reply: Reply) -> None:
        if reply.job_id == slow:
            begun.set()
            await asyncio.Event().wait()  # an upload that takes its time
        shown.set()

    fake.update = update  # type: ignore[method-assign]
    running = asyncio.create_task(delivery.run())
    await listening(valkey)

    async def tell(job: str, seen: asyncio.Event) -> None:
        async with asyncio.timeout(60):
            while not seen.is_set():  # an event is a hint, and may be lost
                await services.wire.publish(Event(type=EventType.STATE, job_id=job))
                await asyncio.sleep(0.05)

    await tell(slow, begun)
    await tell(quick, shown)
    running.cancel()
    results: list[Any] = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
