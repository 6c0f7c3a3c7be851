"""The real core on SQLite: an attack does not care which database it fails on."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage.database import Database
from storage.queue import Wire
from tests.conftest import HandClock
from tests.fakes import FakeAdapter, make_services


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    return sqlite_database


@pytest_asyncio.fixture
async def services(
    sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock
) -> Services:
    made = make_services(sqlite_database, wire, tmp_path, clock=clock)
    await made.prompt_gate.load()
    return made


@pytest.fixture
def fake(services: Services) -> FakeAdapter:
    return FakeAdapter(core=Core(services, COMMANDS, PRESSES))
