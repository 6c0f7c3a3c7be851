"""Discord without Discord: the real client over simcord, on a page of this machine.

For a server's owner who wants to feel it before creating an application. Everything but Discord
itself is real: the commands, the core, the queue, the models, the checks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import simcord
from simcord.backend.errors import SetupError

from bot.adapters.discord.app import DiscordClient
from bot.core.command import Core
from bot.core.reply import Reply
from storage.schema import Address

log = logging.getLogger(__name__)

PORT = 8643
_LOOK_S = 0.4
_OLD = timedelta(days=400)
"""Accounts on the stage are not new: new ones get no free credits."""


class PretendPart:
    """Discord's part of a studio whose Discord is a simulation with a page to look at it."""

    def __init__(
        self, core: Core, say: Callable[[str], None], *, locale: str = "en-US", port: int = PORT
    ) -> None:
        self._say = say
        self._locale = locale
        self._port = port
        self._client = DiscordClient(core)
        self._env = simcord.Env(self._client, settle_timeout=20.0, check_errors=False)

    async def present(self, address: Address, reply: Reply) -> None:
        """Show a finished card: called from outside the simulation, done inside it."""
        with self._env.time_context():
            await self._client.presenter.present(address, reply)

    async def update(self, address: Address, reply: Reply) -> None:
        """Show progress."""
        with self._env.time_context():
            await self._client.presenter.update(address, reply)

    async def notify(self, address: Address, reply: Reply) -> None:
        """Post into a channel."""
        with self._env.time_context():
            await self._client.presenter.notify(address, reply)

    async def run(self) -> None:
        """Open the stage and keep its page fresh until cancelled."""
        env = self._env
        clock: Any = env.backend.clock
        clock._epoch = datetime.now(UTC) - _OLD
        env.backend.bot_user.name = "Atelier"
        await env.start()
        editor = asyncio.create_task(self._edit(), name="discord editor")
        try:
            _speak(env, self._locale)
            guild = env.create_guild("Orchard" if self._locale == "en-US" else "果园")
            channel = guild.create_text_channel("studio")
            keeper = guild.create_role(
                "Moderators", permissions=discord.Permissions(manage_messages=True)
            )
            owner = env.create_user("you", global_name="You")
            viewers = [
                guild.add_member(owner),
                guild.add_member(env.create_user("ann", global_name="Ann")),
                guild.add_member(env.create_user("mo", global_name="Mo"), roles=[keeper]),
            ]
            clock.elapsed = _OLD.total_seconds()
            async with env.preview(
                channel, viewers=viewers, layout="channel", locale=self._locale, port=self._port
            ) as page:
                self._say(f"Discord, pretended: {page.url}")
                await self._keep_fresh(page)
        finally:
            editor.cancel()
            await asyncio.gather(editor, return_exceptions=True)
            await env.shutdown()

    async def _edit(self) -> None:
        with self._env.time_context():
            await self._client.presenter.editor.run()

    async def _keep_fresh(self, page: Any) -> None:
        """Move the stage's clock with ours, and show what changed."""
        env = self._env
        loop = asyncio.get_running_loop()
        seen, last = 0, loop.time()
        while True:
            await asyncio.sleep(_LOOK_S)
            now = loop.time()
            try:
                await env.advance_time(now - last)
                last = now
                if len(env.backend.transcript) != seen:
                    seen = len(env.backend.transcript)
                    await page.refresh()
            except (SetupError, TimeoutError):
                continue  # somebody is pressing something just now


def _speak(env: simcord.Env, locale: str) -> None:
    """Let everybody's Discord be in one language; simcord's is English otherwise."""
    backend: Any = env.backend
    emit = backend.emit

    def emitted(name: str, payload: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "INTERACTION_CREATE":
            payload["locale"] = locale
        return emit(name, payload, *args, **kwargs)

    backend.emit = emitted
