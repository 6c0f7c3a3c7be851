"""The real core over a real database and a real Valkey, spoken to by a fake platform."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from moderation.build import prompt_pipeline
from storage.blobs import Blobs
from storage.database import Database
from storage.queue import Wire
from storage.registry import load_registry
from tests.conftest import HandClock
from tests.fakes import FakeAdapter


@pytest_asyncio.fixture
async def services(database: Database, wire: Wire, tmp_path: Path, clock: HandClock) -> Services:
    gate = prompt_pipeline()
    await gate.load()
    return Services(
        database=database, wire=wire, blobs=Blobs(tmp_path / "blobs"), registry=load_registry(),
        prompt_gate=gate, clock=clock,
    )  # fmt: skip


@pytest.fixture
def fake(services: Services) -> FakeAdapter:
    return FakeAdapter(core=Core(services, COMMANDS, PRESSES))
