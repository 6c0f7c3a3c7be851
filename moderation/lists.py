"""What a workspace adds to the built-in lists: words, patterns, names. Pure values, from settings.

Stored under ``lists`` in a workspace's settings:

.. code-block:: json

    {"deny": [{"terms": ["word", "two words"], "category": "HAR", "score": 0.8}],
     "patterns": [{"pattern": "free\\\\s?nitro", "category": "ILL", "score": 0.6}],
     "allow": ["scunthorpe"], "people": ["jane doe"], "artists": ["john roe"],
     "ip_mode": "label", "help_region": "US"}
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError, field_validator

from moderation.stages.lexicon import Lexicon, Rule
from moderation.stages.limits import MAX_PATTERN, MAX_PATTERNS, BadPattern, check_pattern
from storage.errors import BadInput
from storage.schema import Category, Frozen

log = logging.getLogger(__name__)

MAX_TERMS = 10_000
MAX_TERM = 100
_NO_LIST = frozenset({Category.CSAE, Category.FAULT})


class IpMode(StrEnum):
    """What a protected character or name does."""

    ALLOW = "allow"
    LABEL = "label"
    BLOCK = "block"


class Deny(Frozen):
    """Words that mean one code. ``score`` 0.5 asks for a person's look under the default policy."""

    terms: tuple[str, ...] = Field(max_length=MAX_TERMS)
    category: Category = Category.HAR
    score: float = Field(default=0.85, ge=0.0, le=1.0)
    name: str = Field(default="own", pattern=r"^[\w .-]{1,60}$")
    """Shown to moderators; never the words."""

    @field_validator("terms")
    @classmethod
    def _tidy(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(t for term in terms if (t := term.strip().casefold()[:MAX_TERM]))
        )


class DenyPattern(Frozen):
    """A regular expression that means one code."""

    pattern: str = Field(max_length=MAX_PATTERN)
    category: Category = Category.HAR
    score: float = Field(default=0.85, ge=0.0, le=1.0)
    name: str = Field(default="own", pattern=r"^[\w .-]{1,60}$")


class Lists(Frozen):
    """One workspace's additions; hashable, so that what is compiled from it may be kept."""

    deny: tuple[Deny, ...] = Field(default=(), max_length=100)
    patterns: tuple[DenyPattern, ...] = Field(default=(), max_length=MAX_PATTERNS)
    allow: tuple[str, ...] = Field(default=(), max_length=1000)
    """Phrases that excuse the built-in words inside them; not where a code cannot be loosened."""
    people: tuple[str, ...] = Field(default=(), max_length=1000)
    """Real people: beside anything sexual their names block."""
    artists: tuple[str, ...] = Field(default=(), max_length=1000)
    """Living artists who asked not to be imitated."""
    ip_mode: IpMode = IpMode.LABEL
    help_region: str = Field(default="", max_length=8)
    """Whose help lines the self-harm card shows; empty: all."""

    @field_validator("allow", "people", "artists")
    @classmethod
    def _tidy(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(t for term in terms if (t := term.strip().casefold()[:MAX_TERM]))
        )

    def lexicon(self) -> Lexicon:
        """The words as a lexicon that joins the built-in one; patterns are run by the stage."""
        rules = [
            Rule(id=f"list.{deny.name}", category=deny.category, score=deny.score, terms=deny.terms)
            for deny in self.deny
            if deny.category not in _NO_LIST and deny.terms
        ]
        if self.people:
            rules.append(Rule(id="list.people", groups=frozenset({"person"}), terms=self.people))
        if self.artists:
            rules.append(
                Rule(id="list.artists", category=Category.IP, score=0.6, terms=self.artists)
            )
        return Lexicon(rules=tuple(rules))


EMPTY = Lists()


def lists_of(settings: Mapping[str, Any]) -> Lists:
    """A workspace's lists; junk (which saving refuses) falls back to none, with a log line."""
    stored = settings.get("lists")
    if not stored:
        return EMPTY
    try:
        return Lists.model_validate(stored)
    except ValidationError:
        log.error("the lists of a workspace are not valid; the built-in ones apply")
        return EMPTY


def save_lists(settings: Mapping[str, Any], lists: Lists) -> dict[str, Any]:
    """Settings with these lists in them. Raises ``BadInput`` with code ``pattern_bad``,
    ``terms_many`` or ``term_category`` when they may not be saved."""
    total = sum(len(deny.terms) for deny in lists.deny)
    if total > MAX_TERMS:
        raise BadInput("terms_many", limit=MAX_TERMS)
    named = {*(d.category for d in lists.deny), *(p.category for p in lists.patterns)}
    if named & _NO_LIST:
        raise BadInput("term_category")
    for entry in lists.patterns:
        try:
            check_pattern(entry.pattern)
        except BadPattern as error:
            raise BadInput("pattern_bad", pattern=entry.pattern[:40], why=error.reason) from error
    return {**settings, "lists": lists.model_dump(mode="json", exclude_defaults=True)}
