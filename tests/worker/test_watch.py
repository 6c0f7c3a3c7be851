"""A worker whose engine is dead goes, so that whoever supervises it can start another."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from worker.__main__ import watch_engine


async def watched(engine: Any, seconds: float) -> bool:
    """Whether the worker was told to stop within so many seconds."""
    stop = asyncio.Event()
    floor: Any = SimpleNamespace(stuck=asyncio.Event())
    watching = asyncio.create_task(watch_engine(engine, floor, stop))
    await asyncio.wait([watching], timeout=seconds)
    watching.cancel()
    return stop.is_set()


async def test_a_dead_engine_ends_the_worker() -> None:
    assert await watched(SimpleNamespace(alive=False), 3.0)


async def test_a_living_engine_does_not() -> None:
    assert not await watched(SimpleNamespace(alive=True), 1.5)
