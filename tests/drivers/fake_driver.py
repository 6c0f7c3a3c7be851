"""The fake platform: replies as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core, Invocation
from bot.core.delivery import Delivery
from bot.core.reply import Reply
from bot.core.services import Services
from storage.schema import Platform
from tests.drivers import Card
from tests.fakes import FakeAdapter


class FakeDriver:
    """See :class:`tests.drivers.Driver`."""

    name = "fake"
    platform = Platform.FAKE
    boss = "boss"

    def __init__(self, services: Services) -> None:
        self.services = services
        self.fake = FakeAdapter(core=Core(services, COMMANDS, PRESSES))
        self.seen: dict[str, list[str]] = {}
        self.last: Invocation | None = None

    async def _take(self, reply: Reply, who: str) -> None:
        if reply.job_id is not None:
            await self.fake.update(self.fake.address(), reply)
        else:
            self.seen.setdefault(who, []).append(
                " ".join((reply.title, reply.text, *reply.channels))
            )

    async def use(self, command: str, who: str = "ann", **values: Any) -> None:
        assert self.fake.core is not None
        role = "admin" if who == self.boss else "member"
        self.last = self.fake.invocation(command, who, role=role, **values)
        await self._take(await self.fake.core.dispatch(self.last), who)

    async def repeat(self) -> None:
        assert self.fake.core is not None
        assert self.last is not None
        await self._take(await self.fake.core.dispatch(self.last), self.last.who.member)

    async def press(self, card: Card, verb: str, who: str = "ann") -> None:
        target = next(t for v, t in card.buttons if v == verb)
        await self.forge(card, verb, target, who)

    async def forge(self, card: Card, verb: str, target: str, who: str = "ann") -> None:
        reply = await self.fake.press(verb, target, who)
        if reply.form is not None:
            self.seen.setdefault(who, []).append(reply.form.model_dump_json())
            return
        await self._take(reply, who)

    async def cards(self) -> list[Card]:
        return [
            Card(
                words=" ".join((r.title, r.text, r.prompt, *(f.value for f in r.fields))),
                buttons=tuple(
                    (str(b.verb), b.target)
                    for b in (*r.buttons, *(b for p in r.pictures for b in p.buttons))
                ),
                pictures=sum(p.blob is not None for p in r.pictures),
            )
            for r in self.fake.cards.values()
        ]

    async def notes(self, who: str) -> list[str]:
        return self.seen.get(who, [])

    async def deliver(self, times: int = 1) -> None:
        for _ in range(times):
            await Delivery(self.services, {Platform.FAKE: self.fake}).sweep()

    async def restart(self) -> None:
        before, self.fake = self.fake, FakeAdapter(core=Core(self.services, COMMANDS, PRESSES))
        self.fake.cards = before.cards

    def offered(self) -> set[str]:
        assert self.fake.core is not None
        return set(self.fake.core.commands)

    def pings(self, card: Card) -> bool:
        return False  # nobody is there


@asynccontextmanager
async def driving(services: Services) -> AsyncIterator[FakeDriver]:
    """A fake platform."""
    yield FakeDriver(services)
