"""How often cards may be redrawn: per job, and together within what Slack allows a workspace.

``chat.update`` is a tier 3 method: 50 calls a minute for all cards of a workspace. Progress takes
at most 36 of them, so that a finished card never waits behind somebody's percentage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

PER_JOB_S = 3.0
"""Shortest time between two redraws of one card."""
PER_MINUTE = 36
"""Redraws of all cards of the workspace for progress."""
BURST = 6
_KEPT = 1_000
"""Cards whose last redraw is remembered before the old ones are forgotten."""


class Budget:
    """A bucket of redraws that fills steadily, and the last redraw of each card. Pure but for
    its clock."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        per_job_s: float = PER_JOB_S,
        per_minute: float = PER_MINUTE,
        burst: float = BURST,
    ) -> None:
        self._clock = clock
        self._per_job = per_job_s
        self._rate = per_minute / 60
        self._burst = burst
        self._tokens = burst
        self._filled = clock()
        self._last: dict[str, float] = {}
        self._closed_until = 0.0

    def wait(self, job_id: str) -> float:
        """Seconds until this card may be redrawn; 0 for now."""
        now = self._fill()
        own = self._last.get(job_id, float("-inf")) + self._per_job - now
        shared = 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._rate
        return max(0.0, own, shared, self._closed_until - now)

    def turn(self, jobs: Iterable[str]) -> tuple[str, float] | None:
        """Whose card is next, and in how many seconds: the one that was not redrawn for longest."""
        never = float("-inf")
        order = sorted((self._last.get(job, never), job) for job in jobs)
        waits = [(self.wait(job), rank, job) for rank, (_, job) in enumerate(order)]
        if not waits:
            return None
        pause, _, job = min(waits)
        return job, pause

    def spend(self, job_id: str) -> None:
        """A redraw was sent."""
        now = self._fill()
        self._last[job_id] = now
        self._tokens -= 1
        if len(self._last) > _KEPT:  # cards that were redrawn after their end, one by one
            self._last = {job: at for job, at in self._last.items() if now - at < self._per_job}

    def close(self, seconds: float) -> None:
        """Slack wants a pause: no progress until then."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def forget(self, job_id: str) -> None:
        """The job ended."""
        self._last.pop(job_id, None)

    def _fill(self) -> float:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        return now
