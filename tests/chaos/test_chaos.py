"""Kill, flush and drop: every job ends once, is charged once and is delivered once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import redis
from sqlmodel import select

from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.delivery import Delivery
from bot.core.services import Services
from moderation.build import prompt_pipeline
from storage.blobs import Blobs
from storage.database import Database
from storage.models import Entry, Generation, Job, Outbox, Reservation
from storage.queue import Wire
from storage.registry import load_registry
from storage.schema import TERMINAL_STATUSES, JobStatus, Platform
from tests.conftest import actor, set_limits, sound
from tests.fakes import FakeAdapter

ROOT = Path(__file__).resolve().parents[2]
KILLS = 22
JOBS = 150
MEMBERS = 12
PLACES = 2


class Workers:
    """Real worker processes that can be killed and started again."""

    def __init__(self, database: Database, redis_url: str, home: Path, lease_ms: int) -> None:
        self.env = os.environ | {
            "ATELIER_DATABASE_URL": database.url,
            "ATELIER_REDIS_URL": redis_url,
            "ATELIER_HOME": str(home),
            "ATELIER_MAX_IMAGES": str(PLACES),
            "ATELIER_LEASE_MS": str(lease_ms),
            "PYTHONPATH": str(ROOT),
        }
        self.log = (home / "worker.log").open("ab")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker_child"], env=self.env,
            stderr=self.log, stdout=self.log, cwd=ROOT,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.processes.remove(process)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        self.log.close()


def rows(database: Database) -> list[Job]:
    return database.read(lambda s: list(s.exec(select(Job))))


def open_jobs(database: Database) -> int:
    return sum(JobStatus(job.status) not in TERMINAL_STATUSES for job in rows(database))


@pytest.mark.slow
async def test_kills_a_flush_and_dropped_tickets(
    database: Database, valkey: str, tmp_path: Path
) -> None:
    dice = random.Random(4711)
    wire = await Wire.connect(valkey)
    gate = prompt_pipeline()
    services = Services(
        database=database, wire=wire, blobs=Blobs(tmp_path / "blobs"), registry=load_registry(),
        prompt_gate=gate,
    )  # fmt: skip
    fake = FakeAdapter(core=Core(services, COMMANDS, PRESSES))
    for number in range(MEMBERS):
        actor(database, f"m{number}", workspace=fake.workspace, credits=500)
    set_limits(database)
    delivering = asyncio.create_task(Delivery(services, {Platform.FAKE: fake}).run())
    workers = Workers(database, valkey, tmp_path, lease_ms=2_000)
    dropped = kills = 0
    try:
        for _ in range(2):
            workers.start()
        await asyncio.sleep(2.0)
        sent = 0
        while kills < KILLS:
            for _ in range(min(JOBS - sent, dice.randint(5, 9))):
                key = f"k{sent}"
                wish = {"prompt": "apple", "seed": sent, "steps": dice.randint(3, 25)}
                lost = dice.random() < 0.15
                if lost:
                    # The bot dies between commit and Redis: the row is there, the ticket is not.
                    dropped += 1
                    fake.core.services.wire.pool.enqueue_job = _fail  # type: ignore[union-attr]
                    fake.core.services.wire.pool.publish = _fail  # type: ignore[union-attr]
                member = f"m{dice.randrange(MEMBERS)}"
                for _ in range(2 if dice.random() < 0.1 else 1):
                    reply = await fake.say("imagine", member, key=key, **wish)
                    assert reply.job_id, reply.text
                if lost:
                    del fake.core.services.wire.pool.enqueue_job  # type: ignore[union-attr]
                    del fake.core.services.wire.pool.publish  # type: ignore[union-attr]
                sent += 1
                if dice.random() < 0.1:
                    fake.fail_before, fake.fail_after = dice.choice([(1, 0), (0, 1)])
            await asyncio.sleep(dice.uniform(0.5, 1.1))
            workers.kill(dice.choice(workers.processes))
            workers.start()
            kills += 1
            if kills == KILLS // 2:
                with redis.Redis.from_url(valkey) as client:
                    client.flushdb()
        started = time.monotonic()
        async with asyncio.timeout(60):
            while open_jobs(database) or any(job.delivered_at is None for job in rows(database)):
                await asyncio.sleep(0.2)
        drained = time.monotonic() - started
    finally:
        delivering.cancel()
        workers.stop()
        await wire.close()

    jobs = rows(database)
    assert len(jobs) == sent == JOBS
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
    announced = database.read(
        lambda s: list(s.exec(select(Outbox).where(Outbox.topic == "announce")))
    )
    assert Counter(item.job_id for item in announced) == Counter(job.id for job in jobs)
    again = sum(job.fence for job in jobs) - len(jobs)
    assert again <= kills * PLACES, "a crash repeats at most what was running"
    print(
        f"\nchaos on {database.engine.dialect.name}: {len(jobs)} jobs, {kills} kills, "
        f"{dropped} dropped tickets, 1 FLUSHDB; {dict(status)}; {again} runs repeated; "
        f"drained {drained:.1f} s after the last kill; "
        f"{len(fake.posted)} posts for {len(jobs)} cards"
    )


async def _fail(*_: object, **__: object) -> None:
    raise redis.exceptions.ConnectionError("dropped on purpose")


@pytest.mark.slow
async def test_a_stopped_worker_wakes_up_harmless(
    sqlite_database: Database, valkey: str, tmp_path: Path
) -> None:
    """SIGSTOP for longer than the lease: another worker ends the job, the first changes nothing."""
    database = sqlite_database
    wire = await Wire.connect(valkey)
    services = Services(
        database=database, wire=wire, blobs=Blobs(tmp_path / "blobs"), registry=load_registry(),
        prompt_gate=prompt_pipeline(),
    )  # fmt: skip
    fake = FakeAdapter(core=Core(services, COMMANDS, PRESSES))
    workers = Workers(database, valkey, tmp_path, lease_ms=1_000)
    try:
        first = workers.start()
        job = (await fake.say("imagine", prompt="apple", seed=1, steps=100)).job_id
        async with asyncio.timeout(20):
            while rows(database)[0].status != JobStatus.RUNNING:
                await asyncio.sleep(0.02)
        first.send_signal(signal.SIGSTOP)
        workers.start()
        async with asyncio.timeout(20):
            while open_jobs(database):
                await asyncio.sleep(0.05)
        ended = rows(database)[0]
        first.send_signal(signal.SIGCONT)
        await asyncio.sleep(2.0)
        assert first.poll() is None
        after = rows(database)[0]
        assert (after.fence, after.finished_at, after.worker) == (
            ended.fence, ended.finished_at, ended.worker,
        )  # fmt: skip
        assert after.id == job
        assert after.fence == 2
        made = database.read(lambda s: list(s.exec(select(Generation))))
        assert len(made) == 1
        files = list((tmp_path / "blobs").rglob("*.png"))
        assert len(files) == 1, "the stale worker's picture was thrown away"
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
    services = Services(
        database=database, wire=wire, blobs=Blobs(tmp_path / "blobs"), registry=load_registry(),
        prompt_gate=prompt_pipeline(),
    )  # fmt: skip
    fake = FakeAdapter(core=Core(services, COMMANDS, PRESSES))
    workers = Workers(database, valkey, tmp_path, lease_ms=10_000)
    workers.env["ATELIER_GRACE_S"] = "0"

    async def fence(number: int, within: float) -> float:
        begun = time.monotonic()
        async with asyncio.timeout(within):
            while rows(database)[0].fence < number:
                await asyncio.sleep(0.02)
        return time.monotonic() - begun

    try:
        victim, other = workers.start(), workers.start()
        await asyncio.sleep(3.0)
        await fake.say("imagine", prompt="apple", seed=1, steps=100, size="128x128")
        await fence(1, 20)
        owner = rows(database)[0].worker or ""
        victim = next(p for p in (victim, other) if owner.endswith(f":{p.pid}"))
        workers.kill(victim)
        lost = await fence(2, 15)
        assert lost <= 12.5
        running = workers.processes[0]
        workers.start()
        await asyncio.sleep(3.0)
        if open_jobs(database):
            # Still running: a deploy. It was 100 steps of 10 ms, so usually it is done by now.
            running.terminate()
            running.wait(10)
        async with asyncio.timeout(20):
            while open_jobs(database):
                await asyncio.sleep(0.05)
        assert rows(database)[0].status == JobStatus.SUCCEEDED
        print(f"\nrun again {lost:.1f} s after kill -9")
        assert sound(database)
    finally:
        workers.stop()
        await wire.close()
