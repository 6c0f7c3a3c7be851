"""Discord as one part of a running studio: the gateway and the editor, until stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeGuard

import discord
from pydantic import SecretStr

from bot.adapters.discord.app import DiscordClient
from bot.adapters.discord.faults import EXPECTED, Fault, fault_of
from bot.adapters.discord.invite import invite_link
from bot.core.command import Core
from bot.core.reply import Reply
from storage.errors import OperatorError, RetryLater
from storage.schema import Address

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 120.0


_BAD_TOKEN = 4004
"""Close code of the gateway: authentication failed."""


def _refused() -> OperatorError:
    return OperatorError(
        "Discord refused the token",
        "copy it anew from the application's Bot page into ATELIER_DISCORD_TOKEN, or "
        "unset it (atelier doctor says more)",
    )


def _is_limit(error: BaseException) -> TypeGuard[discord.RateLimited]:
    return isinstance(error, discord.RateLimited)


class DiscordPart:
    """The real Discord, by token, over the gateway; a presenter that keeps itself connected."""

    def __init__(self, core: Core, token: SecretStr, say: Callable[[str], None]) -> None:
        self._say = say
        self._token = token
        self._client = DiscordClient(core)
        self._presenter = self._client.presenter

    async def present(self, address: Address, reply: Reply) -> None:
        """Show a finished job's card. Raises ``RetryLater``, before we are connected too."""
        if not self._client.is_ready():
            raise RetryLater("Discord is not connected yet")
        await self._presenter.present(address, reply)

    async def update(self, address: Address, reply: Reply) -> None:
        """Show progress, coalesced."""
        await self._presenter.update(address, reply)

    async def notify(self, address: Address, reply: Reply) -> None:
        """Post into a channel. Raises ``RetryLater``, before we are connected too."""
        if not self._client.is_ready():
            raise RetryLater("Discord is not connected yet")
        await self._presenter.notify(address, reply)

    async def run(self) -> None:
        """Connect, stay connected, edit cards. Raises ``OperatorError`` for a refused token.

        Without a network it tries again and again: the page and the worker go on meanwhile.
        """
        editor = asyncio.create_task(self._presenter.editor.run(), name="discord editor")
        try:
            await self._connect()
        finally:
            editor.cancel()
            await asyncio.gather(editor, return_exceptions=True)

    async def _connect(self) -> None:
        pause = _FIRST_PAUSE_S
        try:
            while True:
                try:
                    await self._client.login(self._token.get_secret_value())
                    break
                except EXPECTED as error:
                    if fault_of(error) is not Fault.WAIT:
                        raise
                    log.warning("Discord cannot be reached (%s)", type(error).__name__)
                    wait = max(pause, error.retry_after) if _is_limit(error) else pause
                    self._say(f"Discord cannot be reached; trying again in {wait:.0f} s.")
                    await asyncio.sleep(wait)
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
            application = self._client.application_id
            if application is not None:
                self._say(f"Discord: connected. Add it to a server: {invite_link(application)}")
            await self._client.connect(reconnect=True)
        except discord.LoginFailure as error:
            raise _refused() from error
        except discord.ConnectionClosed as error:
            # What is left after all reconnecting: the token was reset meanwhile, or a limit.
            if error.code == _BAD_TOKEN:
                raise _refused() from error
            raise OperatorError(
                f"Discord closed the connection for good (code {error.code})",
                "look the code up under Gateway Close Event Codes in Discord's documentation",
            ) from error
        finally:
            if not self._client.is_closed():
                await self._client.close()
