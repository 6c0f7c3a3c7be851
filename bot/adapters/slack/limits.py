"""What Slack accepts, as numbers. Source: shared/PLATFORMS.md 4b and the SDK's own validators."""

from __future__ import annotations

from typing import Any

BLOCKS = 50
"""Blocks of a message."""
VIEW_BLOCKS = 100
"""Blocks of a dialogue or the Home tab."""
SECTION = 3000
FIELDS = 10
FIELD = 2000
CONTEXT_ELEMENTS = 10
BUTTON_LABEL = 75
BUTTON_VALUE = 2000
PER_ROW = 5
"""Buttons we put into one line; Slack would take 25 and wrap them anyhow."""
ALT = 500
"""Slack takes 2,000, but a reader has to listen to all of it."""
VIEW_TITLE = 24
SELECT = 100
OPTION_LABEL = 75
OPTION_VALUE = 150
PLACEHOLDER = 150
INPUT_LABEL = 2000
INPUT_TEXT = 3000
METADATA = 3000
CONFIRM_TITLE = 100
CONFIRM_TEXT = 300
CONFIRM_BUTTON = 30
MESSAGE = 12_500
"""Characters over all blocks of a message. Slack stops at about 13,200 (bolt-js#2509)."""
STREAM = 12_000
"""Characters of one piece of a stream."""
ANSWER = 10_500
"""Of an answer in one message, beside its question, facts and buttons."""

_COUNTED = ("text", "alt_text", "value", "name")


def weight(blocks: Any) -> int:
    """Characters over all blocks: every text in them, whatever it is for."""
    if isinstance(blocks, list):
        return sum(weight(item) for item in blocks)
    if isinstance(blocks, dict):
        return sum(
            len(value) if isinstance(value, str) and key in _COUNTED else weight(value)
            for key, value in blocks.items()
        )
    return 0
