"""One coalescing editor for every card: the newest state wins, no message is edited in a storm.

Discord takes about five edits in five seconds per channel and bans an address for ten thousand
refused calls. So a message is edited at most every :data:`GAP_S`, a channel's messages together
at most every :data:`CHANNEL_GAP_S`, a refused channel is left alone for longer and longer, and a
message that is gone is never tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bot.core.reply import Reply
from storage.errors import RetryLater

log = logging.getLogger(__name__)

GAP_S = 1.6
"""Shortest time between two edits of one message."""
CHANNEL_GAP_S = 1.1
"""Shortest time between two edits in one channel."""
_LONGEST_PAUSE_S = 60.0
_AT_ONCE = 8

Edit = Callable[[Reply], Awaitable[bool]]
"""Edits a job's card; False when there is no card to edit any more. Raises ``RetryLater``."""


@dataclass
class _Channel:
    """What we know of one channel's patience."""

    free_at: float = 0.0
    pause: float = 0.0


@dataclass
class Editor:
    """Takes replies in, edits cards in its own time. Run :meth:`run` beside the client."""

    edit: Edit
    gap_s: float = GAP_S
    channel_gap_s: float = CHANNEL_GAP_S
    clock: Callable[[], float] = time.monotonic
    _waiting: dict[str, tuple[str, Reply]] = field(default_factory=dict)
    _free_at: dict[str, float] = field(default_factory=dict)
    _channels: dict[str, _Channel] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _dead: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, channel: str, reply: Reply) -> None:
        """Show this state of the job when its message may be edited next; replaces an older one."""
        job = reply.job_id
        if job is None or job in self._dead:
            return
        self._waiting[job] = (channel, reply)
        self._wake.set()

    def drop(self, job: str) -> None:
        """Forget what waits for a job: its final card is being put in place."""
        self._waiting.pop(job, None)

    def revive(self, job: str) -> None:
        """A job's card is up again somewhere (a direct message): edits have a place once more."""
        self._dead.discard(job)

    def touched(self, job: str, channel: str) -> None:
        """Note that a message was just written by somebody else, which counts as an edit."""
        now = self.clock()
        self._free_at[job] = now + self.gap_s
        self._channels.setdefault(channel, _Channel()).free_at = now + self.channel_gap_s
        if len(self._free_at) > 4_000:
            self._tidy(now)

    async def run(self) -> None:
        """Edit until cancelled."""
        async with asyncio.TaskGroup() as edits:
            while True:
                self._wake.clear()
                pause = self._start(edits)
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    def _start(self, edits: asyncio.TaskGroup) -> float | None:
        """Begin every edit that is due; seconds until the next one is, None when none waits."""
        soonest: float | None = None
        for job, (channel, reply) in list(self._waiting.items()):
            if job in self._busy:
                continue
            now = self.clock()
            place = self._channels.setdefault(channel, _Channel())
            due = max(self._free_at.get(job, 0.0), place.free_at)
            if due > now or len(self._busy) >= _AT_ONCE:
                wait = max(0.05, due - now)
                soonest = wait if soonest is None else min(soonest, wait)
                continue
            del self._waiting[job]
            self._busy.add(job)
            self.touched(job, channel)
            edits.create_task(self._one(job, channel, reply, place))
        return soonest

    async def _one(self, job: str, channel: str, reply: Reply, place: _Channel) -> None:
        """One of the adapter's outer walls: one card's trouble must not stop the others."""
        try:
            if not await self.edit(reply):
                self._dead.add(job)
                self._waiting.pop(job, None)
            place.pause = 0.0
        except RetryLater:
            place.pause = min(_LONGEST_PAUSE_S, max(2 * place.pause, 2 * self.channel_gap_s))
            place.free_at = self.clock() + place.pause
            self._waiting.setdefault(job, (channel, reply))
        except Exception:
            log.exception("bug while editing the card of %s", job)
        finally:
            self._busy.discard(job)
            self._wake.set()

    def _tidy(self, now: float) -> None:
        self._free_at = {job: at for job, at in self._free_at.items() if at > now}
        self._channels = {
            name: place
            for name, place in self._channels.items()
            if place.free_at > now or place.pause
        }
        if len(self._dead) > 4_000:
            self._dead.clear()
