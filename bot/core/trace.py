"""The bot's share of a job's trace: what happened between the question and the queue.

Moments are collected beside the code that makes them happen (a context variable, so no handler
has to pass them on) and kept on the wire once the job has an id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_moments: ContextVar[list[dict[str, Any]] | None] = ContextVar("moments", default=None)


def begin() -> None:
    """A command or press has arrived."""
    _moments.set([{"name": "asked", "at": time.time(), "seconds": 0.0, "who": "bot"}])


@contextmanager
def moment(name: str) -> Iterator[None]:
    """Note how long something took."""
    at, began = time.time(), time.perf_counter()
    try:
        yield
    finally:
        kept = _moments.get()
        if kept is not None:
            seconds = time.perf_counter() - began
            kept.append({"name": name, "at": at, "seconds": seconds, "who": "bot"})


def taken() -> list[dict[str, Any]]:
    """What was noted since the last time."""
    kept = _moments.get() or []
    _moments.set([])
    return kept
