"""Secrets out of logs: what looks like one is replaced before a line is written, tracebacks too.

discord.py logs interaction URLs, whose path holds the token, at DEBUG; bolt logs whole request
bodies when a signature is wrong (RELIABILITY.md 5, rows 1 and 14). So every handler of ours formats
with :class:`Redacting`, and tests push canaries through it.
"""

from __future__ import annotations

import logging
import re

GONE = "[redacted]"

_PATTERNS = (
    # Slack: xoxb-, xoxp-, xoxe.xoxp-, xapp-...
    (re.compile(r"\b(?:xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z0-9-]{6,}"), GONE),
    # Slack's response_url and incoming webhooks: whoever has one may post.
    (re.compile(r"(hooks\.slack\.com/)(?:[A-Za-z0-9_-]+/)+[A-Za-z0-9_%-]+"), rf"\1{GONE}"),
    # Discord: /webhooks/<id>/<token> and /interactions/<id>/<token>/callback
    (re.compile(r"(/(?:webhooks|interactions)/\d+/)[A-Za-z0-9_.%:=-]{20,}"), rf"\1{GONE}"),
    # Discord's bot tokens: base64 of the id, a time, a signature.
    (re.compile(r"\b[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,45}"), GONE),
    # Interaction tokens wherever they are: "aW50ZXJhY3Rpb246" is "interaction:".
    (re.compile(r"aW50ZXJhY3Rpb246[A-Za-z0-9_=-]+"), GONE),
    (re.compile(r"(?i)\b((?:bearer|bot|basic)\s+)[A-Za-z0-9._~+/=-]{16,}"), rf"\1{GONE}"),
    # user:password@host in any URL.
    (re.compile(r"(\w+://[^\s:/@]*:)[^\s/@]+(@)"), rf"\1{GONE}\2"),
    (
        re.compile(
            r"(?i)(['\"]?(?:token|secret|password|authorization|api[_-]?key|signature|signing[_-]secret|"
            r"x-slack-signature)['\"]?\s*[=:]\s*b?['\"]?)(?!\[redacted)[^\s'\",;&}\])]{8,}"
        ),
        rf"\1{GONE}",
    ),
)


def redact(text: str) -> str:
    """The text without anything that looks like a credential."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


class Redacting(logging.Formatter):
    """A formatter whose finished line, exception and stack included, holds no credential."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
