"""What Slack refuses: the SDK's signatures and validators, and the documented limits. Test-side,
so that the adapter's own numbers are not checked against themselves."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block
from slack_sdk.web.async_client import AsyncWebClient

TIERS = {
    "auth.test": 200, "agents.sessions.setStatus": 50, "apps.connections.open": 20,
    "assistant.threads.setSuggestedPrompts": 100, "chat.appendStream": 100, "chat.delete": 50,
    "chat.postEphemeral": 100, "chat.postMessage": 60, "chat.startStream": 20,
    "chat.stopStream": 20, "chat.update": 50, "conversations.open": 50,
    "files.completeUploadExternal": 100, "files.delete": 50, "files.getUploadURLExternal": 100,
    "files.info": 100, "usergroups.list": 20, "users.info": 100, "views.open": 100,
    "views.publish": 100, "views.update": 100,
}  # fmt: skip
"""Calls a minute, by method (tiers 1 to 4; `chat.postMessage` is one a second for a channel)."""
SCOPES = {
    "agents.sessions.setStatus": "chat:write", "chat.appendStream": "chat:write",
    "assistant.threads.setSuggestedPrompts": "assistant:write", "chat.delete": "chat:write",
    "chat.postEphemeral": "chat:write", "chat.postMessage": "chat:write",
    "chat.startStream": "chat:write", "chat.stopStream": "chat:write",
    "chat.update": "chat:write", "conversations.open": "im:write",
    "files.completeUploadExternal": "files:write", "files.delete": "files:write",
    "files.getUploadURLExternal": "files:write", "files.info": "files:read",
    "usergroups.list": "usergroups:read", "users.info": "users:read",
}  # fmt: skip
"""The bot scope a method needs; those not here need none."""
_PLAIN_ONLY = {"header", "title", "label", "hint", "button", "option"}
_KNOWN_STYLES = {None, "primary", "danger"}


def argument_faults(method: str, given: dict[str, Any]) -> list[str]:
    """Arguments the SDK's method does not have, and required ones that are missing."""
    known = getattr(AsyncWebClient, method.replace(".", "_"), None)
    if known is None:
        return [f"{method} is no method"]
    parameters = {
        name: p for name, p in inspect.signature(known).parameters.items()
        if p.kind is not inspect.Parameter.VAR_KEYWORD and name != "self"
    }  # fmt: skip
    allowed = set(parameters) | {"token", "team_id"}
    if method == "files.completeUploadExternal":
        allowed |= {"channel_id"}
    if method == "chat.postMessage":  # in no signature, but in the method's list of errors
        allowed |= {"client_msg_id"}
    faults = [f"{method}: unknown argument {name}" for name in given if name not in allowed]
    for name, parameter in parameters.items():
        if (
            parameter.default is inspect.Parameter.empty
            and name not in given
            and name != "app_token"
        ):
            faults.append(f"{method}: {name} is missing")
    return faults


def text_faults(where: str, text: str) -> list[str]:
    """Text that Slack parses: nothing unescaped but a date of ours, and not too long."""
    faults = []
    if len(text) > 4000:
        faults.append(f"{where}: {len(text)} characters")
    bare = re.sub(r"<!date\^\d+\^\{time_secs\}\|\d+>", "", text)
    if re.search(r"[<>]|&(?!amp;|lt;|gt;)", bare):
        faults.append(f"{where}: not escaped: {text!r}")
    return faults


def block_faults(blocks: list[dict[str, Any]], *, view: bool = False) -> list[str]:
    """Everything wrong with a list of blocks."""
    faults = []
    if len(blocks) > (100 if view else 50):
        faults.append(f"{len(blocks)} blocks")
    total = sum(_weight(block) for block in blocks)
    if not view and total > 13_200:
        faults.append(f"msg_blocks_too_long: {total}")
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        where = f"block {index} ({block.get('type')})"
        parsed = Block.parse(dict(block))
        if parsed is None:
            faults.append(f"{where}: unknown type")
            continue
        try:
            parsed.validate_json()
        except SlackObjectFormationError as error:
            faults.append(f"{where}: {error}")
        for key in block:
            if key not in parsed.attributes:
                faults.append(f"{where}: unknown key {key}")
        block_id = block.get("block_id")
        if block_id is not None and (len(block_id) > 255 or block_id in seen):
            faults.append(f"{where}: block_id")
        seen.add(block_id or "")
        faults += [f"{where}: {fault}" for fault in _own_faults(block)]
    return faults


def _own_faults(block: dict[str, Any]) -> list[str]:
    kind = block["type"]
    if kind == "section":
        texts = [block["text"]] if "text" in block else []
        texts += block.get("fields", [])
        faults = [
            f"field of {len(f['text'])}" for f in block.get("fields", []) if len(f["text"]) > 2000
        ]
        if "accessory" in block:
            faults += _element_faults(block["accessory"])
        return faults + [fault for text in texts for fault in _text_object(text, 3000)]
    if kind == "context":
        faults = [] if 1 <= len(block["elements"]) <= 10 else ["context of nothing or too much"]
        return faults + [f for e in block["elements"] for f in _text_object(e, 3000)]
    if kind == "actions":
        ids = [element["action_id"] for element in block["elements"]]
        faults = ["action_id twice"] if len(set(ids)) != len(ids) else []
        if not 1 <= len(ids) <= 25:
            faults.append(f"{len(ids)} buttons")
        return faults + [f for e in block["elements"] for f in _element_faults(e)]
    if kind == "image":
        faults = [] if block["alt_text"] else ["no alt text"]
        if ("slack_file" in block) == ("image_url" in block):
            faults.append("one source is needed")
        return faults
    if kind == "rich_text":
        return [] if block["elements"] else ["empty rich text"]
    if kind == "input":
        return _text_object(block["label"], 2000, plain=True) + _element_faults(block["element"])
    if kind == "header":
        return _text_object(block["text"], 150, plain=True)
    return []


def _text_object(text: dict[str, Any], limit: int, *, plain: bool = False) -> list[str]:
    faults = []
    if not 1 <= len(text["text"]) <= limit:
        faults.append(f"text of {len(text['text'])}")
    if plain and text["type"] != "plain_text":
        faults.append("plain_text only")
    if text["type"] == "mrkdwn":
        faults += text_faults("mrkdwn", text["text"])
        if "emoji" in text:
            faults.append("emoji is for plain_text")
    return faults


def _element_faults(element: dict[str, Any]) -> list[str]:
    faults = []
    if len(element.get("action_id", "")) > 255:
        faults.append("action_id too long")
    if element["type"] == "button":
        faults += _text_object(element["text"], 75, plain=True)
        if len(element.get("value", "")) > 2000:
            faults.append("value too long")
        if element.get("style") not in _KNOWN_STYLES:
            faults.append(f"style {element['style']}")
        confirm = element.get("confirm")
        if confirm:
            for name, limit in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
                faults += _text_object(confirm[name], limit)
    if element["type"] == "static_select":
        options = element["options"]
        if not 1 <= len(options) <= 100:
            faults.append(f"{len(options)} options")
        for option in options:
            faults += _text_object(option["text"], 75)
            if not 1 <= len(option["value"]) <= 150:
                faults.append(f"option value {option['value']!r}")
        first = element.get("initial_option")
        if first is not None and first not in options:
            faults.append("initial option is none of them")
    if element["type"] == "plain_text_input" and element.get("max_length", 1) > 3000:
        faults.append("max_length")
    return faults


def view_faults(view: dict[str, Any]) -> list[str]:
    """Everything wrong with a dialogue or a Home tab."""
    faults = block_faults(view["blocks"], view=True)
    if view["type"] == "modal":
        for name in ("title", "close", "submit"):
            if name in view:
                faults += [f"{name}: {f}" for f in _text_object(view[name], 24, plain=True)]
        if len(view.get("private_metadata", "")) > 3000 or len(view.get("callback_id", "")) > 255:
            faults.append("metadata")
        json.loads(view.get("private_metadata") or "{}")
        if any(b["type"] == "input" for b in view["blocks"]) and "submit" not in view:
            faults.append("inputs need submit")
    return faults


def _weight(value: Any) -> int:
    """Characters as Slack seems to count them: all the text in the blocks."""
    if isinstance(value, dict):
        return sum(
            len(item) if isinstance(item, str) and key in ("text", "alt_text") else _weight(item)
            for key, item in value.items()
        )
    return sum(_weight(item) for item in value) if isinstance(value, list) else 0
