"""What a whole set of settings must satisfy before it is saved, in every room.

What is stored is read leniently (a value of another version falls back by itself), so here is the
place where junk is refused, with its path and, from a file, its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bot.core.styles import NAME_MAX, OWN_MAX, TEMPLATE_MAX
from moderation.lists import Lists, save_lists
from moderation.marks.facts import LabelProfile
from moderation.policy import Policy
from storage import document
from storage.book import Check
from storage.errors import BadInput, NotFound
from storage.registry import Style
from storage.rules import KEYS, Rules
from storage.templates import TOOLS, Persona, personas, template
from storage.tiers import tiers_there_are

if TYPE_CHECKING:
    from bot.core.services import Services

FOREIGN = frozenset({
    "policy", "lists", "styles", "personas", "persona", "channel_personas", "label_profile",
})  # fmt: skip
"""Top-level settings of other rooms, checked where they are used."""


def check(settings: Mapping[str, Any], text: str = "") -> None:
    """Raise ``BadInput`` for the first value that makes no sense, in any room.

    ``text`` is the file it came from, for the line.
    """
    unknown = sorted(set(settings) - KEYS - FOREIGN)
    if unknown:
        line = document.line_of(text, unknown[0]) if text else 0
        raise BadInput("setting_unknown", path=unknown[0][:80], line=line)
    document.validate(settings, text)
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:  # a date, say, which TOML knows and we do not
        path = _odd(settings)
        raise document.bad(path, "write it as a text, a number or true or false", text) from error
    try:
        Policy.model_validate(settings.get("policy", {}))
    except ValidationError as error:
        raise document.invalid(error, text, "policy.") from error
    _check_personas(settings, text)
    _check_styles(settings, text)
    profile = settings.get("label_profile", LabelProfile.EU)
    if profile not in list(LabelProfile):
        raise document.bad("label_profile", f"one of: {', '.join(LabelProfile)}", text)
    try:
        save_lists(settings, Lists.model_validate(settings.get("lists", {})))
    except ValidationError as error:
        raise document.invalid(error, text, "lists.") from error


def _odd(value: Any, path: str = "") -> str:
    """Where the first value is that JSON cannot say."""
    if isinstance(value, Mapping | list):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in pairs:
            if found := _odd(inner, f"{path}.{key}" if path else str(key)):
                return found
        return ""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return path
    return ""


def _check_personas(settings: Mapping[str, Any], text: str) -> None:
    """The workspace's own personas, and that whoever is chosen exists."""
    own = settings.get("personas", {})
    if not isinstance(own, Mapping):
        raise document.bad("personas", "a table of names, each with a system text", text)
    for name, values in own.items():
        path = f"personas.{name}"
        if not isinstance(values, Mapping):
            raise document.bad(path, "a table with a system text", text)
        try:
            made = Persona.model_validate({**values, "name": name})
            template(made.template)
        except ValidationError as error:
            raise document.invalid(error, text, f"{path}.") from error
        except NotFound as error:
            raise document.bad(f"{path}.template", "there is no such template", text) from error
        if unknown := sorted(set(made.tools) - set(TOOLS)):
            why = f"{unknown[0][:40]} is not one of {', '.join(TOOLS)}"
            raise document.bad(f"{path}.tools", why, text)
    known, here = personas(settings), settings.get("channel_personas", {})
    if not isinstance(here, Mapping):
        raise document.bad("channel_personas", "a table of channels, each with a persona", text)
    chosen = {"persona": settings.get("persona")}
    chosen |= {f"channel_personas.{channel}": name for channel, name in here.items()}
    for path, name in chosen.items():
        if name is not None and name not in list(known):
            raise document.bad(path, f"one of: {', '.join(sorted(known))}", text)


def _check_styles(settings: Mapping[str, Any], text: str) -> None:
    """The workspace's own styles."""
    own = settings.get("styles", [])
    if not isinstance(own, list) or len(own) > OWN_MAX:
        raise document.bad("styles", f"a list of at most {OWN_MAX} styles", text)
    for number, values in enumerate(own):
        path = f"styles.{number}"
        try:
            style = Style.model_validate(values)
        except ValidationError as error:
            raise document.invalid(error, text, f"{path}.") from error
        if not 0 < len(style.name) <= NAME_MAX:
            raise document.bad(f"{path}.name", f"a name of 1 to {NAME_MAX} letters", text)
        if "{prompt}" not in style.template or len(style.template) > TEMPLATE_MAX:
            why = f"a text of at most {TEMPLATE_MAX} letters with {{prompt}} in it"
            raise document.bad(f"{path}.template", why, text)


def checker(models: Iterable[str], tiers: Iterable[str], text: str = "") -> Check:
    """:func:`check`, and that models and tiers named in prices, tiers and mappings exist."""
    known_models, known_tiers = sorted(models), sorted(tiers)

    def checked(settings: Mapping[str, Any]) -> None:
        check(settings, text)
        rules = Rules.model_validate({k: v for k, v in settings.items() if k in KEYS})
        named = [("prices.models", name, known_models) for name in rules.prices.models]
        for column in type(rules.tiers).model_fields:
            path = f"tiers.{column}"
            named += [(path, name, known_tiers) for name in getattr(rules.tiers, column)]
        for key in ("role_tiers", "sku_tiers"):
            mapped = getattr(rules.credits, key).values()
            named += [(f"credits.{key}", name, known_tiers) for name in mapped]
        for path, name, known in named:
            if name not in known:
                why = f"{name[:40]} is not one of {', '.join(known)}"
                raise document.bad(path, why, text)

    return checked


async def checker_for(services: Services, text: str = "") -> Check:
    """:func:`checker` with the models and tiers there are here."""
    tiers = await services.database.look(tiers_there_are)
    return checker(services.registry.cards, tiers, text)
