"""What we ask of a server, and the link that asks for it. Pure."""

from __future__ import annotations

import base64
import binascii
import re

import discord

_TOKEN = re.compile(
    r"([A-Za-z0-9_-]{20,40})\.([A-Za-z0-9_-]{6,7})\.([A-Za-z0-9_-]{27,50})", re.ASCII
)


def needed_permissions() -> discord.Permissions:
    """The least that everything works with; nothing that could hurt a server."""
    return discord.Permissions(
        view_channel=True,
        send_messages=True,
        send_messages_in_threads=True,
        attach_files=True,
        embed_links=True,
        read_message_history=True,
    )


def invite_link(application: int) -> str:
    """Where a server's owner adds the application with those rights and its commands."""
    return discord.utils.oauth_url(
        application,
        permissions=needed_permissions(),
        scopes=("bot", "applications.commands"),
    )


def application_of(token: str) -> int | None:
    """The application's id inside a bot token; None when it has not a token's shape at all.

    A client secret, a public key or an application id pasted by mistake is told apart without
    asking anybody.
    """
    match = _TOKEN.fullmatch(token.strip())
    if match is None:
        return None
    head = match[1]
    try:
        number = base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return int(number) if number.isdecimal() else None
