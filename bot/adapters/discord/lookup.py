"""Finding a card again whose sending was begun by a process that did not live to note where."""

from __future__ import annotations

from typing import Any

import discord

from bot.adapters.discord.faults import EXPECTED

_LOOK_BACK = 50
"""Messages of a channel looked through: a crash and its restart are seconds apart."""


async def find_card(client: discord.Client, channel: int, job_id: str) -> int | None:
    """The newest message of ours in a channel that names this job (its buttons do), or None.

    Discord itself drops a second message with the same nonce for some minutes; this is for a
    longer absence. Without the right to read the channel's history there is nothing to find.
    """
    try:
        async for message in client.get_partial_messageable(channel).history(limit=_LOOK_BACK):
            if client.user is None or message.author.id != client.user.id:
                continue
            if any(job_id in said for said in told(message.components)):
                return message.id
    except EXPECTED:
        return None
    return None


def told(components: Any) -> list[str]:
    """Every ``custom_id`` and text in a message's components, however deep."""
    found: list[str] = []
    for component in components:
        for name in ("custom_id", "content"):
            if isinstance(own := getattr(component, name, None), str):
                found.append(own)
        found += told(getattr(component, "children", ()))
    return found
