"""Measure c: from pushing a job to its first work on the model, in an idle worker.

The worker's own floor, engine and nudge listener over a database file and a real Redis, pushed to
by a process of its own, as the bot is one. Only the moderation of what was made is left out: it
comes after the measured stretch.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from moderation.pipeline import Pipeline
from storage import jobs
from storage.blobs import Blobs
from storage.clock import now_ms
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.migrate import migrate
from storage.queue import Wire
from worker.bench.driver import Counted
from worker.bench.measure import Measure, percentile
from worker.bench.pusher import LIST, Pusher
from worker.bench.subjects import Subjects
from worker.engine.engine import Engine
from worker.generate import Floor, Tools
from worker.tasks import stock_latency

WARM = 3
"""Jobs before the first that counts: connections, statements and kernels are made by then."""


class Watched(Counted):
    """A runner that notes when the engine thread hands it a job: its first work follows at once."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.begun: list[float] = []

    def begin(self, *args: Any, **kwargs: Any) -> Any:
        """As the runner: reads the prompt, sets up the sampler, draws the noise."""
        self.begun.append(time.perf_counter())
        return self.inner.begin(*args, **kwargs)


@asynccontextmanager
async def _worker(
    subjects: Subjects, database: Database, wire: Wire, home: Path
) -> AsyncIterator[tuple[Floor, Watched]]:
    runner = Watched(subjects.image)
    engine = Engine(subjects.registry, home, load=lambda card: runner)
    tools = Tools(
        database=database, wire=wire, blobs=Blobs(home / "blobs"), registry=subjects.registry,
        engine=engine, gate=Pipeline([]), worker="bench",
    )  # fmt: skip
    floor = Floor(tools)
    await engine.start()
    await engine.warm(["picture"])
    listening = asyncio.Event()

    async def hear() -> None:
        async with wire.nudges() as nudges:
            listening.set()
            async for _ in nudges:
                floor.wake()

    tasks = [asyncio.create_task(floor.run()), asyncio.create_task(hear())]
    try:
        await listening.wait()
        yield floor, runner
    finally:
        await floor.stop(5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def latency(subjects: Subjects, rounds: int, arq_rounds: int) -> list[Measure]:
    """c: against its own target, stock arq and a consumer that waits in a bare BLPOP."""
    return asyncio.run(_latency(subjects, rounds, arq_rounds))


async def _latency(subjects: Subjects, rounds: int, arq_rounds: int) -> list[Measure]:
    with tempfile.TemporaryDirectory(prefix="atelier-bench-") as folder:
        home = Path(folder)
        server = EmbeddedValkey(home / "valkey")
        url = await asyncio.to_thread(server.start)
        database = Database(f"sqlite:///{home / 'bench.db'}")
        migrate(database)
        wire = await Wire.connect(url)
        try:
            async with (
                Pusher(database.url, url, subjects.spec(0, steps=1)) as pusher,
                _worker(subjects, database, wire, home) as (floor, runner),
            ):
                ours, bare = await _pushes(pusher, wire, floor, runner, rounds)
            left = database.read(jobs.claimable, now=now_ms())
            arq = await stock_latency(url, arq_rounds)
        finally:
            await wire.close()
            database.close()
            await asyncio.to_thread(server.stop)
    half, most = percentile(ours, 0.5), percentile(ours, 0.95)
    told = f"{rounds + WARM} jobs, begun {len(runner.begun)} times, {left} left"
    return [
        Measure("c", "push to the engine's first work on it, p50", half, "ms", "<= 5", min(ours),
                max(ours), len(ours), told),
        Measure("c", "push to the engine's first work on it, p95", most, "ms", "<= 20",
                rounds=len(ours), identity=told),
        Measure("c", "the p50 / stock arq's", half / percentile(arq, 0.5), "x", "<= 0.0333",
                rounds=len(arq), also=f"arq {percentile(arq, 0.5):.0f} ms"),
        Measure("c", "the p50 / a bare BLPOP", half / percentile(bare, 0.5), "x", "<= 25",
                rounds=len(bare), also=f"BLPOP {percentile(bare, 0.5):.2f} ms"),
    ]  # fmt: skip


async def _pushes(
    pusher: Pusher, wire: Wire, floor: Floor, runner: Watched, rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of our way and of a bare BLPOP, in turns; the worker is idle before each."""
    ours: list[float] = []
    bare: list[float] = []
    for number in range(rounds + WARM):
        pushed = await pusher.ask(f"job {number}")
        while len(runner.begun) <= number or floor.busy:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        ours.append((runner.begun[number] - pushed) * 1000)
        bare.append(await _blpop(pusher, wire))
    return ours[WARM:], bare[WARM:]


async def _blpop(pusher: Pusher, wire: Wire) -> float:
    """Milliseconds from RPUSH to a consumer that waits for it, as the worker waits for nudges."""

    async def consume() -> float:
        await wire.pool.blpop([LIST], timeout=5)  # type: ignore[misc]
        return time.perf_counter()

    waiting = asyncio.create_task(consume())
    while not int((await wire.pool.info("clients"))["blocked_clients"]):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    pushed = await pusher.ask("list")
    return (await waiting - pushed) * 1000
