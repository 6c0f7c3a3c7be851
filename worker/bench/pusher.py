"""Who pushes jobs in measure c: a process of its own, as the bot is one; light to import."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from typing import Self

from storage.clock import now_ms
from storage.database import Database
from storage.queue import Wire, flush_outbox
from storage.schema import ImageSpec
from worker.bench.traffic import enrol, queue

LIST = "bench:list"


class Pusher:
    """The process, seen from the one that measures. Use as an asynchronous context manager."""

    def __init__(self, database_url: str, redis_url: str, spec: ImageSpec) -> None:
        self._arguments = (database_url, redis_url, spec.model_dump_json())
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker.bench.pusher", *self._arguments, stdin=PIPE, stdout=PIPE
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()

    async def ask(self, line: str) -> float:
        """``job NUMBER`` or ``list``; when it was pushed, by the clock all processes share (s)."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{line}\n".encode())
        return float(await process.stdout.readline())


async def push(database_url: str, redis_url: str, spec: ImageSpec) -> None:
    """Pushes what standard input asks for, a line each, and tells when on standard output."""
    database, wire = Database(database_url), await Wire.connect(redis_url)
    actor = enrol(database, "ann", workspace="bench")
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, _, number = line.strip().partition(" ")
        if what == "list":
            pushed = time.perf_counter()
            await wire.pool.rpush(LIST, b"1")  # type: ignore[misc]
        else:
            wish = spec.model_copy(update={"seed": int(number)})
            queue(database, actor, wish, f"c{number}", 1_000, now_ms())
            pushed = time.perf_counter()
            await flush_outbox(database, wire, queued=True)
        sys.stdout.write(f"{pushed}\n")
        sys.stdout.flush()
    await wire.close()
    database.close()


if __name__ == "__main__":
    asyncio.run(push(sys.argv[1], sys.argv[2], ImageSpec.model_validate_json(sys.argv[3])))
