r"""What a member may write into a prompt besides words: weights and LoRAs. Pure.

    <lora:ink:0.8>      the operator's LoRA "ink" at 0.8 (without a number: as its list says)
    (a stormy sea:1.3)  these words count 1.3 times as much; 0.7 makes them count less
    storm++  rain--     1.1 per plus, 0.9 per minus; from two signs on, so that "re-" is a word
    (big, red)+         the same for several words; here one sign is enough
    \( \) \+ \- \: \<   the character itself

Brackets without a weight are just brackets, and a prompt without any of this comes out as it went
in: then the model's own text encoder reads it and nothing changes, not by a bit. Single letters
keep their signs: "C++" is a language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.errors import BadInput
from storage.schema import Adapter

MORE, LESS = 1.1, 0.9
"""The weight of one plus and of one minus, as compel and its kin have it."""
WEIGHT_MAX = 2.0
"""Largest weight of words; the models make garbage of more."""
ADAPTERS_MAX = 4
"""LoRAs in one prompt."""

_LORA = re.compile(r"<lora:([^:<>\s]{1,64})(?::([+-]?\d{1,3}(?:\.\d{1,4})?|\.\d{1,4}))?>", re.I)
_COLON_WEIGHT = re.compile(r":\s*(\d{1,3}(?:\.\d{0,4})?|\.\d{1,4})\s*$")
_SIGNS = re.compile(r"\++|-+")
_WORD = re.compile(r"([^\W_][\w'’]*[\w'’])(\+{2,12}|-{2,12})(?![\w+-])")
_ESCAPED = "()<>:+-\\"
_DEPTH = 20
"""Deepest nesting that is still read as such; anything deeper is text."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some words and how much they count (0 to 2)."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Named:
    """A LoRA as typed: its name, and its weight where one was given."""

    name: str
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A prompt taken apart. ``parts`` join to :attr:`text`; no two neighbours weigh the same."""

    parts: tuple[Part, ...]
    loras: tuple[Named, ...] = ()

    @property
    def text(self) -> str:
        """The words alone: what a model without weights reads, and what is judged."""
        return "".join(part.text for part in self.parts)

    @property
    def weighted(self) -> bool:
        """True when some words count more or less than others."""
        return any(part.weight != 1.0 for part in self.parts)


def parse(prompt: str) -> Parsed:
    """A prompt's words, weights and LoRAs. Never fails on odd brackets: they are text.

    Raises ``BadInput``: ``weight_range`` and ``loras_many``.
    """
    loras: list[Named] = []

    def take(match: re.Match[str]) -> str:
        weight = None if match[2] is None else float(match[2])
        if weight is not None and abs(weight) > WEIGHT_MAX:
            raise BadInput("weight_range", maximum=f"{WEIGHT_MAX:g}")
        loras.append(Named(match[1], weight))
        return ""

    bare = _LORA.sub(take, prompt)
    if loras:
        bare = re.sub(r"[ \t]{2,}", " ", bare).strip().rstrip(",").rstrip()
    if len(loras) > ADAPTERS_MAX:
        raise BadInput("loras_many", maximum=ADAPTERS_MAX)
    parts = _joined(_read(bare, 1.0, 0))
    for part in parts:
        if part.weight > WEIGHT_MAX:
            raise BadInput("weight_range", maximum=f"{WEIGHT_MAX:g}")
    return Parsed(tuple(parts), tuple(loras))


def _read(text: str, weight: float, depth: int) -> list[Part]:
    """Parts of a text that all count ``weight`` times as much."""
    parts: list[Part] = []
    kept = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text) and text[at + 1] in _ESCAPED:
            kept += text[at + 1]
            at += 2
            continue
        if char == "(" and depth < _DEPTH and (end := _closing(text, at)) > 0:
            inner, own, after = _group(text, at, end)
            if own is None:
                parts += [Part(kept + "(", weight), *_read(inner, weight, depth + 1)]
                kept = ")"
            else:
                parts += [Part(kept, weight), *_read(inner, weight * own, depth + 1)]
                kept = ""
            at = after
            continue
        starts_word = at == 0 or not (text[at - 1].isalnum() or text[at - 1] in "_+-'’")
        if starts_word and (word := _WORD.match(text, at)):
            parts += [Part(kept, weight), Part(word[1], weight * _power(word[2]))]
            kept = ""
            at = word.end()
            continue
        kept += char
        at += 1
    return [*parts, Part(kept, weight)]


def _closing(text: str, start: int) -> int:
    """Where the bracket opened at ``start`` closes; 0 when it never does."""
    depth = 0
    at = start
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return 0


def _group(text: str, start: int, end: int) -> tuple[str, float | None, int]:
    """What a pair of brackets holds, its weight if it has one, and where to go on reading."""
    inner = text[start + 1 : end]
    found = _COLON_WEIGHT.search(inner)
    if found is not None and not inner[: found.start()].endswith("\\"):
        return inner[: found.start()], float(found[1]), end + 1
    signs = _SIGNS.match(text, end + 1)
    if signs is not None:
        return inner, _power(signs[0][:12]), signs.end()
    return inner, None, end + 1


def _power(signs: str) -> float:
    return float((MORE if signs[0] == "+" else LESS) ** len(signs))


def _joined(parts: list[Part]) -> list[Part]:
    """Neighbours of equal weight as one, empty ones left out; never no part at all."""
    joined: list[Part] = []
    for part in parts:
        if not part.text:
            continue
        if joined and joined[-1].weight == part.weight:
            joined[-1] = Part(joined[-1].text + part.text, part.weight)
        else:
            joined.append(part)
    return joined or [Part("")]


def merge(options: tuple[Adapter, ...], typed: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
    """One LoRA each, by name in alphabetical order: what is typed wins over an option."""
    chosen = {adapter.name: adapter for adapter in (*options, *typed)}
    return tuple(chosen[name] for name in sorted(chosen))
