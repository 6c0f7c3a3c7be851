"""Keeps a claimed job ours while it is worked on, and hears when its member wants it no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from storage import jobs
from storage.errors import RetryLater
from storage.jobs import Claim

if TYPE_CHECKING:
    from worker.generate import Tools


class Keeper:
    """Renews one job's lease from the event loop and carries the member's wish to stop."""

    def __init__(
        self, tools: Tools, claim: Claim, stop: Callable[[], None], beat: asyncio.Event
    ) -> None:
        self._tools = tools
        self._claim = claim
        self._stop = stop
        self._beat = beat
        self.lost = False
        self.cancelled = False

    async def run(self) -> None:
        """Renew every few seconds, or at once when woken, until cancelled or lost."""
        tools, claim = self._tools, self._claim
        while True:
            try:
                async with asyncio.timeout(tools.renew_s):
                    await self._beat.wait()
            except TimeoutError:
                pass
            self._beat.clear()
            try:
                lease = await tools.database.run_unsynced(
                    jobs.renew, claim.job_id, claim.fence, now=tools.clock(),
                    lease_ms=tools.lease_ms,
                )  # fmt: skip
            except RetryLater:
                continue
            if not lease.ours:
                self.lost = True
            elif lease.cancelled:
                self.cancelled = True
            if self.lost or self.cancelled:
                self._stop()
                if self.lost:
                    return
