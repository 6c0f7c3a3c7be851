"""The stage: one server with a member, a stranger and a moderator, and the bot in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import discord
import pytest_asyncio
import simcord

from bot.adapters.discord.app import DiscordClient
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage.database import Database
from storage.queue import Wire
from tests.conftest import set_limits
from tests.discord.discord_rules import follow_the_rules
from tests.discord.stage import Stage
from tests.fakes import make_services


@pytest_asyncio.fixture
async def services(sqlite_database: Database, wire: Wire, tmp_path: Path) -> Services:
    """The real services; their clock is Discord's once the stage stands."""
    clock = StageClock()
    made = make_services(sqlite_database, wire, tmp_path, clock=clock)
    await made.prompt_gate.load()
    set_limits(sqlite_database)
    return made


class StageClock:
    """The moment on the stage, in milliseconds; moved by ``env.advance_time``."""

    env: simcord.Env | None = None

    def __call__(self) -> int:
        assert self.env is not None
        return round(self.env.now().timestamp() * 1000)


@pytest_asyncio.fixture
async def client(services: Services) -> DiscordClient:
    return DiscordClient(Core(services, COMMANDS, PRESSES), gap_s=0.02, channel_gap_s=0.01)


@pytest_asyncio.fixture
async def env(client: DiscordClient, services: Services) -> AsyncIterator[simcord.Env]:
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
    guild = env.create_guild("Orchard")
    channel = guild.create_text_channel("studio")
    keeper = guild.create_role("Keepers", permissions=discord.Permissions(manage_messages=True))
    made = Stage(
        env=env, client=client, services=services, database=sqlite_database, guild=guild,
        channel=channel,
        ann=guild.add_member(env.create_user("ann", global_name="Ann")),
        eve=guild.add_member(env.create_user("eve", global_name="Eve")),
        mod=guild.add_member(env.create_user("mo", global_name="Mo"), roles=[keeper]),
    )  # fmt: skip
    follow_the_rules(made)
    await env.advance_time(8 * 86_400)  # accounts younger than a week get no free credits
    return made
