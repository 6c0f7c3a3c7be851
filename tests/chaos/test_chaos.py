"""Kill, flush and drop: every job ends once, is charged once and is delivered once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from sqlmodel import select

from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.delivery import Delivery
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.models import Entry, Generation, Job, Outbox, Reservation
from storage.queue import Wire
from storage.schema import TERMINAL_STATUSES, JobStatus, Platform
from tests.chaos.workers import PLACES, Workers
from tests.conftest import actor, set_limits, sound
from tests.fakes import FakeAdapter, make_services

KILLS = {"postgresql": 22, "sqlite": 10}
JOBS = {"postgresql": 150, "sqlite": 70}
"""By database. Most of the time goes to workers that start again: the whole number once."""
MEMBERS = 12


def rows(database: Database) -> list[Job]:
    return database.read(lambda s: list(s.exec(select(Job))))


def open_jobs(database: Database) -> int:
    return sum(JobStatus(job.status) not in TERMINAL_STATUSES for job in rows(database))


async def busy_worker(database: Database, workers: Workers) -> subprocess.Popen[bytes] | None:
    """A worker that is making something now; None when nobody has been for three seconds."""
    for _ in range(60):
        owners = [workers.owner(job.worker) for job in rows(database) if job.status == "running"]
        if found := [process for process in owners if process is not None]:
            return found[0]
        await asyncio.sleep(0.05)
    return None


async def restart(server: EmbeddedValkey, url: str, away_s: float) -> None:
    """Redis goes and comes back empty, at the same address with the same password."""
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(away_s)
    assert await asyncio.to_thread(server.start) == url


def make_fake(database: Database, wire: Wire, home: Path) -> FakeAdapter:
    """A fake platform on a real core."""
    services = make_services(database, wire, home)
    return FakeAdapter(core=Core(services, COMMANDS, PRESSES))


@pytest.mark.slow
async def test_kills_a_flush_a_restart_and_dropped_tickets(
    database: Database, tmp_path: Path
) -> None:
    dice = random.Random(4711)
    to_kill, wanted = KILLS[database.engine.dialect.name], JOBS[database.engine.dialect.name]
    server = EmbeddedValkey(tmp_path / "valkey")
    valkey = server.start()
    wire = await Wire.connect(valkey)
    fake = make_fake(database, wire, tmp_path)
    assert fake.core is not None
    services = fake.core.services
    for number in range(MEMBERS):
        actor(database, f"m{number}", workspace=fake.workspace, credits=500)
    set_limits(database)
    delivering = asyncio.create_task(Delivery(services, {Platform.FAKE: fake}).run())
    workers = Workers(database, valkey, tmp_path, lease_ms=2_000, step_ms=30)
    restarting: asyncio.Task[None] | None = None
    dropped = kills = idle = broken = sent = 0
    try:
        await workers.ready(*[workers.start() for _ in range(3)])
        while kills < to_kill:
            for _ in range(min(wanted - sent, dice.randint(7, 9))):
                key = f"k{sent}"
                wish: dict[str, Any] = {
                    "prompt": "apple",
                    "seed": sent,
                    "steps": dice.randint(3, 25),
                }
                lost = dice.random() < 0.15
                if lost:
                    # The bot dies between commit and Redis: the row is there, the ticket is not.
                    dropped += 1
                    wire.pool.enqueue_job = _fail  # type: ignore[method-assign]
                    wire.pool.publish = _fail  # type: ignore[method-assign]
                member = f"m{dice.randrange(MEMBERS)}"
                for _ in range(2 if dice.random() < 0.1 else 1):
                    reply = await fake.say("imagine", member, key=key, **wish)
                    assert reply.job_id, reply.text
                if lost:
                    del wire.pool.enqueue_job, wire.pool.publish
                sent += 1
                if dice.random() < 0.1:
                    fake.fail_before, fake.fail_after = dice.choice([(1, 0), (0, 1)])
                    broken += fake.fail_after
            await asyncio.sleep(dice.uniform(0.2, 0.6))
            victim = await busy_worker(database, workers)
            idle += victim is None
            workers.kill(victim or dice.choice(workers.processes))
            workers.start()
            workers.mend()
            kills += 1
            if kills == to_kill // 3:
                with redis.Redis.from_url(valkey) as client:
                    client.flushdb()
            if kills == to_kill // 2:
                restarting = asyncio.create_task(restart(server, valkey, away_s=3.0))
        started = time.monotonic()
        async with asyncio.timeout(60):
            while open_jobs(database) or any(job.delivered_at is None for job in rows(database)):
                workers.mend()
                await asyncio.sleep(0.2)
        drained = time.monotonic() - started
        assert restarting is not None
        await restarting
    finally:
        delivering.cancel()
        workers.stop()
        await wire.close()
        server.stop()

    jobs = rows(database)
    assert len(jobs) == sent == wanted
    status = Counter(str(job.status) for job in jobs)
    assert set(status) <= {"succeeded", "failed"}, status
    assert all(job.error_code == "crashed" for job in jobs if job.status == "failed")
    assert sound(database)

    entries = database.read(lambda s: list(s.exec(select(Entry).where(Entry.kind == "settle"))))
    charged = Counter(entry.job_id for entry in entries)
    won = {job.id for job in jobs if job.status == "succeeded"}
    assert charged == Counter(won), "charged once, and only for what was made"
    held = database.read(lambda s: list(s.exec(select(Reservation))))
    assert all(item.state != "held" for item in held)
    made = database.read(lambda s: list(s.exec(select(Generation))))
    assert Counter(item.job_id for item in made) == Counter(won)
    for item in made:
        assert services.blobs.path(item.blob or "").exists()

    assert fake.cards.keys() == {job.id for job in jobs}
    assert all(fake.cards[job.id].status == job.status for job in jobs), "one final card each"
    assert len(fake.posted) <= wanted + broken, (
        "posted twice only where the platform lost its answer"
    )
    announced = database.read(
        lambda s: list(s.exec(select(Outbox).where(Outbox.topic == "announce")))
    )
    assert Counter(item.job_id for item in announced) == Counter(job.id for job in jobs)
    # Ending a job that crashed too often raises its fence too, without a run.
    again = sum(job.fence for job in jobs) - len(jobs) - status["failed"]
    assert again <= kills * PLACES, "a crash repeats at most what was running"
    assert again >= (to_kill - idle) // 2 >= to_kill // 4, "runs really were interrupted"
    print(
        f"\nchaos on {database.engine.dialect.name}: {len(jobs)} jobs, {kills} kills, "
        f"{dropped} dropped tickets, 1 FLUSHDB, 1 restart of Redis; {dict(status)}; "
        f"{again} runs repeated; drained {drained:.1f} s after the last kill; "
        f"{len(fake.posted)} posts for {len(jobs)} cards, {broken} lost answers"
    )


async def _fail(*_: object, **__: object) -> None:
    raise redis.exceptions.ConnectionError("dropped on purpose")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["midway", "with its picture stored"])
async def test_a_stopped_worker_wakes_up_harmless(
    sqlite_database: Database, valkey: str, tmp_path: Path, when: str
) -> None:
    """SIGSTOP for longer than the lease: another worker ends the job, the first changes nothing.

    Midway, its next renewal tells it; with the picture stored, only the fence of its last write.
    """
    database = sqlite_database
    wire = await Wire.connect(valkey)
    fake = make_fake(database, wire, tmp_path)
    workers = Workers(database, valkey, tmp_path, lease_ms=2_000)
    late = when != "midway"
    steps = 10 if late else 40  # it stops after a tenth of a second, before any renewal

    def pictures() -> set[str]:
        return {path.name for path in (tmp_path / "blobs").rglob("*.png")}

    try:
        first = workers.start(ATELIER_TEST_FREEZE="11")
        job = (await fake.say("imagine", prompt="apple", seed=1, steps=steps, format="png")).job_id
        async with asyncio.timeout(60):
            while psutil.Process(first.pid).status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.02)
        stale = pictures()
        assert len(stale) == late
        workers.start()
        async with asyncio.timeout(60):
            while open_jobs(database):
                await asyncio.sleep(0.05)
        ended = rows(database)[0]
        entries = database.read(lambda s: s.exec(select(Entry)).all())
        kept = pictures() - stale
        assert (ended.id, ended.fence, ended.status, len(kept)) == (job, 2, "succeeded", 1)

        first.send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            while late and "belongs to someone else now" not in workers.said(first):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2 if late else 2.0)
        assert first.poll() is None, "it lives on, for other jobs"
        assert rows(database) == [ended]
        assert database.read(lambda s: s.exec(select(Entry)).all()) == entries
        [made] = database.read(lambda s: s.exec(select(Generation)).all())
        assert pictures() == kept == {Path(made.blob or "").name}, "the stale one was thrown away"
        assert sound(database)
    finally:
        workers.stop()
        await wire.close()


@pytest.mark.slow
async def test_recovery_with_the_real_lease_and_a_graceful_restart(
    sqlite_database: Database, valkey: str, tmp_path: Path
) -> None:
    """kill -9: again within 10 s and a bit. SIGTERM: again at once, and no attempt is counted."""
    database = sqlite_database
    wire = await Wire.connect(valkey)
    fake = make_fake(database, wire, tmp_path)
    # Sixty steps of a tenth of a second: whatever happens, it happens to a running job.
    workers = Workers(database, valkey, tmp_path, lease_ms=10_000, step_ms=100)
    workers.env["ATELIER_GRACE_S"] = "0"

    async def claimed(fence: int, within: float) -> tuple[Job, subprocess.Popen[bytes]]:
        async with asyncio.timeout(within):
            while rows(database)[0].fence < fence:
                await asyncio.sleep(0.02)
        job = rows(database)[0]
        owner = workers.owner(job.worker)
        assert owner is not None and (job.fence, job.status) == (fence, JobStatus.RUNNING)
        return job, owner

    try:
        await workers.ready(*[workers.start() for _ in range(3)])
        await fake.say("imagine", prompt="apple", seed=1, steps=60)
        job, first = await claimed(1, 60)
        assert job.attempts == 1

        workers.kill(first)
        begun = time.monotonic()
        job, second = await claimed(2, 60)
        crashed = time.monotonic() - begun
        assert job.attempts == 2, "a crash counts"

        await asyncio.sleep(1.0)
        assert rows(database)[0].status == JobStatus.RUNNING
        second.terminate()
        begun = time.monotonic()
        job, third = await claimed(3, 60)
        deployed = time.monotonic() - begun
        assert job.attempts == 2, "a graceful stop does not"
        assert third is not second
        assert second.wait(60) == 0

        async with asyncio.timeout(60):
            while open_jobs(database):
                await asyncio.sleep(0.05)
        ended = rows(database)[0]
        assert (ended.status, ended.fence, ended.attempts) == (JobStatus.SUCCEEDED, 3, 2)
        print(f"\nrun again {crashed:.1f} s after kill -9, {deployed:.2f} s after SIGTERM")
        assert sound(database)
    finally:
        workers.stop()
        await wire.close()
