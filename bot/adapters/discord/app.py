"""The Discord client: gateway events in, no privileged intent, everything else in its own file."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import discord
from discord import app_commands

from bot.adapters.discord.automod import AutomodReader
from bot.adapters.discord.button import PressButton
from bot.adapters.discord.catalog import Words, build
from bot.adapters.discord.desk import Desk
from bot.adapters.discord.faults import EXPECTED, fault_of
from bot.adapters.discord.forms import typed
from bot.adapters.discord.guess import Guesses
from bot.adapters.discord.ids import FORM, parse_form
from bot.adapters.discord.menus import Menus
from bot.adapters.discord.people import StandingReader, of_interaction
from bot.adapters.discord.presenter import DiscordPresenter
from bot.adapters.discord.presses import press
from bot.adapters.discord.setup import SetupControl, Wizard
from bot.adapters.discord.talk import Talk
from bot.core.command import Core
from bot.core.texts import LOCALES
from storage import removal
from storage.errors import RetryLater
from storage.schema import Platform

log = logging.getLogger(__name__)

_START = "start"
"""The dialogue of *Use as start image* in a form's id."""


def intents() -> discord.Intents:
    """What we hear: servers, and messages that mention us, answer us or are direct. None of these
    is privileged; what others say to each other is not sent to us."""
    wanted = discord.Intents.none()
    wanted.guilds = True
    wanted.guild_messages = True
    wanted.dm_messages = True
    return wanted


class DiscordClient(discord.Client):
    """Atelier on Discord. ``presenter`` is what delivery shows cards through."""

    def __init__(self, core: Core, **options: Any) -> None:
        gaps = {name: options.pop(name) for name in ("gap_s", "channel_gap_s") if name in options}
        super().__init__(
            intents=intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            max_ratelimit_timeout=30.0,
            member_cache_flags=discord.MemberCacheFlags.none(),
            max_messages=None,
            **options,
        )
        self.core = core
        self.presenter = DiscordPresenter(core.services, self, **gaps)
        self.desk = Desk(core, self.presenter)
        self.tree = app_commands.CommandTree(self)
        self.tree.error(self._failed)
        self.menus = Menus(self.desk, {info.name: info for info in core.catalog("en")})
        self._talk = Talk(self.desk)
        core.services.automod[Platform.DISCORD] = AutomodReader(self)
        core.services.standings[Platform.DISCORD] = StandingReader(self)
        guesses = Guesses(core)
        for info in core.catalog("en"):
            self.tree.add_command(build(info, self._run, guesses))
        self.wizard = Wizard(self.desk)
        self.tree.add_command(self.wizard.build())
        for menu in self.menus.build():
            self.tree.add_command(menu)

    async def setup_hook(self) -> None:
        """Buttons first, then tell Discord our commands: the same list changes nothing there."""
        self.add_dynamic_items(PressButton, SetupControl)
        await self.tree.set_translator(
            Words({locale: self.core.catalog(locale) for locale in LOCALES})
        )
        try:
            await self.tree.sync()
        except app_commands.CommandSyncFailure:
            # Our mistake, and no reason to answer nobody: those of the last start are still there.
            log.exception("Discord does not take our commands")

    async def _run(
        self, interaction: discord.Interaction[Any], command: str, values: dict[str, Any]
    ) -> None:
        """One slash command."""
        if await self.desk.acknowledge(interaction):
            await self.desk.invoke(interaction, of_interaction(interaction), command, values)

    async def pressed(
        self, interaction: discord.Interaction[Any], verb: str, target: str, *, ask: bool
    ) -> None:
        """One press of a button."""
        async with self._sorry(interaction):
            await press(self.desk, interaction, verb, target, ask=ask)

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Dialogues that come back: by their id, whether this process opened them or another."""
        if interaction.type is not discord.InteractionType.modal_submit:
            return
        async with self._sorry(interaction):
            await self._submitted(interaction)

    async def _submitted(self, interaction: discord.Interaction[Any]) -> None:
        data: Any = interaction.data or {}
        custom_id = str(data.get("custom_id", ""))
        if custom_id.startswith(f"{FORM}{_START}:"):
            await self.menus.started(interaction, custom_id.rpartition(":")[2], typed(data))
            return
        where = parse_form(custom_id)
        if where is None or not await self.desk.acknowledge(interaction):
            return
        kind, name, target = where
        scene = of_interaction(interaction)
        if kind == "command":
            await self.desk.invoke(interaction, scene, name, typed(data))
            return
        reply = await self.desk.press(interaction, scene, name, target, typed(data))
        await self.desk.answer(interaction, scene, reply)

    async def on_message(self, message: discord.Message) -> None:
        """A mention, a reply to us or a direct message is an `/ask`."""
        if self.user is not None:
            await self._talk.hear(message, self.user)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """A server put us in (again)."""
        await self._note_app(guild, there=True)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """A server took us out: noted, and nothing is deleted by it."""
        await self._note_app(guild, there=False)

    async def _note_app(self, guild: discord.Guild, *, there: bool) -> None:
        services = self.core.services
        try:
            await services.database.run(
                removal.note_app, platform=Platform.DISCORD, workspace=str(guild.id), there=there,
                now=services.clock(),
            )  # fmt: skip
        except RetryLater as error:
            log.warning("that a server changed could not be noted: %s", error)

    async def _failed(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        """What is wrong before our code is reached (a command of an older sync, say) or outside
        the core. What Discord refused is not an error of ours."""
        cause = getattr(error, "original", error)
        if isinstance(cause, EXPECTED):
            log.info("a command was not answered (%s)", fault_of(cause))
            return
        log.error("a command failed", exc_info=error)
        await self.desk.sorry(interaction)

    @asynccontextmanager
    async def _sorry(self, interaction: discord.Interaction[Any]) -> AsyncIterator[None]:
        """What Discord refuses is no error of ours; a bug is said to who waits, and goes on up."""
        try:
            yield
        except EXPECTED as error:
            log.info("an event was not answered (%s)", fault_of(error))
        except Exception:
            await self.desk.sorry(interaction)
            raise
