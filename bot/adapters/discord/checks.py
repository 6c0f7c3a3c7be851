"""What `atelier doctor` can find out about Discord: the token's shape, then what Discord says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import discord

from bot.adapters.discord.invite import application_of, invite_link

ASK_S = 6.0
"""Longest that asking Discord may take."""


@dataclass(frozen=True)
class Check:
    """One finding: ``level`` is ``ok``, ``note`` or ``bad``; no secret is in any text."""

    level: str
    says: str
    cure: str = ""


async def check(token: str, *, ask: bool = True) -> list[Check]:
    """The findings about a bot token. Never raises. ``ask=False`` stays off the network."""
    application = application_of(token)
    if application is None:
        return [
            Check(
                "bad",
                "ATELIER_DISCORD_TOKEN has not the shape of a bot token (three parts with dots)",
                "use the token of the application's Bot page, not its id, public key or secret",
            )
        ]
    found = [Check("ok", f"the token belongs to application {application}")]
    if ask:
        found += await _ask(token, application)
    return found


async def _ask(token: str, application: int) -> list[Check]:
    client = discord.Client(intents=discord.Intents.none())
    try:
        async with asyncio.timeout(ASK_S):
            await client.login(token)
            info = await client.application_info()
            servers = info.approximate_guild_count
    except discord.LoginFailure:
        return [
            Check(
                "bad",
                "Discord refused the token",
                "reset it on the application's Bot page and copy the new one",
            )
        ]
    except (aiohttp.ClientError, discord.HTTPException, TimeoutError, OSError):
        return [
            Check(
                "note",
                "Discord cannot be asked from here",
                "check the network of this machine; nothing else was found",
            )
        ]
    finally:
        await client.close()
    name = client.user.name if client.user is not None else "?"
    found = [Check("ok", f"signed in as {name}; no privileged intent is needed")]
    if not servers:
        found.append(Check("note", "it is on no server yet", f"open {invite_link(application)}"))
    else:
        found.append(
            Check("ok", f"it is on {servers} servers (invite: {invite_link(application)})")
        )
    if info.bot_require_code_grant:
        found.append(
            Check(
                "bad",
                "the application requires an OAuth2 code grant, so nobody can add it by its link",
                "switch off Requires OAuth2 Code Grant on its Bot page",
            )
        )
    return found
