"""The core's dialogues as Discord's, and what was typed into one as plain values. Pure.

A dialogue's id says where its values go, so one that was opened before a restart still works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import discord
from discord import ui

from bot.adapters.discord.catalog import name_of
from bot.adapters.discord.ids import form_id
from bot.adapters.discord.render import clip
from bot.core.attachment import Attachment
from bot.core.reply import Form, FormField
from bot.core.texts import Texts
from storage.schema import Platform

_TITLE = 45
_LABEL = 45
_HELP = 100
_TEXT = 4_000
_OPTIONS = 25
_NONE = "-"
"""Stands for an empty choice: Discord's options must have a value."""
_LIFE_S = 900.0
"""How long discord.py remembers a dialogue; ours work without that."""


def modal(form: Form, texts: Texts, custom_id: str | None = None) -> ui.Modal:
    """The dialogue for a form."""
    dialogue = ui.Modal(
        title=clip(form.title, _TITLE), timeout=_LIFE_S, custom_id=custom_id or form_id(form)
    )
    for field in form.fields[:5]:
        dialogue.add_item(
            ui.Label(
                text=clip(field.label, _LABEL),
                description=clip(field.help, _HELP) or None,
                component=_control(field, texts),
            )
        )
    return dialogue


def _control(field: FormField, texts: Texts) -> ui.Item[Any]:
    if field.kind in ("image", "file"):
        return ui.FileUpload(custom_id=field.name, required=field.required, max_values=1)
    if field.kind == "flag":
        return ui.Checkbox(custom_id=field.name, default=field.value == "true")
    if field.choices:
        kept = list(dict.fromkeys([field.value, *field.choices]))[:_OPTIONS]
        select: ui.Select[Any] = ui.Select(
            custom_id=field.name,
            required=field.required,
            min_values=1 if field.required else 0,
            options=[
                discord.SelectOption(
                    label=clip(name_of(c, texts) if c else texts("form.none"), 100),
                    value=c or _NONE,
                    default=c == field.value,
                )
                for c in kept
                if c or not field.required
            ],
        )
        return select
    style = discord.TextStyle.paragraph if field.kind == "long" else discord.TextStyle.short
    return ui.TextInput(
        custom_id=field.name,
        style=style,
        default=field.value[:_TEXT] or None,
        required=field.required,
        max_length=_TEXT if field.kind == "long" else 200,
    )


def typed(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a submitted dialogue holds: field name to text, flag or attachment. Never raises for
    what a client may send; what is not understood is left out and the core misses it."""
    files = (data.get("resolved") or {}).get("attachments") or {}
    values: dict[str, Any] = {}
    for leaf in _leaves(data.get("components") or ()):
        name = leaf.get("custom_id")
        if not isinstance(name, str):
            continue
        if "value" in leaf:
            values[name] = leaf["value"]
        elif isinstance(chosen := leaf.get("values"), list):
            values[name] = _chosen(chosen, files)
    return values


def _chosen(chosen: list[Any], files: Mapping[str, Any]) -> Any:
    if not chosen:
        return ""
    first = str(chosen[0])
    file = files.get(first)
    if isinstance(file, Mapping):
        return Attachment(
            platform=Platform.DISCORD,
            name=str(file.get("filename", ""))[:200],
            url=str(file.get("url", "")),
            size=int(file.get("size", 0)),
            content_type=str(file.get("content_type") or ""),
        )
    return "" if first == _NONE else first


def _leaves(nodes: Any) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for node in nodes:
        if not isinstance(node, Mapping):
            continue
        if isinstance(node.get("component"), Mapping):
            found += _leaves([node["component"]])
        elif isinstance(node.get("components"), list):
            found += _leaves(node["components"])
        else:
            found.append(node)
    return found
