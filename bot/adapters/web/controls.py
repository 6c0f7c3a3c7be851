"""Which control shows an option or a form field: decided from what the catalog says of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bot.core.command import CommandInfo
from bot.core.inputs import OptionInfo
from bot.core.reply import Form, FormField
from bot.core.texts import Texts

Shape = Literal[
    "area", "line", "chips", "select", "segments", "slider", "number", "flag", "picture"
]

_COMMON = frozenset(
    {"prompt", "negative", "style", "size", "image", "strength", "mask", "count", "seed", "enhance"}
)
_MOST_CHIPS = 8
_MOST_SEGMENTS = 6
_MOST_SLIDER = 1000


@dataclass(frozen=True)
class Control:
    """One labelled input of the creative panel or of a dialogue."""

    name: str
    label: str
    help: str
    shape: Shape
    value: str
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: str = ""
    maximum: str = ""
    step: str = "1"
    max_length: int | None = None
    dice: bool = False
    """Offer a button that empties or rolls it: a whole number too wide for a slider (a seed)."""
    rare: bool = False
    """Kept behind *More*: an option few reach for."""

    @property
    def place(self) -> str:
        """Its value on first sight, for controls that must start somewhere."""
        return self.value or self.minimum


def _plain(number: float | None) -> str:
    if number is None:
        return ""
    return str(int(number)) if number == int(number) else str(number)


def control_of(option: OptionInfo | FormField, texts: Texts, value: str | None = None) -> Control:
    """The control for one option; ``value`` replaces its default."""
    if isinstance(option, OptionInfo):
        label = texts(key) if texts.has(key := f"option_name.{option.name}") else option.name
        start, step, longest = option.default, option.step, option.max_length
    else:
        label, start, step, longest = option.label, option.value, None, None
    shape = _shape(option)
    choices = option.choices
    if shape == "segments" and not choices:
        low, high = int(option.minimum or 0), int(option.maximum or 0)
        choices = tuple(str(n) for n in range(low, high + 1))
    fraction = option.kind == "number"
    return Control(
        name=option.name,
        label=label,
        help=option.help,
        shape=shape,
        value=start if value is None else value,
        required=option.required,
        choices=choices,
        minimum=_plain(option.minimum),
        maximum=_plain(option.maximum),
        step=_plain(step) or ("0.5" if fraction else "1"),
        max_length=longest,
        dice=shape == "number" and option.name == "seed",
        rare=isinstance(option, OptionInfo) and option.name not in _COMMON,
    )


def _shape(option: OptionInfo | FormField) -> Shape:
    if option.kind == "image":
        return "picture"
    if option.kind == "flag":
        return "flag"
    if option.choices:
        return "chips" if len(option.choices) <= _MOST_CHIPS else "select"
    if option.kind in ("integer", "number"):
        low, high = option.minimum, option.maximum
        if low is None or high is None or high - low > _MOST_SLIDER:
            return "number"
        if not (option.default if isinstance(option, OptionInfo) else option.value):
            return "number"  # a slider always says something; this may be left open
        whole = option.kind == "integer"
        return "segments" if whole and high - low < _MOST_SEGMENTS else "slider"
    return "area" if option.kind == "long" or option.required else "line"


_NOT_IN_PANEL = frozenset({"upscale", "dry_run", "private"})
"""Larger is a button under every picture, and `/upscale` a command; the price is always shown;
and nobody else reads this page."""


def panel_controls(info: CommandInfo, texts: Texts) -> list[Control]:
    """The creative panel of a command. A choice of one is no choice and is left out."""
    return [
        control_of(option, texts)
        for option in info.options
        if option.choices != (option.default,) and option.name not in _NOT_IN_PANEL
    ]


def form_controls(
    form: Form, texts: Texts, typed: Mapping[str, str] | None = None
) -> list[Control]:
    """The dialogue of a form, with what was typed so far if it is shown again."""
    typed = typed or {}
    return [control_of(field, texts, typed.get(field.name)) for field in form.fields]
