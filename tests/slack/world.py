"""What a Slack of the tests holds: people, messages, files, views, and each fault it has seen."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

BOT_TOKEN = "xoxb-1-canary-bot"
APP_TOKEN = "xapp-1-canary-app"
WORKSPACE = "T0000WORK"
STREAM_LIFE_S = 300.0
ALL_SCOPES = frozenset(
    {
        "app_mentions:read", "assistant:write", "chat:write", "commands", "files:read",
        "files:write", "im:history", "im:write", "usergroups:read", "users:read",
    }
)  # fmt: skip


class Refused(Exception):
    """An answer with ok: false."""


@dataclass
class Stored:
    """A message as a client shows it."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread: str | None = None
    streaming: bool = False
    started: float = 0.0
    edits: int = 0
    finished_by_reader: bool = False

    def shown(self) -> str:
        """All its words."""
        return self.text + json.dumps(self.blocks, ensure_ascii=False)


@dataclass
class File:
    """An uploaded file; ``looks`` counts how often it was asked for before it was ready."""

    id: str
    name: str
    alt: str
    data: bytes = b""
    done: bool = False
    looks: int = 0


@dataclass
class Trouble:
    """What happens to the next calls of a method: ``before`` or ``after`` Slack took them."""

    kind: str
    times: int
    retry_after: int = 0


@dataclass
class World:
    """See the module."""

    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    channels: set[str] = field(default_factory=lambda: {"C1"})
    """Channels that have the bot."""
    scopes: frozenset[str] = ALL_SCOPES
    clock: Callable[[], float] = time.monotonic
    processing: int = 1
    """Looks at a file before it is ready."""
    knows_repeats: bool = False
    """Whether the same ``client_msg_id`` is the same message: likely, but not promised."""
    unlimited: bool = False
    trigger_life: float = 30.0
    """Three seconds in life; a loaded test machine gets more patience."""

    def __post_init__(self) -> None:
        self.messages: dict[tuple[str, str], Stored] = {}
        self.posted: dict[tuple[str, str], str] = {}
        """Channel and ``client_msg_id`` of each message that had one, to its ts."""
        self.ephemeral: list[dict[str, Any]] = []
        self.views: dict[str, dict[str, Any]] = {}
        self.homes: dict[str, dict[str, Any]] = {}
        self.files: dict[str, File] = {}
        self.described: dict[str, dict[str, Any]] = {}
        """Files of other people, as Slack describes them."""
        self.sessions: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.prompts: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[str] = []
        self.trouble: dict[str, Trouble] = {}
        self.limited: list[str] = []
        self.downloads: list[tuple[str, str | None]] = []
        self._count = itertools.count(1)
        self._windows: dict[str, deque[float]] = defaultdict(deque)
        self._triggers: dict[str, float] = {}
        self._urls: dict[str, int] = {}
        self.hang_up: set[str] = set()
        """Response URLs whose line drops."""
        self._socket: web.WebSocketResponse | None = None
        self._acks: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.connected = asyncio.Event()
        self.url = ""
        self._runner: web.AppRunner | None = None

    def break_next(self, method: str, kind: str, times: int = 1, retry_after: int = 0) -> None:
        """``before``: a 500; ``after``: taken, then the line drops; ``429``; ``error:code``."""
        self.trouble[method] = Trouble(kind, times, retry_after)

    def trigger(self) -> str:
        """A trigger that opens one dialogue within three seconds."""
        made = f"{next(self._count)}.{WORKSPACE}.trigger"
        self._triggers[made] = self.clock()
        return made

    def response_url(self) -> str:
        made = f"{self.url}/api/hooks/{next(self._count)}"
        self._urls[made] = 0
        return made

    def event_id(self) -> str:
        return f"Ev{next(self._count):08d}"

    def add_file(self, **facts: Any) -> dict[str, Any]:
        """A file somebody else shared, as events describe it."""
        file = File(id=f"F{next(self._count):09d}", name=facts.get("name", "cat.png"), alt="")
        file.done = True
        self.files[file.id] = file
        described = {
            "id": file.id, "name": file.name, "mimetype": "image/png", "size": 1000,
            "url_private_download": f"https://files.slack.com/files-pri/T1-{file.id}/download/x.png",
            "url_private": f"https://files.slack.com/files-pri/T1-{file.id}/x.png",
            "is_external": False, "mode": "hosted",
        } | facts  # fmt: skip
        self.described[file.id] = described
        return described

    def ts(self) -> str:
        return f"1900000000.{next(self._count):06d}"

    def of(self, method: str) -> list[dict[str, Any]]:
        """The arguments of each call of a method."""
        return [arguments for name, arguments in self.calls if name == method]

    def in_channel(self, channel: str) -> list[Stored]:
        return [m for (where, _), m in self.messages.items() if where == channel]

    def fault(self, *faults: str) -> None:
        self.faults += faults

    def may_write(self, channel: str) -> None:
        if not channel.startswith("D") and channel not in self.channels:
            raise Refused("not_in_channel" if channel.startswith("C") else "channel_not_found")
