"""Regular expressions that moderators write: refused when catastrophic, run with a time limit.

``regex`` gives up after a time; Python's own ``re`` never does. A pattern is looked at when it is
saved (nested or overlapping repeats, size) and tried on hostile texts; what slips through both is
stopped at run time, and a pattern that ran out of time counts as a fault, so its text is held.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

MAX_PATTERN = 260
"""Characters: what Discord's AutoMod allows."""

MAX_PATTERNS = 20
"""Of one workspace."""

RUN_S = 0.02
"""Longest one pattern may look at one form of a text, in seconds."""

_TRIAL_S = 0.05
_MAX_REPEAT = 1000


class BadPattern(ValueError):
    """A pattern that may not be saved; ``reason``: ``long``, ``broken``, ``slow``, ``empty``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_pattern(pattern: str) -> None:
    """Refuse what could hang or match everything. Raises :class:`BadPattern`.

    Costs some ten milliseconds: for saving, not for judging.
    """
    import regex

    if len(pattern) > MAX_PATTERN:
        raise BadPattern("long")
    try:
        tree = re._parser.parse(pattern)  # type: ignore[attr-defined]
        compiled = regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise BadPattern("broken") from error
    if _nested(tree, inside=False):
        raise BadPattern("slow")
    try:
        if compiled.search("", timeout=_TRIAL_S) is not None:
            raise BadPattern("empty")
        for text in _hostile(pattern):
            compiled.search(text, timeout=_TRIAL_S)
    except TimeoutError as error:
        raise BadPattern("slow") from error


def _nested(tree: Any, *, inside: bool) -> bool:
    """Whether a repeat without a small bound holds another one: ``(a+)+`` takes forever."""
    for operation, value in tree:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, body = value
            wide = most is re._constants.MAXREPEAT or int(most) > 20  # type: ignore[attr-defined]
            if wide and (inside or (isinstance(most, int) and _MAX_REPEAT < most < 2**31)):
                return True
            if _nested(body, inside=inside or wide):
                return True
        elif name == "BRANCH":
            if any(_nested(branch, inside=inside) for branch in value[1]):
                return True
        elif name in ("SUBPATTERN", "ATOMIC_GROUP", "ASSERT", "ASSERT_NOT"):
            body = value[-1] if name != "ATOMIC_GROUP" else value
            if _nested(body, inside=inside):
                return True
    return False


def _hostile(pattern: str) -> list[str]:
    """Texts that make careless patterns backtrack: long runs of its own letters, never matching."""
    letters = sorted(set(re.findall(r"\w", pattern)))[:6] or ["a"]
    units = [*letters, "".join(letters), "a", " ", "ab", "0", "_-"]
    return [unit * (2000 // len(unit)) + "\x00" for unit in units]


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)


def spans(pattern: str, text: str, most: int = 50) -> list[tuple[int, int]]:
    """Where a saved pattern matches. Raises ``TimeoutError`` after ``RUN_S``."""
    found = []
    for match in _compiled(pattern).finditer(text, timeout=RUN_S):
        if match.end() > match.start():
            found.append(match.span())
        if len(found) >= most:
            break
    return found
