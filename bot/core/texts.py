"""Sentences by key in each language; a missing blank or key is a bug that a test finds."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

WORDS = Path(__file__).with_name("words")
LOCALES = ("en", "zh")


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value)
    return flat


@cache
def load_words(folder: Path, locale: str) -> dict[str, str]:
    """Every sentence of one folder and language, keys joined by dots.

    ``<locale>.toml`` and, one file per family, ``<locale>/*.toml``. Raises ``ValueError`` when
    two files say the same key: one would silently win.
    """
    words: dict[str, str] = {}
    for path in (folder / f"{locale}.toml", *sorted((folder / locale).glob("*.toml"))):
        with path.open("rb") as file:
            fresh = _flatten(tomllib.load(file))
        twice = words.keys() & fresh.keys()
        if twice:
            raise ValueError(f"{path} repeats {', '.join(sorted(twice))}")
        words |= fresh
    return words


def pick_locale(wanted: str) -> str:
    """The language we have that fits a platform's locale (``zh-CN`` -> ``zh``), else English."""
    short = wanted.replace("_", "-").split("-")[0].lower()
    return short if short in LOCALES else "en"


class _Counting(Formatter):
    """Fills ``{n}`` as ever, and ``{n:case|cases}`` with the word that goes with the number."""

    def format_field(self, value: Any, format_spec: str) -> str:
        one, bar, many = format_spec.partition("|")
        if not bar:
            return str(super().format_field(value, format_spec))
        return one if str(value) == "1" else many


_COUNTING = _Counting()


@dataclass(frozen=True)
class Texts:
    """One language. ``texts("error.prompt_long", limit=1000)`` gives the sentence.

    A sentence may ask for the word that goes with a number: ``{n} {n:case|cases}``.
    """

    locale: str
    words: dict[str, str]

    def __call__(self, key: str, **blanks: str | int | float) -> str:
        """The sentence for ``key`` with its blanks filled. Raises ``KeyError`` for neither."""
        sentence = self.words[key]
        if "|" in sentence:
            return _COUNTING.vformat(sentence, (), blanks)
        return sentence.format(**blanks)

    def has(self, key: str) -> bool:
        """Whether there is such a sentence."""
        return key in self.words


def credits_in_words(n: int, texts: Texts) -> str:
    """An amount of credits: "1 credit", "12 credits"."""
    return texts("amount.credit") if n == 1 else texts("amount.credits", n=n)


@cache
def _texts(locale: str, folders: tuple[Path, ...]) -> Texts:
    words: dict[str, str] = {}
    for folder in folders:
        words |= load_words(folder, locale)
    return Texts(locale=locale, words=words)


def texts_for(locale: str, *more: Path) -> Texts:
    """The sentences of the core, and of an adapter's own folder of words if it has one."""
    return _texts(pick_locale(locale), (WORDS, *more))
