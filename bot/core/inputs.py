"""Input models: one definition gives validation, limits, choices and help on every platform."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from bot.core.sizes import sizes_of
from bot.core.texts import Texts
from storage.errors import BadInput, MemberError
from storage.registry import Registry
from storage.schema import ControlKind, Frozen, JobKind

PROMPT_MAX = 1000
"""Longest prompt in characters. The picture models read far less; this keeps cards readable."""
QUESTION_MAX = 4000

_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u3164\u115f\u1160")
_DIRECTION = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Input(BaseModel):
    """The base of every command's input: unknown options are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def clean_text(value: Any) -> str:
    """Text as we store it: NFC, no control or direction characters, trimmed.

    Raises ``BadInput`` for bytes that are not UTF-8, lone surrogates and NUL: these are never
    typed on purpose, and silently dropping them would change what the member asked.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput("text_not_utf8") from error
    if not isinstance(value, str):
        value = str(value)
    if "\x00" in value:
        raise BadInput("text_has_nul")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput("text_not_utf8") from error
    value = unicodedata.normalize("NFC", value)
    kept = (
        ch
        for ch in value
        if ch in "\n\t" or (ch not in _DIRECTION and unicodedata.category(ch) != "Cc")
    )
    return "".join(kept).strip()


def is_blank(value: str) -> bool:
    """True when nothing in the text can be seen."""
    return all(ch.isspace() or ch in _INVISIBLE for ch in value)


def _limit(value: str, limit: int) -> str:
    if len(value) > limit:
        raise BadInput("text_long", length=len(value), limit=limit)
    return value


def _required(value: str) -> str:
    if is_blank(value):
        raise BadInput("prompt_empty")
    return value


Prompt = Annotated[
    str,
    BeforeValidator(clean_text),
    AfterValidator(_required),
    AfterValidator(lambda v: _limit(v, PROMPT_MAX)),
]
"""A required picture prompt: 1 to 1,000 visible characters."""
Question = Annotated[
    str,
    BeforeValidator(clean_text),
    AfterValidator(_required),
    AfterValidator(lambda v: _limit(v, QUESTION_MAX)),
]
"""A required question: 1 to 4,000 visible characters."""
Phrase = Annotated[
    str, BeforeValidator(clean_text), AfterValidator(lambda v: _limit(v, PROMPT_MAX))
]
"""An optional text: 0 to 1,000 characters."""


class OptionInfo(Frozen):
    """One option of a command as a front end offers it."""

    name: str
    kind: Literal["text", "long", "integer", "number", "choice", "flag", "image", "file"]
    help: str
    required: bool
    default: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    max_length: int | None = None
    choices: tuple[str, ...] = ()


def _bounds(info: FieldInfo) -> tuple[float | None, float | None]:
    low: float | None = None
    high: float | None = None
    for mark in info.metadata:
        if isinstance(mark, annotated_types.Ge):
            low = float(mark.ge)  # type: ignore[arg-type]
        elif isinstance(mark, annotated_types.Le):
            high = float(mark.le)  # type: ignore[arg-type]
    return low, high


def options_of(
    model: type[BaseModel], command: str, texts: Texts, registry: Registry
) -> tuple[OptionInfo, ...]:
    """The options of an input model, with defaults and choices that the registry knows."""
    options = []
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        low, high = _bounds(info)
        kind: Any = extra.get("kind", "text")
        choices: tuple[str, ...] = ()
        default = "" if info.is_required() or info.default is None else str(info.default)
        source = extra.get("choices")
        card = registry.default(JobKind.IMAGE)
        if not available(extra.get("needs", source), registry):
            continue
        if source == "styles":
            choices = tuple(style.name for style in registry.styles_for(card.name))
        elif source == "models":
            # What is configured, what ships and what lies here; any other may be typed.
            choices = tuple(
                name
                for name, c in registry.cards.items()
                if registry.draws(name)
                and (c.source == "starter" or name == card.name or name in registry.here)
            )
            default = card.name
        elif source == "sizes":
            choices = sizes_of(card)
            default = f"{card.width}x{card.height}"
        elif source == "loras":
            choices = tuple(a.name for a in registry.adapters_for(card.name, "lora"))
        elif source == "controls":
            kinds = [k for k in ControlKind if registry.control_for(card.name, k)]
            choices = tuple(str(k) for k in kinds if registry.annotates(card.name, k))
            choices += tuple(f"{k} map" for k in kinds)
        elif source == "schedulers":
            choices = card.schedulers
        elif isinstance(source, list):
            choices = tuple(str(choice) for choice in source)
        if "usual" in extra:
            default = str(extra["usual"])
        if extra.get("default_from") == "card":
            default = str(getattr(card, name))
        if name == "steps":
            high = float(card.max_steps)
        longest = int(extra.get("max_length", PROMPT_MAX))  # type: ignore[arg-type]
        options.append(
            OptionInfo(
                name=name, kind=kind, help=texts(f"option.{command}.{name}"),
                required=info.is_required(), default=default, minimum=low, maximum=high,
                step=float(extra["step"]) if "step" in extra else None,  # type: ignore[arg-type]
                max_length=longest if kind in ("text", "long") else None, choices=choices,
            )
        )  # fmt: skip
    return tuple(options)


def available(source: Any, registry: Registry) -> bool:
    """Whether there is anything to choose: nothing is offered that can only be refused."""
    model = registry.image_default
    if source == "loras":
        return bool(registry.adapters_for(model, "lora"))
    if source == "controls":
        return bool(registry.adapters_for(model, "control"))
    if source == "references":
        return any(registry.references_of(m) for m in {model, *registry.here})
    return True


def explain(error: ValidationError, registry: Registry) -> MemberError:
    """The first problem pydantic found, as one of our errors with a stable code.

    A ``MemberError`` raised inside a validator is not a ``ValueError``, so pydantic lets it pass
    through untouched; this handles the rest: types, ranges, unknown and missing options.
    """
    problem = error.errors(include_url=False, include_input=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else ""
    kind = problem["type"]
    limits = problem.get("ctx", {})
    if kind == "missing":
        return BadInput("prompt_empty" if name == "prompt" else "option_missing", option=name)
    if kind == "extra_forbidden":
        return BadInput("option_unknown", option=name[:40])
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        code = f"{name}_range" if name in ("steps", "seed", "guidance", "count") else "option_range"
        bound = "≥" if kind.startswith("greater") else "≤"
        limit = f"{bound} {next(iter(limits.values()), '')}"
        highest = registry.default(JobKind.IMAGE).max_steps
        return BadInput(code, option=name, limit=limit, maximum=highest)
    if name == "seed" and kind.startswith("int"):
        return BadInput("seed_range", option=name, limit="")
    return BadInput("option_invalid", option=name)
