"""Finished jobs to replies, at least once, across restarts; progress while they run, best effort.

The announcement is a nudge; the row is the truth. So besides listening, delivery looks for
whatever ended and was not delivered, at start and every few seconds. Showing a card twice
replaces it, and ``delivered_at`` is set by one conditional UPDATE: one final card per job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bot.core.announcer import Announcer
from bot.core.cards import job_reply
from bot.core.presenter import Notifier, Presenter
from bot.core.services import Services
from storage import litter, outbox, retention, views
from storage.errors import AtelierError, NotFound, RetryLater
from storage.models import Job
from storage.schema import TERMINAL_STATUSES, Address, Event, EventType, Millis, Platform

log = logging.getLogger(__name__)

SWEEP_S = 2.0
"""How often we look for what an announcement did not tell us."""
KEEP_S = 3_600.0
"""How often what is older than its workspace keeps it is removed."""
CLEAR_S = 24 * 3_600.0
"""How often we look for files that a crash left without a row."""
WIPE_S = 60.0
"""How often tokens that ended are forgotten."""
PAUSES_MS = (2_000, 5_000, 15_000, 60_000)
"""Between tries to deliver one job to a platform that is unwell; the last one repeats."""
AT_ONCE = 8
"""Cards delivered at a time."""
REDRAWS = 16
"""Cards redrawn at a time."""
UPDATE_S = 0.2
"""Shortest time between two progress updates of one job: five a second."""


@dataclass(frozen=True)
class _Place:
    """Where a job's card lives, remembered between events."""

    address: Address
    workspace_id: str
    locale: str


@dataclass(frozen=True)
class _Pause:
    """A job whose platform was unwell: how often, and when to try again."""

    tries: int
    until: Millis


class Delivery:
    """Puts cards where they were asked for, on the platforms it has presenters for."""

    def __init__(
        self,
        services: Services,
        presenters: Mapping[Platform, Presenter],
        notifiers: Mapping[Platform, Notifier] | None = None,
    ) -> None:
        self._services = services
        self._presenters = presenters
        self._places: dict[str, _Place] = {}
        self._stale: set[str] = set()
        self._busy: set[str] = set()
        self._pauses: dict[str, _Pause] = {}
        self._tick = asyncio.Event()
        self.announcer = Announcer(services, notifiers or {})

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._update())
            tasks.create_task(self._sweep())

    async def _listen(self) -> None:
        async with self._services.wire.listen() as events:
            async for event in events:
                await self._hear(event)

    async def _hear(self, event: Event) -> None:
        self._stale.add(event.job_id)
        if event.type is EventType.STATE:
            self._tick.set()

    async def _update(self) -> None:
        """Redraw jobs that changed, coalesced: a hundred events in a tick are one update.

        Several at once, each job once: one card that a platform takes its time with (an upload, a
        pause it wants) must not stop everybody's progress.
        """
        drawing: set[str] = set()
        room = asyncio.Semaphore(REDRAWS)

        async def one(job_id: str) -> None:
            try:
                async with room:
                    await self._refresh(job_id)
            finally:
                drawing.discard(job_id)

        async with asyncio.TaskGroup() as going:
            while True:
                try:
                    async with asyncio.timeout(UPDATE_S):
                        await self._tick.wait()
                except TimeoutError:
                    pass
                self._tick.clear()
                batch, self._stale = self._stale, set()
                self._stale |= batch & drawing
                for job_id in batch - drawing:
                    drawing.add(job_id)
                    going.create_task(one(job_id))

    async def _refresh(self, job_id: str) -> None:
        """One of the three broad excepts: one job's bad card must not stop the others."""
        try:
            place = self._places.get(job_id) or await self._find(job_id)
            if place is None:
                return
            reply = await job_reply(
                self._services, job_id, place.locale, workspace_id=place.workspace_id
            )
            if reply.status in TERMINAL_STATUSES:
                pause = self._pauses.get(job_id)
                if pause is not None and pause.until > self._services.clock():
                    return
                if await self.deliver(job_id, place):
                    self._pauses.pop(job_id, None)
                    return
            # Still running, or in place already and changed since (deleted, say).
            await self._presenters[place.address.platform].update(place.address, reply)
            if reply.status in TERMINAL_STATUSES:
                self._places.pop(job_id, None)
        except RetryLater:
            log.debug("update of %s dropped", job_id)
            self._postpone(job_id)
        except NotFound:
            log.debug("update of %s dropped", job_id)
            self._places.pop(job_id, None)
        except AtelierError:
            log.exception("update of %s failed", job_id)
        except Exception:
            log.exception("bug while updating %s", job_id)

    async def _find(self, job_id: str) -> _Place | None:
        found = await self._services.database.look(views.where, job_id)
        if found is None or found[0].platform not in self._presenters:
            return None
        address, workspace_id, locale = found
        self._places[job_id] = place = _Place(address, workspace_id, locale)
        return place

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        chores: dict[str, tuple[Callable[[], Awaitable[object]], float]] = {
            "delivery": (self.sweep, 0.0),
            "cases": (self.announcer.announce_cases, 0.0),
            "late cases": (self.announcer.announce_breaches, 0.0),
            "disabled members": (self.announcer.announce_disabled, 0.0),
            "ended tokens": (self._services.posts.wipe, WIPE_S),
            "retention": (self.keep_house, KEEP_S),
            "litter": (self.clear_away, CLEAR_S),
        }
        due = dict.fromkeys(chores, float("-inf"))
        while True:
            for name, (chore, every) in chores.items():
                if loop.time() < due[name]:
                    continue
                try:
                    await chore()
                    due[name] = loop.time() + every
                except Exception:
                    # Each for itself: what fails every time must not keep the others from theirs.
                    log.exception("%s failed", name)
                    due[name] = loop.time() + min(every, WIPE_S)
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> int:
        """Deliver everything that ended and was not delivered; returns how many it tried.

        Several at once, so that a platform that answers slowly keeps the others waiting no
        longer than it must; a job whose platform was unwell is left alone for a while, so that
        a storm of refusals is not answered with one of tries.
        """
        now = self._services.clock()
        paused = [job_id for job_id, pause in self._pauses.items() if pause.until > now]
        waiting = await self._services.database.look(
            views.undelivered, platforms=list(self._presenters), without=paused
        )
        room = asyncio.Semaphore(AT_ONCE)

        async def one(job: Job, workspace_id: str) -> None:
            async with room:
                place = _Place(Address.model_validate(job.address), workspace_id, job.locale)
                await self._try(job.id, place)

        await asyncio.gather(*(one(job, workspace_id) for job, workspace_id in waiting))
        return len(waiting)

    async def keep_house(self) -> int:
        """Retention: remove what is older than its workspace keeps it; returns files deleted."""
        services, gone = self._services, 0
        while True:
            swept = await services.database.run(retention.sweep, now=services.clock())
            for blob in swept.blobs:
                await asyncio.to_thread(services.blobs.delete, blob)
            gone += len(swept.blobs)
            if not swept.rows:
                return gone

    async def clear_away(self) -> int:
        """Files that no row names, left by a crash, are removed; returns how many."""
        return await asyncio.to_thread(
            litter.collect, self._services.database, self._services.blobs
        )

    async def _try(self, job_id: str, place: _Place) -> None:
        """One of the three broad excepts: one job's bad card must not stop the others."""
        try:
            await self.deliver(job_id, place)
            self._pauses.pop(job_id, None)
        except RetryLater as error:
            self._postpone(job_id)
            log.info("delivery of %s postponed: %s", job_id, error)
        except Exception:
            self._postpone(job_id)
            log.exception("bug while delivering %s", job_id)

    def _postpone(self, job_id: str) -> None:
        before = self._pauses.get(job_id)
        tries = before.tries + 1 if before else 1
        pause = PAUSES_MS[min(tries, len(PAUSES_MS)) - 1]
        self._pauses[job_id] = _Pause(tries, self._services.clock() + pause)

    async def deliver(self, job_id: str, place: _Place) -> bool:
        """Show a finished job's card, then note that it is in place; False when it was before.

        A crash in between shows it again, which replaces the card.
        """
        if job_id in self._busy:
            return True
        self._busy.add(job_id)
        try:
            if not await self._services.database.look(outbox.awaits_delivery, job_id):
                return False
            reply = await job_reply(
                self._services, job_id, place.locale, workspace_id=place.workspace_id
            )
            await self._presenters[place.address.platform].present(place.address, reply)
            await self._services.database.run(
                outbox.mark_delivered, job_id, now=self._services.clock()
            )
            self._places.pop(job_id, None)
            return True
        finally:
            self._busy.discard(job_id)
