"""Discord, simulated: discord.py's real machinery over simcord."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import discord
import simcord
from simcord.backend.models import Message

from bot.adapters.discord.app import DiscordClient
from bot.adapters.discord.ids import PRESS
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage.schema import Platform
from tests.discord.discord_rules import remember_nonces
from tests.discord.stage import Stage, StageClock, build_stage, texts_of
from tests.drivers import Card


class DiscordDriver:
    """See :class:`tests.drivers.Driver`."""

    name = "discord"
    platform = Platform.DISCORD
    boss = "boss"

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.services = stage.services
        self.seen: dict[str, list[str]] = {}

    def _who(self, who: str) -> Any:
        return getattr(self.stage, who)

    def _note(self, who: str, result: Any) -> None:
        """What the interaction answered privately, dialogues included."""
        seen = self.seen.setdefault(who, [])
        if result.modal is not None:
            seen.append(str(result.modal))
        for stored in self._answers(result):
            if stored.flags & 64:
                seen.append(texts_of(stored) or stored.content)

    def _answers(self, result: Any) -> list[Message]:
        found = [result.response, *result.followups]
        get = self.stage.env.backend.get_message
        return [get(self.stage.channel.id, a.id) for a in found if a is not None]

    async def use(self, command: str, who: str = "ann", **values: Any) -> None:
        given = {name: str(v) if name == "seed" else v for name, v in values.items()}
        if "member" in given:
            given["member"] = self._who(given["member"])
        result = await self._who(who).slash(self.stage.channel, command, **given)
        self._note(who, result)

    async def repeat(self) -> None:
        payload = self.stage.events[-1]
        self.stage.env.backend.emit("INTERACTION_CREATE", dict(payload))
        await self.stage.env.settle()

    def _message(self, card: Card) -> Message:
        return next(m for m in self.stage.cards() if _buttons(m) == card.buttons)

    async def press(self, card: Card, verb: str, who: str = "ann") -> None:
        target = next(t for v, t in card.buttons if v == verb)
        await self._click(self._message(card), verb, target, who)

    async def forge(self, card: Card, verb: str, target: str, who: str = "ann") -> None:
        """As a changed client would: the message holds the forged id while it is pressed."""
        message = self._message(card)
        node = _nodes(message.components)[0]
        before = node["custom_id"]
        node["custom_id"] = f"at1:{verb}:{target}"[:100]
        try:
            shown = self.stage.shown(message)
            result = await self._who(who).click(shown, custom_id=node["custom_id"])
            self._note(who, result)
        finally:
            node["custom_id"] = before

    async def _click(self, message: Message, verb: str, target: str, who: str) -> None:
        ids = [n["custom_id"] for n in _nodes(message.components)]
        chosen = next(i for i in ids if _press(i) == (verb, target))
        result = await self._who(who).click(self.stage.shown(message), custom_id=chosen)
        self._note(who, result)
        if "?" in chosen:  # "Are you sure?", privately, with the button that does it
            (question,) = self._answers(result)
            (sure,) = _nodes(question.components)
            shown = self.stage.shown(question)
            self._note(who, await self._who(who).click(shown, custom_id=sure["custom_id"]))

    async def cards(self) -> list[Card]:
        return [
            Card(texts_of(m), _buttons(m), len(m.attachments))
            for m in self.stage.cards()
        ]  # fmt: skip

    async def notes(self, who: str) -> list[str]:
        direct = self.stage.direct_messages() if who == "ann" else []
        return [*map(texts_of, direct), *self.seen.get(who, [])]

    async def deliver(self, times: int = 1) -> None:
        for _ in range(times):
            await self.stage.deliver()

    async def restart(self) -> None:
        client = DiscordClient(
            Core(self.services, COMMANDS, PRESSES), gap_s=0.02, channel_gap_s=0.01
        )
        await self.stage.env.restart_bot(client)
        self.stage.client = client
        remember_nonces(self.stage)

    def offered(self) -> set[str]:
        kind = discord.AppCommandType.chat_input
        return {command.name for command in self.stage.client.tree.get_commands(type=kind)}

    def pings(self, card: Card) -> bool:
        """Words may stand there: every message is sent with ``allowed_mentions`` that parse
        nothing, which ``discord_rules`` asserts on each send."""
        return False


def _nodes(components: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for node in components or ():
        if node.get("type") == 2 and "custom_id" in node:
            found.append(node)
        found += _nodes(node.get("components"))
    return found


def _press(custom_id: str) -> tuple[str, str]:
    match = re.fullmatch(PRESS, custom_id)
    assert match is not None, custom_id
    return match["verb"], match["target"]


def _buttons(message: Message) -> tuple[tuple[str, str], ...]:
    return tuple(_press(node["custom_id"]) for node in _nodes(message.components))


@asynccontextmanager
async def driving(services: Services) -> AsyncIterator[DiscordDriver]:
    """A server with ann, eve and the bot in it."""
    import dataclasses

    from storage.posts import Posts
    from storage.vault import Vault

    clock = StageClock()
    posts = Posts(services.database, Vault(b"k" * 32), clock)
    services = dataclasses.replace(services, clock=clock, posts=posts)
    client = DiscordClient(Core(services, COMMANDS, PRESSES), gap_s=0.02, channel_gap_s=0.01)
    env = simcord.Env(client, settle_timeout=10.0)
    clock.env = env
    await env.start()
    try:
        stage = await build_stage(env, client, services, services.database)
        yield DiscordDriver(stage)
    finally:
        await env.shutdown()
