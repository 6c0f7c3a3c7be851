"""The one place that reads the wall clock, so that everything else can be handed a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from storage.schema import Millis

Clock = Callable[[], Millis]


def now_ms() -> Millis:
    """Milliseconds since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000
