"""The settings surface: groups of settings with labels, how each is typed, and what is checked.

One table serves every platform: Discord and Slack open a group as a dialogue of at most five
fields, the page lists them, the command line sets them by path.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bot.core.checking import FOREIGN
from bot.core.checking import check as check
from bot.core.checking import checker as checker
from bot.core.checking import checker_for as checker_for
from bot.core.reply import Form, FormField, Verb
from bot.core.texts import LOCALES, Texts
from moderation.lists import IpMode, Lists
from moderation.marks.facts import LabelProfile, profile_of
from moderation.policy import Policy
from storage import book, document
from storage.errors import BadInput
from storage.rules import KEYS, Rules
from storage.templates import DEFAULT_PERSONA

Kind = Literal["ids", "map", "integer", "number", "flag", "text", "choice", "lines"]


@dataclass(frozen=True)
class Setting:
    """One setting: where it is, how it is typed, and what it may be."""

    path: str
    kind: Kind
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The last words of its sentence keys (``setting.<key>``)."""
        return self.path.replace("*", "all").replace(".", "_")


HELP_REGIONS = (
    "US", "CA", "UK", "IE", "EU", "DE", "FR", "ES", "IT", "NL", "PL", "AU", "NZ", "IN", "JP", "KR",
    "CN", "TW", "HK", "BR", "MX",
)  # fmt: skip
"""Regions whose help lines we know (``help_line.*``)."""

GROUPS: dict[str, tuple[Setting, ...]] = {
    "channels": (
        Setting("commands.imagine.only_channels", "ids"),
        Setting("commands.ask.only_channels", "ids"),
        Setting("commands.*.not_channels", "ids"),
        Setting("review_channel", "text"),
    ),
    "roles": (
        Setting("mod_roles", "ids"),
        Setting("admin_roles", "ids"),
        Setting("commands.imagine.only_roles", "ids"),
        Setting("commands.*.not_roles", "ids"),
    ),
    "limits": (
        Setting("paused", "flag"),
        Setting("limits.per_minute", "integer"),
        Setting("limits.max_queued", "integer"),
        Setting("limits.max_wait_minutes", "integer"),
        Setting("limits.account_age_days", "integer"),
    ),
    "credits": (
        Setting("credits.timezone", "text"),
        Setting("credits.daily_free", "integer"),
        Setting("limits.gift_per_day", "integer"),
        Setting("credits.role_tiers", "map"),
        Setting("credits.sku_tiers", "map"),
    ),
    "prices": (
        Setting("prices.picture", "integer"),
        Setting("prices.upscale", "integer"),
        Setting("prices.answer", "integer"),
        Setting("prices.vision", "integer"),
        Setting("prices.models", "map"),
    ),
    "tiers": (
        Setting("tiers.monthly_credits", "map"),
        Setting("tiers.max_queued", "map"),
        Setting("tiers.max_side", "map"),
        Setting("tiers.private", "map"),
        Setting("tiers.retention_days", "map"),
    ),
    "models": (
        Setting("models.images", "ids"),
        Setting("models.adapters", "ids"),
        Setting("defaults.style", "text"),
        Setting("defaults.size", "text"),
        Setting("defaults.negative", "lines"),
    ),
    "filters": (
        Setting("policy.thresholds.SEX.hold", "text"),
        Setting("policy.thresholds.VIO.hold", "text"),
        Setting("policy.thresholds.HATE.hold", "text"),
        Setting("policy.thresholds.GORE.blur", "text"),
        Setting("learning.on", "flag"),
    ),
    "chat": (
        Setting("persona", "text"),
        Setting("chat.retrieval", "flag"),
        Setting("chat.memory_tokens", "integer"),
        Setting("chat.temperature", "number"),
    ),
    "marks": (
        Setting("lists.ip_mode", "choice", tuple(IpMode)),
        Setting("lists.help_region", "choice", ("", *HELP_REGIONS)),
        Setting("label_profile", "choice", tuple(LabelProfile)),
    ),
    "language": (
        Setting("locale", "choice", ("", *LOCALES)),
        Setting("disclosure", "lines"),
    ),
    "keeping": (
        Setting("keeping.generations_days", "integer"),
        Setting("keeping.conversations_days", "integer"),
        Setting("keeping.uploads_days", "integer"),
    ),
}
"""At most five a group, since that is what a Discord dialogue holds; every other setting has its
path and is set by ``/config action:set``."""

PRESETS = ("family", "standard", "artists")
"""Ready-made filters: the files of ``storage/presets``."""
BY_PATH = {setting.path: setting for group in GROUPS.values() for setting in group}


def with_preset(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings with a preset in force: its filters instead of ours, and of the rest only what
    any preset speaks of, so that channels, roles and prices stay. Raises ``KeyError``."""
    ready = {
        path.stem: document.load(path.read_text(encoding="utf-8"))
        for path in document.PRESETS.glob("*.toml")
    }
    chosen = ready[name]
    fresh = {key: value for key, value in settings.items() if key != "policy"}
    for path in sorted({p for one in ready.values() for p in _leaves(one)}):
        if not path.startswith("policy."):
            fresh = book.put(fresh, path, book.get(chosen, path))
    return fresh | ({"policy": chosen["policy"]} if "policy" in chosen else {})


def _leaves(settings: Mapping[str, Any], under: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{under}{key}.")
        else:
            yield f"{under}{key}"


def default(path: str) -> Any:
    """What is in force when nothing was set; None where the default is *nothing*."""
    found = book.get(Rules().model_dump(mode="json"), path)
    if found is None and path.startswith("policy.thresholds."):
        code, line = path.split(".")[2:4]
        found = Policy().of(code).model_dump().get(line)  # type: ignore[arg-type]
    if found is None and path.startswith("lists."):
        found = book.get(Lists().model_dump(mode="json"), path.removeprefix("lists.")) or None
    if path == "label_profile":
        found = str(profile_of({}))
    if path == "persona":
        found = DEFAULT_PERSONA
    return found


def shown(value: Any) -> str:
    """A value as it is typed and read."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def typed(path: str, raw: str) -> Any:
    """A value from what was typed; None for empty, which means the default again.

    Raises ``BadInput('setting_invalid')`` for a number or a yes that is none, and
    ``BadInput('setting_unknown')`` for a path of no room.
    """
    raw = raw.strip()
    if raw == "":
        return None  # also for what another version knew: it can be taken out
    if path.split(".")[0] not in KEYS | FOREIGN:
        raise BadInput("setting_unknown", path=path[:80], line=0)
    setting = BY_PATH.get(path)
    kind = setting.kind if setting is not None else "any"
    if path.startswith("tiers.") and path.count(".") == 1 and "{" not in raw:
        kind = "map"
    if kind == "integer":
        if not re.fullmatch(r"-?[0-9]{1,12}", raw):
            raise BadInput("setting_invalid", path=path[:80], why="a whole number is needed")
        return int(raw)
    if kind == "number":
        try:
            return float(raw)
        except ValueError:
            why = "a number is needed"
            raise BadInput("setting_invalid", path=path[:80], why=why) from None
    if kind == "flag":
        if raw.lower() not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            raise BadInput("setting_invalid", path=path[:80], why="true or false is needed")
        return raw.lower() in ("true", "yes", "on", "1")
    if kind == "ids":
        return ids_in(raw)
    if kind == "map":
        pairs = [part.partition("=") for part in raw.replace("\n", ",").split(",") if part.strip()]
        if not all(sep and key.strip() and value.strip() for key, sep, value in pairs):
            raise BadInput("setting_invalid", path=path[:80], why="write name=value, name=value")
        named = {"".join(ids_in(key)): value.strip() for key, _, value in pairs}
        if path.split(".")[0] in ("prices", "tiers"):
            return {key: _literal(value.lower()) for key, value in named.items()}
        return named
    if kind in ("text", "choice", "lines") and not path.startswith("policy."):
        return raw
    return _literal(raw)


def ids_in(raw: str) -> list[str]:
    """Ids out of commas, spaces and mentions (``<#12>``, ``<@&34>``, ``<#C1|art>``)."""
    words = raw.replace(",", " ").split()
    return [word.strip("<>@#&!").split("|")[0] for word in words if word.strip("<>@#&!")]


def _literal(raw: str) -> Any:
    """A TOML value where it is one and nothing else, else the text itself."""
    try:
        found = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    return found["value"] if len(found) == 1 else raw


def form_of(group: str, settings: Mapping[str, Any], texts: Texts) -> Form:
    """A group's dialogue with what is in force filled in. Raises ``KeyError`` for no group."""
    fields = []
    for setting in GROUPS[group]:
        value = book.get(settings, setting.path)
        if value is None:
            value = default(setting.path)
        kind: Literal["text", "long", "choice", "integer"] = "text"
        if setting.kind in ("lines", "map"):
            kind = "long"
        elif setting.kind in ("choice", "flag"):
            kind = "choice"
        elif setting.kind == "integer":
            kind = "integer"
        fields.append(
            FormField(
                name=setting.path, label=texts(f"setting.{setting.key}"), kind=kind,
                value=shown(value), help=texts(f"setting_help.{setting.key}"),
                choices=("true", "false") if setting.kind == "flag" else setting.choices,
            )
        )  # fmt: skip
    return Form(
        title=texts(f"group.{group}"), submit=texts("config.save"), verb=Verb.CONFIG,
        target=f"{group}.{mark_of(group, settings)}", fields=tuple(fields),
    )  # fmt: skip


def mark_of(group: str, settings: Mapping[str, Any]) -> str:
    """Eight letters that stand for what is set in a group: its dialogue carries them, so that
    what somebody else saved meanwhile is not put back by fields that nobody touched."""
    standing = book.snapshot(settings, [setting.path for setting in GROUPS[group]])
    return hashlib.sha256(json.dumps(standing, sort_keys=True).encode()).hexdigest()[:8]


def veiled(text: str) -> str:
    """An example to recognise, not to read: each word keeps its first letter."""
    return " ".join(word[:1] + "•" * (len(word) - 1) for word in text.split()[:12])
