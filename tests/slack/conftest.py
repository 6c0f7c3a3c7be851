"""The whole bot on a Slack of our own: real core, Valkey and SQLite, real Bolt, real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image
from pydantic import SecretStr

from bot.adapters.slack.app import Keys, SlackPart
from bot.adapters.slack.presenter import SlackPresenter
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.delivery import Delivery
from bot.core.services import Services
from storage import endings, jobs
from storage.database import Database
from storage.endings import Ending
from storage.jobs import Made
from storage.queue import Wire
from storage.schema import Event, EventType, JobKind, JobStatus, Platform
from tests.conftest import START
from tests.fakes import make_services
from tests.slack.person import Person, until
from tests.slack.server import SlackServer
from tests.slack.world import APP_TOKEN, BOT_TOKEN

BOTH = {JobKind.IMAGE: 4, JobKind.CHAT: 4}


@dataclass
class Studio:
    """A running bot, and the hand of a worker."""

    server: SlackServer
    services: Services
    core: Core
    part: SlackPart
    running: list[asyncio.Task[None]]

    @property
    def database(self) -> Database:
        return self.services.database

    @property
    def presenter(self) -> SlackPresenter:
        assert self.part._presenter is not None
        return self.part._presenter

    def person(self, id: str = "UANN", channel: str = "C1") -> Person:
        return Person(self.server, id, channel)

    async def begin(self) -> jobs.Claim:
        """A worker takes the next job."""
        claim = self.database.write(jobs.claim, worker="w", room=BOTH, now=START)
        assert claim is not None
        await self.tell(Event(type=EventType.STATE, job_id=claim.job_id))
        return claim

    async def end(self, claim: jobs.Claim, *made: Made, **ending: object) -> str:
        """The worker is done with it."""
        wish = Ending(**({"status": JobStatus.SUCCEEDED, "made": made, "cost": 1} | ending))  # type: ignore[arg-type]
        assert self.database.write(
            endings.end_job, claim.job_id, claim.fence, wish, now=START + 900
        )
        await self.tell(Event(type=EventType.STATE, job_id=claim.job_id))
        return claim.job_id

    async def finish(self, *made: Made, **ending: object) -> str:
        """A worker takes the next job and is done with it."""
        return await self.end(await self.begin(), *made, **ending)

    async def tell(self, event: Event) -> None:
        await self.services.wire.publish(event)

    async def say(self, job_id: str, text: str, shown: Callable[[], object]) -> None:
        """The worker released this much of an answer; said again until it is seen, as it would
        be with the next sentence (an event may be lost: it is a hint)."""
        async with asyncio.timeout(60):
            while not shown():
                await self.tell(Event(type=EventType.TEXT, job_id=job_id, text=text))
                await asyncio.sleep(0.1)

    def put(self, colour: str = "red", size: int = 64) -> str:
        """A picture in the blob store."""
        import io

        out = io.BytesIO()
        Image.new("RGB", (size, size), colour).save(out, "PNG")
        return self.services.blobs.put(out.getvalue(), "png")

    async def die(self) -> None:
        """Kill the bot: nothing is finished or closed in good order by our own code."""
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


@asynccontextmanager
async def run_bot(
    server: SlackServer, services: Services, api: str, **keys: object
) -> AsyncIterator[Studio]:
    """One life of the bot."""
    core = Core(services, COMMANDS, PRESSES)
    chosen: dict[str, object] = keys or {"app_token": SecretStr(APP_TOKEN)}
    part = SlackPart(
        core, Keys(bot_token=SecretStr(BOT_TOKEN), api=api, **chosen), lambda line: None
    )  # type: ignore[arg-type]
    running = [
        asyncio.create_task(part.run()),
        asyncio.create_task(Delivery(services, {Platform.SLACK: part}).run()),
    ]
    studio = Studio(server, services, core, part, running)
    try:
        if "signing_secret" in keys:
            await until(lambda: part.port)
        else:
            await asyncio.wait_for(server.connected.wait(), 60)
        await until(lambda: part._presenter)
        yield studio
    finally:
        await studio.die()


def quick_clock(times: float = 20.0) -> Callable[[], int]:
    """Our clock, running fast: what waits a minute in life waits three seconds here."""
    began = time.monotonic()
    return lambda: START + int((time.monotonic() - began) * 1000 * times)


@pytest_asyncio.fixture
async def services(sqlite_database: Database, wire: Wire, tmp_path: Path) -> Services:
    made = make_services(sqlite_database, wire, tmp_path, clock=quick_clock())
    await made.prompt_gate.load()
    return made


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SlackServer]:
    """A Slack that must not have seen a single fault when the test is over."""
    made = SlackServer()
    await made.start()
    yield made
    await made.stop()
    assert made.faults == []


@pytest_asyncio.fixture
async def studio(server: SlackServer, services: Services) -> AsyncIterator[Studio]:
    async with run_bot(server, services, f"{server.url}/api/") as running:
        yield running


@pytest.fixture
def ann(studio: Studio) -> Person:
    return studio.person("UANN")


@pytest.fixture
def bob(studio: Studio) -> Person:
    return studio.person("UBOB")
