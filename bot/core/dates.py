"""Days as a workspace counts them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from storage.schema import Millis


def date_of(at: Millis, timezone: str) -> str:
    """A day as the workspace counts it, ``2027-02-01``."""
    return datetime.fromtimestamp(at / 1000, tz=ZoneInfo(timezone)).strftime("%Y-%m-%d")
