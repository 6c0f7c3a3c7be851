"""The web front end over a scripted studio: in process for most tests, on a port for a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage.database import Database
from storage.queue import Wire
from tests.conftest import HandClock
from tests.fakes import make_services
from tests.web.fakes import BASE, JSON, TOKEN, FakeStudio, make_core

expect.set_options(timeout=60_000)  # what comes, comes at once; a busy machine may take longer


@pytest.fixture
def presenter() -> WebPresenter:
    return WebPresenter()


@pytest.fixture
def studio(presenter: WebPresenter) -> FakeStudio:
    return FakeStudio(presenter)


@pytest.fixture
def app(studio: FakeStudio, presenter: WebPresenter) -> Any:
    return make_app(make_core(studio), presenter, token=TOKEN, reader=studio)


@pytest.fixture
async def stranger(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has not used the link."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


@pytest.fixture
async def page(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that came by the link, as a browser does."""
    stranger.headers["Origin"] = BASE
    answer = await stranger.get("/", params={"token": TOKEN})
    assert answer.status_code == 303
    return stranger


@pytest.fixture
async def program(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that holds the token, as a program does."""
    stranger.headers["Authorization"] = f"Bearer {TOKEN}"
    return stranger


@pytest_asyncio.fixture
async def services(
    sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock
) -> Services:
    """The real services of a studio on SQLite."""
    made = make_services(sqlite_database, wire, tmp_path, clock=clock)
    await made.prompt_gate.load()
    return made


@pytest.fixture
def real_app(services: Services, presenter: WebPresenter) -> Any:
    """The page over the real core."""
    return make_app(Core(services, COMMANDS, PRESSES), presenter, token=TOKEN)


@pytest_asyncio.fixture
async def console(real_app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A visitor of it who came by the link, asking for JSON."""
    transport = httpx.ASGITransport(app=real_app)
    headers = {"Origin": BASE} | JSON
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
        await client.get("/", params={"token": TOKEN})
        yield client
