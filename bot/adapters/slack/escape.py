"""Text that Slack shows as it is: nothing in it pings, links or formats.

Three characters are special in every text Slack parses (``mrkdwn``, message texts and streamed
Markdown): with them escaped, ``<!channel>``, ``<@U1>`` and ``<https://x|label>`` stay letters.
Source: docs.slack.dev, "Formatting message text".
"""

from __future__ import annotations

import re

_MARKS = re.compile(r"[*_~`]")
_JOINER = "\u2060"
"""Word joiner, invisible: keeps a mark from beginning or ending a format."""


def escaped(text: str) -> str:
    """For any text that Slack parses: ``&``, ``<`` and ``>`` as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def literal(text: str) -> str:
    """For ``mrkdwn``: escaped, and no mark in it makes anything bold, italic or code."""
    return _MARKS.sub(lambda mark: f"{_JOINER}{mark[0]}{_JOINER}", escaped(text))


def code(text: str) -> str:
    """For ``mrkdwn``: a short text in a fixed-width face."""
    return f"`{escaped(fit(text, 200)).replace('`', chr(39))}`" if text else ""


def fit(text: str, limit: int) -> str:
    """At most ``limit`` characters, with an ellipsis when something was left out.

    For labels, previews and alt texts; answers are split instead (:mod:`bot.core.split`).
    """
    if len(text) <= limit:
        return text
    return text[: limit - 1].rstrip() + "…"


def fit_escaped(text: str, limit: int) -> str:
    """:func:`escaped`, at most ``limit`` characters, never ending inside an entity."""
    whole = escaped(text)
    if len(whole) <= limit:
        return whole
    cut = whole[: limit - 1]
    start = cut.rfind("&")
    if start >= 0 and ";" not in cut[start:]:
        cut = cut[:start]
    return cut.rstrip() + "…"
