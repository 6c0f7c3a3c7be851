"""What Slack's libraries may log: that something happened, never what somebody wrote or a secret.

Bolt logs the whole body of a request it refuses or does not know, and the socket client each
message it receives; both hold members' words, and bodies hold ``response_url`` and trigger ids.
"""

from __future__ import annotations

import logging
import re

_SECRET = re.compile(r"xox[a-z]-[\w-]+|xapp-[\w-]+|https?://hooks\.slack\.com/\S+|wss://\S+")
_BODY = re.compile(r"[\n({\[].*", re.DOTALL)
_LOGGERS = ("bot.slack.bolt", "bot.slack.sdk", "slack_sdk", "slack_bolt")


class Redacted(logging.Filter):
    """Keeps the first words of a record, up to where a body could begin."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place; it is always kept."""
        said = _BODY.sub("…", record.getMessage())
        record.msg = _SECRET.sub("(secret)", said)
        record.args = ()
        record.exc_info = None
        return True


def bolt_logger() -> logging.Logger:
    """The logger for Bolt, with every library logger of Slack's made harmless."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, Redacted) for one in logger.filters):
            logger.addFilter(Redacted())
        # At DEBUG they build texts of whole bodies before any filter sees them.
        logger.setLevel(logging.INFO)
    return logging.getLogger("bot.slack.bolt")
