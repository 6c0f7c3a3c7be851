"""A Discord server's AutoMod rules as this workspace's lists: shown first, added by a button."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moderation.automod import Imported, from_automod
from moderation.lists import Deny, Lists, lists_of
from moderation.stages.limits import MAX_PATTERNS
from storage.errors import BadInput

MAX_BYTES = 2_000_000
"""Six rules of a thousand keywords are under half a megabyte."""


@dataclass(frozen=True)
class Plan:
    """What an import would add to what is there."""

    lists: Lists
    """As they would be afterwards."""
    rules: int
    words: int
    patterns: int
    allowed: int
    refused: tuple[tuple[str, str], ...]
    """Patterns we may not run, with the reason's code."""
    known: int
    """Words, patterns and phrases that are listed already."""

    @property
    def adds(self) -> int:
        """How many entries are new."""
        return self.words + self.patterns + self.allowed


def rules_in(data: bytes | str) -> list[Mapping[str, Any]]:
    """The rules of a JSON file: the API's own array, or an object that holds it.

    Raises ``BadInput('automod_unreadable')``.
    """
    if len(data) > MAX_BYTES:
        raise BadInput("automod_unreadable")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput("automod_unreadable") from error
    if isinstance(found, Mapping):
        inner = next((v for v in found.values() if isinstance(v, list)), None)
        found = inner if inner is not None else [found]
    if not isinstance(found, list) or not all(isinstance(rule, Mapping) for rule in found):
        raise BadInput("automod_unreadable")
    if not any("trigger_type" in rule for rule in found):
        raise BadInput("automod_unreadable")
    return found


def planned(settings: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> Plan:
    """What these rules would add. Nothing is changed by it."""
    before, found = lists_of(settings), from_automod(rules)
    terms = {term for deny in before.deny for term in deny.terms}
    deny: list[Deny] = []
    for entry in found.lists.deny:
        fresh = tuple(term for term in entry.terms if term not in terms)
        terms.update(fresh)
        if fresh:
            deny.append(entry.model_copy(update={"terms": fresh}))
    there = {entry.pattern for entry in before.patterns}
    patterns = [p for p in found.lists.patterns if p.pattern not in there]
    room = MAX_PATTERNS - len(before.patterns)
    refused = [*found.refused, *((p.pattern[:80], "many") for p in patterns[room:])]
    patterns = patterns[:room]
    allow = [phrase for phrase in found.lists.allow if phrase not in before.allow]
    words = sum(len(entry.terms) for entry in deny)
    return Plan(
        lists=before.model_copy(
            update={
                "deny": (*before.deny, *deny), "patterns": (*before.patterns, *patterns),
                "allow": (*before.allow, *allow)[:1000],
            }
        ),
        rules=found.rules, words=words, patterns=len(patterns), allowed=len(allow),
        refused=tuple(refused), known=_entries(found) - words - len(patterns) - len(allow),
    )  # fmt: skip


def _entries(found: Imported) -> int:
    lists = found.lists
    return sum(len(d.terms) for d in lists.deny) + len(lists.patterns) + len(lists.allow)


def values_of(plan: Plan) -> dict[str, Any]:
    """What is put into the settings, by path."""
    data = plan.lists.model_dump(mode="json")
    return {f"lists.{name}": data[name] for name in ("deny", "patterns", "allow") if data[name]}
