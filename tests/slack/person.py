"""A person at Slack's window: types commands, presses buttons, sends messages, fills dialogues."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.slack.server import SlackServer
from tests.slack.world import WORKSPACE, Stored


@dataclass
class Person:
    """Acts over the socket, as Slack would tell the bot."""

    server: SlackServer
    id: str = "UANN"
    channel: str = "C1"
    refused: dict[str, Any] | None = None
    """What the last dialogue was answered, when it did not close."""

    @property
    def direct(self) -> str:
        """The channel of their direct messages with the bot."""
        return f"D{self.id}"

    async def slash(self, line: str, *, channel: str | None = None, **more: Any) -> dict[str, Any]:
        """Type a slash command; the payload, to send it again."""
        command, _, text = line.partition(" ")
        payload = {
            "command": command, "text": text, "user_id": self.id, "user_name": self.id.lower(),
            "team_id": WORKSPACE, "channel_id": channel or self.channel, "channel_name": "general",
            "trigger_id": self.server.trigger(), "response_url": self.server.response_url(),
            "api_app_id": "A1",
        } | more  # fmt: skip
        await self.server.push("slash_commands", payload)
        return payload

    async def press(
        self, message: Stored, verb: str, *, nth: int = 0, **more: Any
    ) -> dict[str, Any]:
        """Press a button of a message."""
        action = buttons(message.blocks, verb)[nth]
        return await self.act({**action, **more}, message)

    async def act(self, action: dict[str, Any], message: Stored | None) -> dict[str, Any]:
        """Send an action, whoever drew it."""
        payload: dict[str, Any] = {
            "type": "block_actions", "user": {"id": self.id, "username": self.id.lower()},
            "team": {"id": WORKSPACE}, "trigger_id": self.server.trigger(),
            "response_url": self.server.response_url(), "actions": [action], "api_app_id": "A1",
        }  # fmt: skip
        if message is not None:
            payload |= {
                "channel": {"id": message.channel},
                "container": {"type": "message", "message_ts": message.ts,
                              "channel_id": message.channel},
                "message": {"ts": message.ts, "thread_ts": message.thread,
                            "blocks": message.blocks},
            }  # fmt: skip
        else:
            payload |= {"container": {"type": "view"}, "view": {"id": "VHOME", "type": "home"}}
        await self.server.push("interactive", payload)
        return payload

    async def submit(self, view: dict[str, Any], **values: Any) -> dict[str, Any]:
        """Fill a dialogue and send it."""
        state: dict[str, Any] = {}
        for block in view["blocks"]:
            if block["type"] != "input":
                continue
            name = block["block_id"].removeprefix("option.")
            state[block["block_id"]] = {"value": filled(block["element"], values.get(name))}
        payload = {
            "type": "view_submission", "user": {"id": self.id, "username": self.id.lower()},
            "team": {"id": WORKSPACE}, "api_app_id": "A1", "trigger_id": self.server.trigger(),
            "view": view | {"state": {"values": state}},
        }  # fmt: skip
        self.refused = await self.server.ask("interactive", payload)
        return payload

    async def menu(self, entry: str, message: dict[str, Any], channel: str | None = None) -> None:
        """Use an entry of a message's own menu."""
        await self.server.push(
            "interactive",
            {
                "type": "message_action", "callback_id": entry, "user": {"id": self.id},
                "team": {"id": WORKSPACE}, "channel": {"id": channel or self.channel},
                "trigger_id": self.server.trigger(), "response_url": self.server.response_url(),
                "message": message, "message_ts": message.get("ts", ""),
            },
        )  # fmt: skip

    async def event(self, event: dict[str, Any], event_id: str | None = None, **more: Any) -> None:
        """Let Slack report something."""
        body = {
            "type": "event_callback", "team_id": WORKSPACE, "api_app_id": "A1", "event": event,
            "event_id": event_id or self.server.event_id(), "event_time": 1_900_000_000,
            "authorizations": [{"team_id": WORKSPACE, "user_id": "UBOT", "is_bot": True}],
        }  # fmt: skip
        await self.server.push("events_api", body, **more)

    async def write(self, text: str, **more: Any) -> str:
        """Send a direct message; its ts."""
        ts = self.server.ts()
        event = {"type": "message", "channel_type": "im", "channel": self.direct, "user": self.id,
                 "text": text, "ts": ts}  # fmt: skip
        await self.event(event | more)
        return ts

    async def mention(self, text: str, **more: Any) -> str:
        """Mention the bot in a channel; the message's ts."""
        ts = self.server.ts()
        event = {"type": "app_mention", "channel": self.channel, "user": self.id,
                 "text": f"<@UBOT> {text}", "ts": ts}  # fmt: skip
        await self.event(event | more)
        return ts

    def notes(self) -> list[str]:
        """Every private note they saw, newest last."""
        mine = [n for n in self.server.ephemeral if n.get("user", self.id) == self.id]
        return [n["text"] + json.dumps(n.get("blocks") or [], ensure_ascii=False) for n in mine]


def buttons(blocks: list[dict[str, Any]], verb: str) -> list[dict[str, Any]]:
    """The buttons of a verb on a card."""
    found = [e for block in blocks if block["type"] == "actions" for e in block["elements"]]
    return [e for e in found if e["action_id"].split(".")[1] == verb]


def filled(element: dict[str, Any], value: Any) -> dict[str, Any]:
    """The state of an input after somebody left or changed it."""
    kind = element["type"]
    if kind == "static_select":
        options = {o["value"]: o for o in element["options"]}
        chosen = options[value] if value is not None else element.get("initial_option")
        return {"type": kind, "selected_option": chosen}
    if kind == "checkboxes":
        chosen_boxes = element["options"] if value else element.get("initial_options", [])
        return {"type": kind, "selected_options": chosen_boxes}
    if kind == "file_input":
        return {"type": kind, "files": [value] if value else []}
    return {"type": kind, "value": value if value is not None else element.get("initial_value")}


async def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for something to become true; what it gave."""
    async with asyncio.timeout(seconds):
        while not (found := true()):
            await asyncio.sleep(0.01)
    return found
