"""The page, through its own posts. One person: ann is whoever has the link, eve has none."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from html.parser import HTMLParser
from typing import Any

import httpx

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.delivery import Delivery
from bot.core.services import Services
from storage.schema import Platform, new_id
from tests.drivers import Card

BASE = "http://127.0.0.1:8642"
TOKEN = "contract-token"


class _Parts(HTMLParser):
    """A card's words, the posts its buttons make, its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.buttons: list[tuple[str, str]] = []
        self.pictures = 0
        self.links: list[str] = []
        self._verb = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "input" and named.get("name") == "verb":
            self._verb = named.get("value") or ""
        elif tag == "input" and named.get("name") == "target":
            self.buttons.append((self._verb, named.get("value") or ""))
        elif tag == "img" and (named.get("src") or "").startswith("/blobs/"):
            self.pictures += 1
        if tag == "a":
            self.links.append(named.get("href") or "")
        self.words += [value for name, value in attrs if name in ("title", "alt") and value]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class WebDriver:
    """See :class:`tests.drivers.Driver`."""

    name = "web"
    platform = Platform.LOCAL
    boss = "ann"

    def __init__(self, services: Services) -> None:
        self.services = services
        self.presenter = WebPresenter()
        self.seen: dict[str, list[str]] = {}
        self.last: dict[str, str] = {}
        self._open()

    def _open(self) -> None:
        self.core = Core(self.services, COMMANDS, PRESSES)
        self.app = make_app(self.core, self.presenter, token=TOKEN)

    def _client(self, who: str) -> httpx.AsyncClient:
        headers = {"Origin": BASE, "Accept": "application/json"}
        if who == "ann":
            headers["Authorization"] = f"Bearer {TOKEN}"
        transport = httpx.ASGITransport(app=self.app)
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)

    async def _post(self, path: str, who: str, fields: dict[str, str]) -> None:
        async with self._client(who) as client:
            answer = await client.post(path, data=fields)
        if answer.status_code == 401:
            self.seen.setdefault(who, []).append(answer.text)
            return
        body = answer.json()
        for kind in ("toast", "form"):
            if body.get(kind):
                self.seen.setdefault(who, []).append(unescape(re.sub(r"<[^>]+>", " ", body[kind])))

    async def use(self, command: str, who: str = "ann", **values: Any) -> None:
        self.last = {"command": command, "key": new_id()}
        self.last |= {f"v.{name}": str(value) for name, value in values.items()}
        await self._post("/invoke", who, self.last)

    async def repeat(self) -> None:
        await self._post("/invoke", "ann", self.last)

    async def press(self, card: Card, verb: str, who: str = "ann") -> None:
        target = next(t for v, t in card.buttons if v == verb)
        await self.forge(card, verb, target, who)

    async def forge(self, card: Card, verb: str, target: str, who: str = "ann") -> None:
        await self._post("/press", who, {"verb": verb, "target": target, "key": new_id()})

    async def cards(self) -> list[Card]:
        async with self._client("ann") as client:
            shown = (await client.get("/timeline")).json()["cards"]
        made = []
        for card in shown:
            parts = _Parts()
            parts.feed(card["card"])
            made.append(
                Card(
                    " ".join(parts.words), tuple(parts.buttons), parts.pictures,
                    tuple(parts.links),
                )
            )  # fmt: skip
        return made

    async def notes(self, who: str) -> list[str]:
        return self.seen.get(who, [])

    async def deliver(self, times: int = 1) -> None:
        for _ in range(times):
            await Delivery(self.services, {Platform.LOCAL: self.presenter}).sweep()

    async def restart(self) -> None:
        self.presenter = WebPresenter()
        self._open()

    def offered(self) -> set[str]:
        return {info.name for info in self.core.catalog("en")}

    def pings(self, card: Card) -> bool:
        return any(word.startswith("http") for word in card.links)


@asynccontextmanager
async def driving(services: Services) -> AsyncIterator[WebDriver]:
    """The page over a test's services."""
    yield WebDriver(services)
