"""The stage: one server with a member, a stranger, a moderator and an admin, and the bot in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
import simcord

from bot.adapters.discord.app import DiscordClient
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage.database import Database
from storage.queue import Wire
from tests.conftest import set_limits
from tests.discord.stage import Stage, StageClock, build_stage
from tests.fakes import make_services


@pytest_asyncio.fixture
async def services(sqlite_database: Database, wire: Wire, tmp_path: Path) -> Services:
    """The real services; their clock is Discord's once the stage stands."""
    made = make_services(sqlite_database, wire, tmp_path, clock=StageClock())
    await made.prompt_gate.load()
    set_limits(sqlite_database)
    return made


@pytest_asyncio.fixture
async def client(services: Services) -> DiscordClient:
    return DiscordClient(Core(services, COMMANDS, PRESSES), gap_s=0.02, channel_gap_s=0.01)


@pytest_asyncio.fixture
async def env(client: DiscordClient, services: Services) -> AsyncIterator[simcord.Env]:
    """The simulated Discord; what the bot swallows fails the test."""
    world = simcord.Env(client, settle_timeout=10.0)
    clock: Any = services.clock
    clock.env = world
    await world.start()
    try:
        yield world
    finally:
        await world.shutdown()
        world._raise_errors_since(world._errors_acknowledged)


@pytest_asyncio.fixture
async def stage(
    env: simcord.Env, client: DiscordClient, services: Services, sqlite_database: Database
) -> Stage:
    return await build_stage(env, client, services, sqlite_database)
