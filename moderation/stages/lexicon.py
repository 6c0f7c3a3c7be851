"""Reads the term lists under ``moderation/data`` into one lexicon. The format of a file:

.. code-block:: toml

    allow = ["cock a gun"]             # a term inside one of these does not count

    [[rules]]
    id = "sex.explicit"                # what moderators see; never the matched words
    category = "SEX"                   # with score (0 to 1): a finding by itself ...
    score = 0.9
    groups = ["sexual"]                # ... and, or only, one side of a pair
    terms = ["two words", "word"]      # lower case; word boundaries are added
    patterns = ['\\bw[a-z]rd\\b']      # regular expressions, bounded repeats only
    rewrite = "a cartoon mouse"        # what may be said instead, if anything

    [[pairs]]                          # both groups near each other
    id = "csae.minor-sexual"
    category = "CSAE"
    score = 1.0
    left = "minor"
    right = "sexual"
    near = 400                         # characters between the two, at most
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from pydantic import Field

from storage.schema import Category, Frozen


class Rule(Frozen):
    """Terms and patterns that mean the same."""

    id: str
    category: Category | None = None
    score: float = Field(default=0.0, ge=0.0, le=1.0)
    groups: frozenset[str] = frozenset()
    terms: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    rewrite: str = ""
    """What a member may say instead of the term; empty for most rules."""


class Pair(Frozen):
    """A finding when a term of one group stands near a term of another."""

    id: str
    category: Category
    score: float = Field(ge=0.0, le=1.0)
    left: str
    right: str
    near: int = Field(default=400, ge=0)
    """Most characters between the two."""


class Lexicon(Frozen):
    """Every rule there is; lexicons join with ``|`` (built-in lists, a workspace's own)."""

    rules: tuple[Rule, ...] = ()
    pairs: tuple[Pair, ...] = ()
    allow: tuple[str, ...] = ()

    def __or__(self, other: Lexicon) -> Lexicon:
        return Lexicon(
            rules=self.rules + other.rules,
            pairs=self.pairs + other.pairs,
            allow=self.allow + other.allow,
        )


def parse_lexicon(data: dict[str, Any]) -> Lexicon:
    """A parsed TOML or JSON document as a lexicon.

    Raises ``pydantic.ValidationError`` on a wrong shape, ``re.error`` on a broken pattern.
    """
    lexicon = Lexicon.model_validate(data)
    for rule in lexicon.rules:
        for pattern in rule.patterns:
            re.compile(pattern)
    return lexicon


def built_in() -> Lexicon:
    """The lists that ship with Atelier: ``data/ldnoobw`` (CC-BY 4.0) and ``data/terms`` (ours)."""
    root = files("moderation") / "data"
    lexicons = []
    for folder in ("ldnoobw", "terms"):
        for file in sorted((root / folder).iterdir(), key=lambda f: f.name):
            if file.name.endswith(".toml"):
                lexicons.append(parse_lexicon(tomllib.loads(file.read_text(encoding="utf-8"))))
    return joined(lexicons)


def joined(lexicons: Iterable[Lexicon]) -> Lexicon:
    """Any number of lexicons as one."""
    whole = Lexicon()
    for lexicon in lexicons:
        whole |= lexicon
    return whole
