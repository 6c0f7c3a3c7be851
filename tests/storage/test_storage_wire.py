"""The wire: it wakes, it shows, it may lose everything, and it never makes anybody wait."""

from __future__ import annotations

import asyncio
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from arq.worker import Worker, func

from storage import jobs, outbox, queue
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.errors import OperatorError
from storage.queue import QUEUE, TICKET, Wire, flush_outbox, reconcile
from storage.schema import Event, EventType, JobKind, JobStatus
from tests.conftest import START, actor, row, submitted

ROOM = {JobKind.IMAGE: 1}


def state(job_id: str = "j1") -> Event:
    return Event(type=EventType.STATE, job_id=job_id, status=JobStatus.RUNNING)


def step(job_id: str = "j1", number: int = 3) -> Event:
    return Event(type=EventType.PROGRESS, job_id=job_id, step=number, steps=20)


async def run_tickets(url: str) -> list[str]:
    """An arq worker as we configure it, until the queue is empty; the tickets that ran."""
    ran: list[str] = []

    async def ticket(ctx: dict[str, Any]) -> None:
        ran.append(ctx["job_id"])

    worker = Worker(
        [func(ticket, name=TICKET)], queue_name=QUEUE, burst=True, max_jobs=1, poll_delay=0.02,
        keep_result=0, handle_signals=False, redis_settings=queue.redis_settings(url),
        job_serializer=queue.dump_json, job_deserializer=queue.load_json,
    )  # fmt: skip
    await worker.main()
    await worker.close()
    return ran


async def test_a_wake_is_a_ticket_and_a_nudge(wire: Wire, valkey: str) -> None:
    async with wire.nudges() as nudges:
        assert await wire.wake("t1")
        assert await asyncio.wait_for(anext(nudges), 60) == b"1"
    assert await wire.wake("t1")
    assert await wire.wake()
    assert len(await run_tickets(valkey)) == 2
    # Once it ran, the same ticket may be sent again.
    assert await wire.wake("t1")
    assert await run_tickets(valkey) == ["ticket-t1"]


class Bomb:
    """A pickle that would write a file where it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


async def test_a_forged_pickle_runs_nothing(wire: Wire, valkey: str, tmp_path: Path) -> None:
    hit = tmp_path / "executed"
    bomb = pickle.dumps({"t": 1, "f": TICKET, "a": (Bomb(hit),), "k": {}, "et": 1})
    pickle.loads(bomb)  # noqa: S301  (ours, to prove that it works)
    assert hit.exists(), "the bomb must work, or its silence means nothing"
    hit.unlink()
    with redis.Redis.from_url(valkey) as client:
        for key in ("arq:job:evil", "arq:result:evil", "atelier:live:evil", "atelier:preview:evil"):
            client.set(key, bomb)
        client.zadd(QUEUE, {"evil": 1})
        async with wire.listen() as events:
            client.publish("atelier:events", bomb)
            await wire.publish(state())
            assert await asyncio.wait_for(anext(events), 60) == state()
    assert await wire.wake("good")
    assert await run_tickets(valkey) == ["ticket-good"]
    assert await wire.live("evil") is None
    assert not await wire.preview_allowed("evil", "w1")
    assert not hit.exists()


async def test_the_newest_progress_waits_for_late_listeners(wire: Wire) -> None:
    assert await wire.live("j1") is None
    await wire.publish(step(number=3))
    await wire.publish(step(number=4))
    assert await wire.live("j1") == step(number=4)
    await wire.publish(state())
    assert await wire.live("j1") is None


async def test_a_preview_is_shown_in_its_own_workspace_only(wire: Wire) -> None:
    await wire.allow_preview("ab/x.png", "w1")
    assert await wire.preview_allowed("ab/x.png", "w1")
    assert not await wire.preview_allowed("ab/x.png", "w2")
    assert not await wire.preview_allowed("ab/y.png", "w1")


async def test_listening_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    url = server.start()
    wire = await Wire.connect(url)
    try:
        async with wire.listen() as events:
            await wire.publish(state("before"))
            assert (await asyncio.wait_for(anext(events), 60)).job_id == "before"
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(server.start) == url
            until = time.monotonic() + 10
            while not waiting.done() and time.monotonic() < until:
                await wire.publish(state("after"))
                await asyncio.wait([waiting], timeout=0.2)
            assert (await waiting).job_id == "after"
    finally:
        await wire.close()
        server.stop()


async def test_nobody_waits_for_a_redis_that_is_down(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    wire = await Wire.connect(server.start())
    await asyncio.to_thread(server.stop)
    slowest = 0.0
    try:
        for send in (
            lambda: wire.wake(),
            lambda: wire.ping(),
            lambda: wire.publish(state()),
            lambda: wire.live("j1"),
            lambda: wire.allow_preview("k", "w"),
            lambda: wire.preview_allowed("k", "w"),
        ):
            started = time.monotonic()
            assert not await send()
            slowest = max(slowest, time.monotonic() - started)
        print(f"Redis down: slowest call {slowest * 1000:.0f} ms")
        assert slowest < 10, "a hung Redis would take for ever"
        async with wire.listen() as events:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.2)
    finally:
        await wire.close()


async def test_nobody_waits_for_a_redis_that_hangs() -> None:
    """A peer that accepts and says nothing: no refused connection ends the wait."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    pool = queue.ArqRedis(host="127.0.0.1", port=port)
    wire = Wire(pool, url)
    started = time.monotonic()
    assert not await wire.wake()
    assert time.monotonic() - started < 10
    await wire.close()
    server.close()


async def test_connecting_to_nothing_names_the_cure() -> None:
    with pytest.raises(OperatorError):
        await Wire.connect("redis://127.0.0.1:1/0")


async def test_what_was_committed_but_not_sent_is_sent(
    database: Database, wire: Wire, valkey: str
) -> None:
    """The process died between commit and send; the next one sends, once."""
    job = submitted(database, actor(database))
    assert await flush_outbox(database, wire, now=START) == 1
    assert await flush_outbox(database, wire, now=START) == 0
    got = database.write(jobs.claim, worker="w", room=ROOM, now=START)
    assert got is not None
    database.write(jobs.finish, job.id, got.fence, status=JobStatus.FAILED, now=START)
    async with wire.listen() as events:
        assert await flush_outbox(database, wire, now=START) == 1
        assert (await asyncio.wait_for(anext(events), 60)).job_id == job.id
    assert len(await run_tickets(valkey)) == 1


async def test_what_cannot_be_sent_stays_unsent(sqlite_database: Database, tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    wire = await Wire.connect(server.start())
    ann = actor(sqlite_database)
    job = submitted(sqlite_database, ann)
    assert await flush_outbox(sqlite_database, wire, now=START) == 1
    sqlite_database.write(jobs.cancel, job.id, actor=ann, now=START)
    await asyncio.to_thread(server.stop)
    assert await flush_outbox(sqlite_database, wire, now=START) == 0
    assert [r.topic for r in sqlite_database.read(outbox.unsent)] == ["announce"]
    server.start()
    assert await flush_outbox(sqlite_database, wire, now=START) == 1
    await wire.close()
    server.stop()


async def test_sent_rows_are_forgotten_after_a_while(sqlite_database: Database, wire: Wire) -> None:
    ann = actor(sqlite_database)
    submitted(sqlite_database, ann)
    await flush_outbox(sqlite_database, wire, now=START)
    submitted(sqlite_database, ann)
    await flush_outbox(sqlite_database, wire, now=START + 4_000_000)
    assert sqlite_database.write(outbox.prune, before=START + 9_000_000) == 1


async def test_after_losing_everything_tickets_come_back(
    sqlite_database: Database, wire: Wire, valkey: str
) -> None:
    job = submitted(sqlite_database, actor(sqlite_database))
    assert await reconcile(sqlite_database, wire, now=START) == []
    with redis.Redis.from_url(valkey) as client:
        client.flushdb()
        # A busy GPU, reconcilers that come every second: tickets do not pile up.
        for second in range(20):
            await reconcile(sqlite_database, wire, now=START + 1_000 * second)
        assert 1 <= client.zcard(QUEUE) <= 5
    assert await run_tickets(valkey)
    got = sqlite_database.write(jobs.claim, worker="w", room=ROOM, now=START)
    assert got is not None and got.job_id == job.id
    # Its worker dies: the sweep and the next ticket bring it back.
    late = START + jobs.LEASE_MS + 1
    assert await reconcile(sqlite_database, wire, now=late) == []
    assert await run_tickets(valkey)
    assert row(sqlite_database, job.id).status == JobStatus.RUNNING
    assert sqlite_database.write(jobs.claim, worker="w2", room=ROOM, now=late) is not None


async def test_an_event_is_seen_for_the_first_time_once(wire: Wire) -> None:
    seen = await asyncio.gather(*(wire.first_sight("slack:Ev1") for _ in range(5)))
    assert sorted(seen) == [False, False, False, False, True]
    assert await wire.first_sight("slack:Ev2")
    assert 0 < await wire.pool.ttl("atelier:seen:slack:Ev1") <= 3600


async def test_without_redis_every_event_is_taken(wire: Wire) -> None:
    """The database knows a repeated one by its key."""
    lost = Wire(wire.pool, wire.url)
    await wire.pool.aclose()
    wire.pool.connection_pool.connection_kwargs["port"] = 1
    assert await lost.first_sight("slack:Ev1")
