"""Slack, played by a server in the test: real Bolt, real sockets, its documented limits."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from bot.adapters.slack.buttons import pressed
from bot.adapters.slack.manifest import manifest
from bot.core.services import Services
from storage.schema import Event, EventType, Platform
from tests.drivers import Card
from tests.slack.conftest import Studio, run_bot
from tests.slack.person import Person
from tests.slack.server import SlackServer
from tests.slack.world import Stored

_ACTIVE = re.compile(r"<(?:[@#]|!(?!date\^)|https?:)[^>]*>")
"""What Slack makes a mention or a link of; a bare @here needs ``link_names``, which its rules in
tests/slack/rules.py refuse."""


class SlackDriver:
    """See :class:`tests.drivers.Driver`."""

    name = "slack"
    platform = Platform.SLACK
    boss = "boss"

    def __init__(self, server: SlackServer, services: Services, stack: AsyncExitStack) -> None:
        self.server = server
        self.services = services
        self.stack = stack
        self.studio: Studio | None = None
        self.last: dict[str, Any] = {}
        self.busy = 0
        """What the bot is doing for somebody right now."""

    async def begin(self) -> None:
        made = run_bot(self.server, self.services, f"{self.server.url}/api/")
        self.studio = await self.stack.enter_async_context(made)
        for name in ("first_sight", "typed", "invoke", "press"):
            desk = self.studio.part._desk
            object.__setattr__(desk, name, self._counted(getattr(desk, name)))  # it is frozen

    def _counted(self, act: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any, **more: Any) -> Any:
            self.busy += 1
            try:
                return await act(*args, **more)
            finally:
                self.busy -= 1

        return counted

    def _person(self, who: str) -> Person:
        return Person(self.server, f"U{who.upper()}", "C1")

    async def _quiet(self) -> None:
        """Wait until nothing is being done for anybody, Slack has heard nothing new for a moment
        and every card's place is noted."""
        still = 0
        before = -1
        async with asyncio.timeout(60):
            while still < 6:
                calls = len(self.server.calls) + len(self.server.ephemeral)
                noted = not await self.services.database.look(_unnoted)
                quiet = calls == before and noted and not self.busy
                still = still + 1 if quiet else 0
                before = calls
                await asyncio.sleep(0.03)

    async def use(self, command: str, who: str = "ann", **values: Any) -> None:
        main = values.pop("prompt", values.pop("job", ""))
        if "member" in values:
            values["member"] = f"<@{self._person(values['member']).id}>"
        options = " ".join(
            f'{name}:"{value}"' if " " in str(value) else f"{name}:{value}"
            for name, value in values.items()
        )
        line = f"/{command} {main} {options}".strip()
        self.last = await self._person(who).slash(line)
        await self._quiet()

    async def repeat(self) -> None:
        await self.server.push("slash_commands", self.last)
        await self._quiet()

    async def press(self, card: Card, verb: str, who: str = "ann") -> None:
        target = next(t for v, t in card.buttons if v == verb)
        message = self._message(card)
        action = next(a for a in _actions(message) if pressed(a) == (verb, target))
        await self._person(who).act(action, message)
        await self._quiet()

    async def forge(self, card: Card, verb: str, target: str, who: str = "ann") -> None:
        message = self._message(card)
        action = dict(_actions(message)[0])
        action |= {"action_id": f"press.{verb}.9", "value": target or " "}
        await self._person(who).act(action, message)
        await self._quiet()

    def _message(self, card: Card) -> Stored:
        return next(m for m in self._messages() if _buttons(m) == card.buttons)

    def _messages(self) -> list[Stored]:
        return self.server.in_channel("C1")

    async def cards(self) -> list[Card]:
        await self._quiet()
        return [
            Card(m.shown(), _buttons(m), json.dumps(m.blocks).count('"slack_file"'))
            for m in self._messages()
        ]

    async def notes(self, who: str) -> list[str]:
        opened = [json.dumps(v, ensure_ascii=False) for v in self.server.views.values()]
        return self._person(who).notes() + opened

    async def deliver(self, times: int = 1) -> None:
        for _ in range(times):
            for job in await self.services.database.look(_ended):
                await self.services.wire.publish(Event(type=EventType.STATE, job_id=job))
            await self._quiet()

    async def restart(self) -> None:
        assert self.studio is not None
        await self.studio.die()
        self.server.connected.clear()
        await self.begin()

    def offered(self) -> set[str]:
        assert self.studio is not None
        commands = manifest(self.studio.core.catalog("en"))["features"]["slash_commands"]
        return {command["command"].removeprefix("/") for command in commands}

    def pings(self, card: Card) -> bool:
        message = self._message(card)
        marked = [message.text, *_marked(message.blocks)]
        return any(_ACTIVE.search(text) for text in marked)


def _marked(node: Any) -> list[str]:
    """Texts in which Slack reads markup, and elements that are mentions or links themselves.

    The text of a rich text element is shown as it is.
    """
    if isinstance(node, list):
        return [text for item in node for text in _marked(item)]
    if not isinstance(node, dict):
        return []
    if node.get("type") in ("user", "usergroup", "broadcast", "link", "channel"):
        return ["<@element>"]
    if node.get("type") in ("mrkdwn", "markdown"):
        return [str(node.get("text", ""))]
    return [text for value in node.values() for text in _marked(value)]


def _unnoted(session: Any) -> int:
    """Cards whose message is not in the database yet: a bot that dies now would post another."""
    from sqlmodel import select

    from storage.models import Post

    return len(session.exec(select(Post.job_id).where(Post.state == "waiting")).all())


def _ended(session: Any) -> list[str]:
    from sqlmodel import col, select

    from storage.models import Job
    from storage.schema import TERMINAL_STATUSES

    return list(session.exec(select(Job.id).where(col(Job.status).in_(TERMINAL_STATUSES))))


def _actions(message: Stored) -> list[dict[str, Any]]:
    rows = [b for b in message.blocks if b["type"] == "actions"]
    return [e for row in rows for e in row["elements"] if e["type"] == "button"]


def _buttons(message: Stored) -> tuple[tuple[str, str], ...]:
    return tuple(found for action in _actions(message) if (found := pressed(action)) is not None)


@asynccontextmanager
async def driving(services: Services) -> AsyncIterator[SlackDriver]:
    """A workspace with ann, eve and the bot in it."""
    server = SlackServer()
    await server.start()
    server.people["UBOSS"] = {"is_admin": True}
    async with AsyncExitStack() as stack:
        driver = SlackDriver(server, services, stack)
        await driver.begin()
        yield driver
    await server.stop()
