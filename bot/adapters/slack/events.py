"""What Slack sends, reduced to what we need. Pure: nothing is fetched, nothing is believed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.core.attachment import Attachment
from storage.schema import Platform

_MENTION = re.compile(r"<@[UW][A-Z0-9]+(?:\|[^>]*)?>")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_SPOKEN = re.compile(r"([A-Za-z-]{2,32})(?:[:：]\s*|$)(.*)", re.DOTALL)
_LINK = re.compile(r"<((?:https?://|mailto:)[^|>]+)(?:\|([^>]*))?>")


@dataclass(frozen=True)
class Scene:
    """Who did something, and where answers to it go."""

    member: str
    name: str
    channel: str
    thread: str | None = None
    message: str | None = None
    """The message whose button was pressed or whose menu was used."""
    lasting: bool = False
    """That message is one for all, which can be redrawn: no private note, no Home tab."""
    alone: bool = False
    """The button pressed is the only one of its message."""
    response_url: str = ""
    """Takes private notes for half an hour; used for those only."""
    trigger: str = ""
    """Opens one dialogue within three seconds."""


def key_of(*parts: str) -> str:
    """A short key out of Slack's long ids: the same event gives the same key."""
    return "slack-" + hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def typed(text: str) -> str:
    """What a person typed, out of a message's text: without mentions of anybody, unescaped."""
    text = _LINK.sub(lambda m: m[2] or m[1].removeprefix("mailto:"), _MENTION.sub("", text))
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    return text.strip()


def spoken(line: str, commands: Sequence[str]) -> str:
    """A message that is a command without its slash, with it: ``imagine: a boat``, ``help``.

    Threads take no slash commands, and a message that begins with one may not even be sent.
    """
    match = _SPOKEN.match(line)
    if match is not None and match[1].lower() in commands:
        return f"/{match[1].lower()} {match[2]}".strip()
    return line


def attachment(file: Mapping[str, Any]) -> Attachment:
    """A file as Slack describes it. A link to elsewhere is marked: it is never fetched."""
    outside = bool(file.get("is_external")) or file.get("mode") == "external"
    size = file.get("size")
    return Attachment(
        platform=Platform.SLACK,
        name=str(file.get("name") or "")[:200],
        url=str(file.get("url_private_download") or file.get("url_private") or ""),
        size=size if isinstance(size, int) and size >= 0 else 0,
        content_type=str(file.get("mimetype") or ""),
        external=outside,
    )


def first_picture(files: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any] | None:
    """The first file of a message that may be a picture."""
    for file in files or []:
        kind = str(file.get("mimetype") or "")
        if kind.startswith("image/") or not kind:
            return file
    return None


def of_command(body: Mapping[str, Any]) -> Scene:
    """The scene of a slash command. They cannot be used in threads."""
    return Scene(
        member=str(body.get("user_id", "")), name=str(body.get("user_name", "")),
        channel=str(body.get("channel_id", "")),
        response_url=str(body.get("response_url", "")), trigger=str(body.get("trigger_id", "")),
    )  # fmt: skip


def of_interaction(body: Mapping[str, Any]) -> Scene:
    """The scene of a press, a shortcut or a submitted dialogue."""
    person = body.get("user") or {}
    container = body.get("container") or {}
    message = body.get("message") or {}
    rows = [b.get("elements") or () for b in message.get("blocks") or () if b["type"] == "actions"]
    channel = (body.get("channel") or {}).get("id") or container.get("channel_id") or ""
    return Scene(
        member=str(person.get("id", "")),
        name=str(person.get("username") or person.get("name") or ""),
        channel=str(channel),
        thread=message.get("thread_ts") or container.get("thread_ts"),
        message=message.get("ts") or container.get("message_ts"),
        lasting=container.get("type") == "message" and not container.get("is_ephemeral"),
        alone=sum(map(len, rows)) == 1,
        response_url=str(body.get("response_url") or ""),
        trigger=str(body.get("trigger_id") or ""),
    )


def of_any(body: Mapping[str, Any]) -> Scene | None:
    """The scene of a whole request; None where nobody waits for an answer (the Home tab, say).

    A submitted dialogue's is where the person is reached anyhow: it names no channel.
    """
    event = body.get("event")
    if isinstance(event, Mapping):
        spoken_to = event.get("type") in ("app_mention", "message") and event.get("user")
        return of_message(event) if spoken_to else None
    scene = of_command(body) if "command" in body else of_interaction(body)
    return scene if scene.member else None


def of_message(event: Mapping[str, Any]) -> Scene:
    """The scene of a message to us: answers go into its thread."""
    return Scene(
        member=str(event.get("user", "")), name="",
        channel=str(event.get("channel", "")),
        thread=str(event.get("thread_ts") or event.get("ts") or "") or None,
    )  # fmt: skip
