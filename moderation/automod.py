"""A Discord server's AutoMod keyword rules as our lists. Pure: from the API's JSON to values.

Read with ``GET /guilds/{id}/auto-moderation/rules``. Keyword rules (trigger type 1) and the
presets (type 4) carry words; the others have nothing to do with us. Discord writes ``*`` at a
keyword's end or beginning for "any word that begins or ends so".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moderation.lists import Deny, DenyPattern, Lists
from moderation.stages.limits import MAX_PATTERNS, BadPattern, check_pattern
from storage.schema import Category

_KEYWORD, _PRESET = 1, 4
_ID = re.compile(r"[^\w .-]+")


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import. ``refused`` are patterns we may not run, with the reason."""

    lists: Lists
    rules: int
    refused: tuple[tuple[str, str], ...] = ()


def from_automod(
    rules: Iterable[Mapping[str, Any]], category: Category = Category.HAR, score: float = 0.85
) -> Imported:
    """The enabled keyword rules. Presets are Discord's own word lists, which it does not publish;
    their allow lists are taken. Fields that are missing or of a wrong kind are passed over."""
    deny: list[Deny] = []
    patterns: list[DenyPattern] = []
    allow: list[str] = []
    refused: list[tuple[str, str]] = []
    count = 0
    for rule in rules:
        kind = rule.get("trigger_type")
        meta = rule.get("trigger_metadata")
        if not rule.get("enabled", True) or kind not in (_KEYWORD, _PRESET):
            continue
        if not isinstance(meta, Mapping):
            continue
        count += 1
        allow += _strings(meta.get("allow_list"))
        if kind == _PRESET:
            continue
        name = _ID.sub(" ", str(rule.get("name", ""))).strip()[:50] or "AutoMod"
        words, starred = _words(_strings(meta.get("keyword_filter")))
        if words:
            deny.append(Deny(terms=tuple(words), category=category, score=score, name=name))
        for pattern in [*starred, *_strings(meta.get("regex_patterns"))]:
            try:
                check_pattern(pattern)
            except BadPattern as error:
                refused.append((pattern[:80], error.reason))
                continue
            if len(patterns) < MAX_PATTERNS:
                patterns.append(
                    DenyPattern(pattern=pattern, category=category, score=score, name=name)
                )
            else:
                refused.append((pattern[:80], "many"))
    lists = Lists(deny=tuple(deny), patterns=tuple(patterns), allow=tuple(allow)[:1000])
    return Imported(lists, count, tuple(refused))


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _words(keywords: list[str]) -> tuple[list[str], list[str]]:
    """Plain words, and the starred ones as one pattern per kind of star (they are few)."""
    plain: list[str] = []
    stars: dict[tuple[bool, bool], list[str]] = {}
    for keyword in keywords:
        body = keyword.strip().casefold()
        left, right = body.startswith("*"), body.endswith("*")
        body = body.strip("*").strip()
        if not body:
            continue
        if left or right:
            stars.setdefault((left, right), []).append(body)
        else:
            plain.append(body)
    patterns = []
    for (left, right), bodies in stars.items():
        for some in _packed(bodies):
            edge_left = "" if left else r"(?<!\w)"
            edge_right = "" if right else r"(?!\w)"
            patterns.append(f"{edge_left}(?:{'|'.join(map(re.escape, some))}){edge_right}")
    return plain, patterns


def _packed(bodies: list[str], room: int = 220) -> list[list[str]]:
    """The words in groups whose pattern stays short enough to be saved."""
    groups: list[list[str]] = [[]]
    used = 0
    for body in bodies:
        length = len(re.escape(body)) + 1
        if groups[-1] and used + length > room:
            groups.append([])
            used = 0
        groups[-1].append(body)
        used += length
    return [group for group in groups if group]
