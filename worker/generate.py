"""The use case: claim the fairest job, run it, check it, store it, settle it, announce it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moderation.marks.identity import Identity
from moderation.pipeline import Pipeline
from moderation.record import Recorder
from storage import jobs
from storage.blobs import Blobs
from storage.clock import Clock, now_ms
from storage.database import Database
from storage.endings import Ending, end_job
from storage.errors import MemberError, OperatorError, RetryLater
from storage.jobs import Claim
from storage.queue import Wire, flush_outbox
from storage.registry import Registry
from storage.schema import ChatSpec, Event, EventType, JobStatus, Millis
from worker.answer_run import Stopped
from worker.cached import from_cache
from worker.engine.errors import Cancelled, EngineStopped
from worker.keeper import Keeper
from worker.lookup import with_documents
from worker.memory import fold
from worker.metrics import Metrics
from worker.produce import produce
from worker.quality import Likeness
from worker.sources import sources_of
from worker.translate import Translator
from worker.verdicts import failed
from worker.writing import dressed, needs_writing

if TYPE_CHECKING:
    from worker.engine.engine import Engine
    from worker.engine.run import Run

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Longest time between two looks at the database when nothing wakes us (Redis down, say)."""
SWEEP_S = 5.0
STUCK_S = 30.0
"""How long after its deadline a run may go on before the engine counts as hung."""
RENEW_S = 3.0
"""Between two renewals of a lease of 10 s: two may be missed."""


@dataclass(frozen=True)
class Tools:
    """Everything a run uses, built at the root."""

    database: Database
    wire: Wire
    blobs: Blobs
    registry: Registry
    engine: Engine
    gate: Pipeline
    worker: str
    identity: Identity | None = None
    """Signs pictures; ``None`` leaves them unmarked (tests)."""
    clock: Clock = now_ms
    lease_ms: Millis = jobs.LEASE_MS
    slack_ms: Millis = jobs.SLACK_MS
    renew_s: float = RENEW_S
    metrics: Metrics = field(default_factory=Metrics)
    judge: Pipeline | None = None
    """The chat model as judge of doubtful prompts, where it is switched on."""
    likeness: Likeness | None = None
    """Whether a picture is like its prompt, where a CLIP model was configured."""
    recorder: Recorder = None  # type: ignore[assignment]
    """Judges and keeps decision records; made of the other parts when not given."""

    def __post_init__(self) -> None:
        if self.recorder is None:
            object.__setattr__(self, "recorder", Recorder(self.database, self.clock))


class Floor:
    """The worker's shop floor: claims as long as the engine has room, runs what it claimed."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._wake = asyncio.Event()
        self._beats: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[str, Run] = {}
        self._closing = False
        self._claiming = asyncio.Lock()
        self._watches: set[asyncio.Task[None]] = set()
        self._translator = Translator(tools)
        self.leave: frozenset[str] = frozenset()
        """Models whose jobs are left to other workers, which have their weights."""
        self.stuck = asyncio.Event()
        """Set when the engine ignores a cancelled run: restart the process."""

    def wake(self) -> None:
        """Look at the database now, and ask about cancellation of what runs."""
        self._wake.set()
        for beat in self._beats:
            beat.set()

    async def run(self) -> None:
        """Claim and run until cancelled; a passing fault costs one look."""
        swept = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                if loop.time() - swept > SWEEP_S:
                    await self.tools.database.run(jobs.sweep, now=self.tools.clock())
                    swept = loop.time()
                started = await self.look()
                self._translator.look(busy=bool(started or self._tasks))
            except RetryLater as error:
                log.warning("could not look for work: %s", error)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def look(self) -> int:
        """Claim and start what there is room for; returns how many jobs were started."""
        started = 0
        while True:
            # Held while a claim is under way, so that a stop never overlooks what was just taken.
            async with self._claiming:
                if self._closing or not await self._take():
                    return started
            started += 1

    async def _take(self) -> bool:
        """Claim one job and hand it to the engine; False when there is no room or no job."""
        tools = self.tools
        # Asked even without room: what the recipe cache answers needs none.
        room = tools.engine.room()
        # A claim is a lease: a power loss that undoes it ends us too.
        claim = await tools.database.run_unsynced(
            jobs.claim,
            worker=tools.worker,
            room=room,
            now=tools.clock(),
            loaded=tools.engine.loaded(),
            leave=self.leave,
            slack_ms=tools.slack_ms,
            lease_ms=tools.lease_ms,
        )
        if claim is None:
            return False
        self._translator.stop()
        tools.metrics.claimed(claim)
        if claim.cached:
            self._do(claim.job_id, self._serve(claim))
            return True
        return await self._begin(claim)

    async def _begin(self, claim: Claim) -> bool:
        """Hand a claimed job to the engine; True, for it is off our hands either way."""
        tools = self.tools
        try:
            claim = await with_documents(tools, claim)
            # Submitted before the next look, so that the engine's room counts it.
            # What starts from a picture waits for it to be read and judged (worker.sources).
            # So does a picture whose prompt is still to be written (worker.writing).
            spec = claim.spec
            waits = sources_of(spec) or needs_writing(spec, tools.registry)
            held = {"hold": True} if waits else {}
            if isinstance(spec, ChatSpec):
                spec = dressed(spec, tools.registry)
            run = tools.engine.submit(claim.job_id, spec, **held)
        except (MemberError, OperatorError):
            # A model or style that was taken out of the registry after the job was queued. Not a
            # passing fault of the database (looking something up): that is left to the lease.
            log.exception("job %s cannot run here", claim.job_id)
            ending = Ending(status=JobStatus.FAILED, error_code="model_unavailable")
            await tools.database.run(end_job, claim.job_id, claim.fence, ending, now=tools.clock())
            await flush_outbox(tools.database, tools.wire, now=tools.clock())
            return True
        self._runs[claim.job_id] = run
        self._do(claim.job_id, self._work(claim, run))
        return True

    def _do(self, job_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"job {job_id}")
        self._tasks.add(task)
        self.tools.metrics.running(len(self._tasks))
        task.add_done_callback(self._forget)

    def _forget(self, done: asyncio.Task[None]) -> None:
        self._tasks.discard(done)
        self.tools.metrics.running(len(self._tasks))

    async def _serve(self, claim: Claim) -> None:
        """Answer a job from the recipe cache; whatever happens, the lease brings it back."""
        tools = self.tools
        try:
            # Four pictures judged on a busy machine outlast a lease.
            with self._kept(claim, lambda: None) as keeper:
                ending = await from_cache(tools, claim)
            tools.metrics.cache(hit=ending is not None)
            if ending is not None and (keeper.lost or keeper.cancelled):
                _discard(tools.blobs, ending)
                if keeper.lost:
                    return
                ending = Ending(status=JobStatus.CANCELLED)
            if ending is None:
                # Deleted since it was asked for: made after all, still at no cost.
                await self._begin(claim)
                return
            if not await _persist(
                tools,
                lambda: tools.database.run(
                    end_job, claim.job_id, claim.fence, ending, now=tools.clock()
                ),
            ):
                _discard(tools.blobs, ending)
            await flush_outbox(tools.database, tools.wire, now=tools.clock())
        except Exception:
            log.exception("job %s was left to its lease", claim.job_id)
        finally:
            self.wake()

    @property
    def busy(self) -> int:
        """Jobs running here now."""
        return len(self._tasks)

    async def stop(self, grace_s: float) -> None:
        """Stop claiming, let running jobs finish for a while, give the others back."""
        self._closing = True
        async with self._claiming:
            pass
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        # A stopped engine ends every run with EngineStopped: each job is given back.
        await self.tools.engine.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _work(self, claim: Claim, run: Run) -> None:
        """One of the three broad excepts: whatever one job does, the others go on."""
        try:
            await self._announce(claim, JobStatus.RUNNING)
            await self._run_claim(claim, run)
        except Exception:
            # The lease runs out and the job is tried again, here or elsewhere.
            log.exception("job %s was left to its lease", claim.job_id)
            run.cancel()
        finally:
            self._runs.pop(claim.job_id, None)
            self.wake()

    @contextmanager
    def _kept(self, claim: Claim, stop: Callable[[], None]) -> Iterator[Keeper]:
        """Renews a claim's lease for as long as it takes; ``stop`` is called when it was cancelled
        or lost."""
        beat = asyncio.Event()
        self._beats.add(beat)
        keeper = Keeper(self.tools, claim, stop, beat)
        renewing = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            renewing.cancel()
            self._beats.discard(beat)

    async def _run_claim(self, claim: Claim, run: Run) -> None:
        tools = self.tools
        with self._kept(claim, run.cancel) as keeper:
            try:
                ending = await self._produce(claim, run, keeper)
            finally:
                if not run.ended:
                    # Over before the engine had it (its pictures unread, its prompt unwritten): a
                    # run that is only held would keep its place for ever.
                    run.cancel()
        if ending is None or keeper.lost:
            if ending is not None:
                _discard(tools.blobs, ending)
            return
        began = time.perf_counter()
        ended = await _persist(
            tools,
            lambda: tools.database.run(
                end_job, claim.job_id, claim.fence, ending, now=tools.clock()
            ),
        )
        run.note("settle", time.perf_counter() - began)
        await tools.wire.note(claim.job_id, told(claim, run))
        tools.metrics.ended(claim, ending, run, now=tools.clock())
        if not ended:
            log.info("job %s belongs to someone else now; its work was thrown away", claim.job_id)
            _discard(tools.blobs, ending)
        await flush_outbox(tools.database, tools.wire, now=tools.clock())
        if ended and ending.exchange is not None:
            self._afterwards(claim)

    def _afterwards(self, claim: Claim) -> None:
        """What nobody waits for: a conversation that grew long is folded."""

        async def tidy() -> None:
            try:
                await fold(self.tools, claim)
            except RetryLater:
                log.info("a conversation is folded another time")

        task = asyncio.create_task(tidy(), name=f"fold {claim.job_id}")
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _produce(self, claim: Claim, run: Run, keeper: Keeper) -> Ending | None:
        """What the job came to; None when it is not ours to end (given back, or lost)."""
        tools = self.tools
        try:
            async with asyncio.timeout(claim.deadline_ms / 1000):
                return await produce(tools, claim, run)
        except TimeoutError:
            run.cancel()
            self._watch_end(run)
            return failed("deadline", run)
        except Cancelled as error:
            if not keeper.cancelled:
                return None
            if isinstance(error, Stopped):
                return error.ending
            return Ending(status=JobStatus.CANCELLED, engine_ms=run.busy_ms)
        except EngineStopped:
            if not self._closing:
                # The engine died: its lease runs out and counts as an attempt, or one poisonous
                # job would take every worker down for ever.
                return None
            await tools.database.run(jobs.give_back, claim.job_id, claim.fence, now=tools.clock())
            await flush_outbox(tools.database, tools.wire, now=tools.clock())
            return None

    def _watch_end(self, run: Run) -> None:
        """A run that ignores its end keeps the engine: then this process has to go."""

        async def watch() -> None:
            await asyncio.sleep(STUCK_S)
            if not run.ended:
                log.critical("the engine has not let go of a job in %s s", STUCK_S)
                self.stuck.set()

        task = asyncio.create_task(watch())
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _announce(self, claim: Claim, status: JobStatus) -> None:
        await self.tools.wire.publish(
            Event(type=EventType.STATE, job_id=claim.job_id, status=status)
        )


def told(claim: Claim, run: Run) -> list[dict[str, Any]]:
    """The worker's share of a job's trace, as it goes over the wire."""
    first = {"name": "claimed", "at": claim.claimed_at / 1000, "seconds": 0.0, "who": "worker"}
    rest = [
        {"name": m.name, "at": m.at, "seconds": m.seconds, "batch": m.batch, "index": m.index,
         "who": "worker"}
        for m in run.moments
    ]  # fmt: skip
    return [first, *rest]


async def _persist(tools: Tools, write: Callable[[], Awaitable[bool]]) -> bool:
    """Write the end of a job, through a few seconds of database trouble."""
    for pause in (0.1, 0.5, 2.0, None):
        try:
            return await write()
        except RetryLater:
            if pause is None:
                raise
            await asyncio.sleep(pause)
    return False


def _discard(blobs: Blobs, ending: Ending) -> None:
    for made in ending.made:
        if made.blob is not None:
            blobs.delete(made.blob)
