"""Changed filters before they are saved: what other lists and lines would have made of the past.

A line (a threshold) is tried on the scores that a record keeps. A list is read again over the
text that it keeps: personal data is masked there and pictures have none, so that a list is tried
on words only. What lists find in that text takes the place of what they found then; all else stays
as it was found, such as what an earlier prompt gave away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from moderation.build import listed
from moderation.lists import Lists, lists_of
from moderation.policy import Surface, decide
from moderation.settings import policy_of
from moderation.shadow import Backtest, Past, backtest
from storage.schema import Category, Flag

_OWN = re.compile(r"list\.")
"""Rules of a workspace's own lists (:meth:`moderation.lists.Lists.lexicon`)."""
_UNREAD = Flag(category=Category.FAULT, score=1.0, stage="text.terms", detail="unreadable")


def differ(now: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    """Whether two sets of settings filter differently."""
    return policy_of(now) != policy_of(then) or _words(now) != _words(then)


def tried(rows: Iterable[Any], now: Mapping[str, Any], then: Mapping[str, Any]) -> Backtest:
    """What a workspace's settings ``then`` would have made of its decision records, instead of
    ``now``: of both only this difference counts, not that a record is older than either. Blocking:
    some milliseconds a text where the lists differ."""
    before, lists = policy_of(now), (_words(now), _words(then))
    past = []
    for row in rows:
        record = Past.of(row)
        flags = (record.flags, record.flags)
        if row.text and lists[0] != lists[1]:
            flags = _read_again(record, row.text, *lists)
        outcome = decide(flags[0], before, record.surface).outcome
        past.append(record.model_copy(update={"outcome": outcome, "flags": flags[1]}))
    return backtest(past, policy_of(then))


def _words(settings: Mapping[str, Any]) -> Lists:
    """The lists but for what filters nothing."""
    return lists_of(settings).model_copy(update={"help_region": ""})


def _read_again(
    record: Past, text: str, now: Lists, then: Lists
) -> tuple[tuple[Flag, ...], tuple[Flag, ...]]:
    """The record's findings as the lists in force would have them, and as the new ones would."""
    found = [_found(record.surface, text, lists) for lists in (now, then)]
    listed = {flag for flag in record.flags if _OWN.match(flag.detail)} | found[0] | found[1]
    kept = tuple(flag for flag in record.flags if flag not in listed)
    first, second = ((*kept, *_in_order(flags)) for flags in found)
    return first, second


def _in_order(flags: frozenset[Flag]) -> list[Flag]:
    """In an order that does not change from run to run."""
    return sorted(flags, key=lambda flag: (flag.category, flag.detail, flag.score))


def _found(surface: Surface, text: str, lists: Lists) -> frozenset[Flag]:
    try:
        return frozenset(listed(surface, text, lists))
    except (TimeoutError, ValueError):
        return frozenset({_UNREAD})  # as the pipeline would: what cannot be read is held
