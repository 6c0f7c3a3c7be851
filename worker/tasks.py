"""The arq functions, thin: a ticket wakes the floor, the sweep re-issues what was lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from arq import cron
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker, func

from storage.database import Database
from storage.queue import QUEUE, TICKET, Wire, dump_json, load_json, reconcile
from worker.generate import Floor

SWEEP_EVERY_S = 2


async def ticket(ctx: dict[Any, Any]) -> None:
    """Somebody queued a job: look for work. The ticket itself carries none."""
    floor: Floor = ctx["floor"]
    floor.wake()


async def sweep(ctx: dict[Any, Any]) -> None:
    """Send what was not sent, end what nobody will end, wake a worker for what can be claimed."""
    database: Database = ctx["database"]
    wire: Wire = ctx["wire"]
    await reconcile(database, wire)


def ticket_taker(pool: ArqRedis, floor: Floor, database: Database, wire: Wire) -> Worker:
    """The arq worker with the settings of RELIABILITY.md 1.4: each default was measured wrong."""
    return Worker(
        functions=[func(ticket, name=TICKET)],
        cron_jobs=[cron(sweep, second=set(range(0, 60, SWEEP_EVERY_S)), keep_result=0, timeout=30)],
        queue_name=QUEUE,
        redis_pool=pool,
        handle_signals=False,
        max_jobs=10,
        poll_delay=0.05,
        job_timeout=30,
        max_tries=1000,
        keep_result=0,
        health_check_interval=10,
        allow_abort_jobs=False,
        job_serializer=dump_json,
        job_deserializer=load_json,
        ctx={"floor": floor, "database": database, "wire": wire},
        log_results=False,
    )


async def stock_latency(url: str, rounds: int) -> list[float]:
    """Milliseconds from enqueueing to start with arq as it comes: what the benches compare with."""
    started: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def note(ctx: dict[Any, Any]) -> None:
        started.set_result(time.perf_counter())

    pool = await create_pool(RedisSettings.from_dsn(url))
    worker = Worker(
        functions=[func(note, name="note")], queue_name="bench:arq", redis_pool=pool,
        handle_signals=False, log_results=False,
    )  # fmt: skip
    working = asyncio.create_task(worker.async_run())
    found = []
    try:
        for number in range(rounds):
            # Not in step with its half-second poll, or every round would measure the same.
            await asyncio.sleep(0.11 + 0.07 * number)
            started = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            await pool.enqueue_job("note", _queue_name="bench:arq")
            found.append((await started - began) * 1000)
    finally:
        working.cancel()
        await asyncio.gather(working, worker.close(), return_exceptions=True)
    return found
