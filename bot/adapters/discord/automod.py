"""A server's own AutoMod rules, read where our role may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import discord

from bot.adapters.discord.faults import EXPECTED
from storage.errors import NotAllowed, RetryLater
from storage.schema import Address


class AutomodReader:
    """Reads a server's rules: one call of the API, nothing is changed there."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def __call__(self, address: Address) -> Sequence[Mapping[str, Any]]:
        """The rules as the API writes them.

        Raises ``NotAllowed('automod_forbidden')`` without the permission *Manage Server*, and
        ``RetryLater`` when Discord is unwell.
        """
        try:
            number = int(address.workspace) if address.workspace.isdecimal() else 0
            guild = self._client.get_guild(number)
            if guild is None:
                raise NotAllowed("automod_forbidden")
            rules = await guild.fetch_automod_rules()
        except (discord.Forbidden, discord.NotFound) as error:
            raise NotAllowed("automod_forbidden") from error
        except EXPECTED as error:
            raise RetryLater("AutoMod rules could not be read now") from error
        return [
            {
                "name": rule.name, "enabled": rule.enabled,
                "trigger_type": rule.trigger.type.value,
                "trigger_metadata": rule.trigger.to_metadata_dict(),
            }
            for rule in rules
        ]  # fmt: skip
