"""Picture prompts written out: read what a chat model made of an idea, and mend what it did not.

A small model repeats itself, forgets lines and loses the subject. Each line is judged by itself;
one that is unusable is written by rule instead, and the result says which. Pure and
deterministic: the same idea and text give the same prompt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from storage.schema import Frozen

PARTS = ("subject", "scene", "style", "light", "camera")
DIRECTIONS = 4
_LINE = re.compile(r"^\W*(subject|scene|style|light|camera)\W*?\s*[:：]\s*(.+)$", re.I | re.M)
_NUMBERED = re.compile(r"^\s*[1-9][.):]\s*(.+)$", re.M)
_WORD = re.compile(r"[a-z]{3,}")
_EMPTY = frozenset(
    {
        "the", "and", "with", "for", "from", "into", "over", "under", "near", "that", "this", "its",
        "his", "her", "their", "are", "was", "very", "some", "picture", "image", "drawing", "photo",
    }
)  # fmt: skip
_STYLES = (
    "watercolour", "watercolor", "oil painting", "pencil", "ink wash", "anime", "cartoon",
    "pixel art", "cyberpunk", "minimalist", "fantasy", "photograph", "realistic", "icon",
    "illustration", "sketch", "3d", "vintage",
)  # fmt: skip
_RULES = {
    "scene": (
        "on a plain background", "in a wide green meadow", "on a wooden table",
        "in a quiet old street", "by a calm lake", "among tall trees",
    ),
    "style": ("realistic photograph", "detailed illustration", "watercolour painting"),
    "light": (
        "soft morning light", "warm evening light", "bright daylight", "gentle light from one side",
    ),
    "camera": ("close up", "wide shot", "eye level, shallow focus", "three quarter view"),
}  # fmt: skip
_WAYS = (
    ("Close up", "close up of {idea}, fine texture, soft light from one side"),
    ("Wide view", "{idea} small in a wide landscape, early morning mist"),
    ("Tiny world", "{idea} as a miniature model, shallow focus, studio light"),
    ("Night", "{idea} at night, lit by lanterns, deep blue shadows"),
    ("Story book", "{idea}, watercolour illustration from a story book, warm colours"),
    ("Poster", "{idea}, flat minimalist poster, few bold shapes, plain background"),
    ("Old photograph", "{idea}, old black and white photograph, film grain"),
    ("Future", "{idea} in a futuristic city, neon light, rain"),
)


class Scene(Frozen):
    """A picture in five parts. ``mended`` names those that were written by rule."""

    subject: str
    scene: str
    style: str
    light: str
    camera: str
    mended: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The parts as one prompt."""
        return ", ".join((self.subject, self.scene, self.style, self.light, self.camera))

    @property
    def by(self) -> str:
        """Who wrote it: ``model``, ``rules``, or ``both``."""
        if not self.mended:
            return "model"
        return "rules" if len(self.mended) == len(PARTS) else "both"


class Direction(Frozen):
    """One way an idea could go. ``by`` is ``model`` or ``rules``."""

    title: str
    prompt: str
    by: str = "model"


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _EMPTY


def _pick(choices: Sequence[str], idea: str, part: str) -> str:
    number = int.from_bytes(hashlib.sha256(f"{part}:{idea}".encode()).digest()[:4])
    return choices[number % len(choices)]


def _stutters(text: str) -> bool:
    """Whether a pair of words comes twice: what small models do when they are lost."""
    words = re.findall(r"[a-z]+", text.lower())
    pairs = list(pairwise(words))
    return len(pairs) != len(set(pairs)) or any(a == b for a, b in pairs)


def _sound(text: str) -> bool:
    plain = re.search(r"[^\w\s,.'’\-()&+/%]", text) is None
    return 3 <= len(text) <= 120 and plain and not _stutters(text) and bool(_words(text))


def scene_of(idea: str, text: str) -> Scene:
    """The scene a model described for an idea (in English), mended where it has to be."""
    found: dict[str, str] = {}
    for name, value in _LINE.findall(text):
        value = value.strip().rstrip(".")
        name = name.lower()
        taken = {v.lower() for v in found.values()}
        if name not in found and _sound(value) and value.lower() not in taken:
            found[name] = value
    if not _words(found.get("subject", "")) & _words(idea):
        # It may say more of the subject, but never talk of something else.
        found.pop("subject", None)
    for part in ("light", "camera"):
        other = found.get("light" if part == "camera" else "scene", "")
        if len(_words(found.get(part, "")) - _words(other)) == 0:
            found.pop(part, None)
    named = [style for style in _STYLES if style in idea.lower()]
    if named and not any(style in found.get("style", "").lower() for style in named):
        found["style"] = named[0]
    mended = tuple(part for part in PARTS if part not in found)
    for part in mended:
        found[part] = idea if part == "subject" else _pick(_RULES[part], idea, part)
    return Scene(**found, mended=mended)


def directions_of(idea: str, text: str) -> tuple[Direction, ...]:
    """Four different directions for an idea: the model's good ones first, the rest by rule."""
    found: list[Direction] = []
    for line in _NUMBERED.findall(text):
        title, _, prompt = line.strip().rstrip(".").partition(":")
        title, prompt = title.strip(), prompt.strip()
        if not (prompt and 2 <= len(title) <= 40 and _sound(prompt)):
            continue
        if not _words(prompt) & _words(idea):
            prompt = f"{idea}, {prompt}"
        if all(_unlike(prompt, other.prompt) for other in found):
            found.append(Direction(title=title, prompt=prompt))
    start = int.from_bytes(hashlib.sha256(idea.encode()).digest()[:2]) % len(_WAYS)
    for title, way in (*_WAYS[start:], *_WAYS[:start]):
        if len(found) >= DIRECTIONS:
            break
        found.append(Direction(title=title, prompt=way.format(idea=idea), by="rules"))
    return tuple(found[:DIRECTIONS])


def _unlike(one: str, other: str) -> bool:
    """Whether less than 60 % of the words of both are common to both."""
    a, b = _words(one), _words(other)
    return len(a & b) < 0.6 * len(a | b)


def sheet(scene: Scene, labels: Iterable[str]) -> str:
    """The parts as a list with names in the reader's language."""
    parts = (getattr(scene, part) for part in PARTS)
    return "\n".join(f"- **{label}**: {part}" for label, part in zip(labels, parts, strict=True))
