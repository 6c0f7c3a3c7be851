"""`python -m tests.bench.reserve [writers] [each] [threads]`: reserving credits at once on one
SQLite file, each writer a process of its own or, with the third word, a thread of one.

Prints reservations a second and how long one took, waiting for the others included. To compare
two versions, run them in turn: the machine's own load moves the figures more than anything.
"""

from __future__ import annotations

import multiprocessing as mp
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from sqlmodel import Session

from storage import ledger
from storage.database import Database
from storage.migrate import migrate

ACCOUNTS = 20


def _reserve(session: Session, account: str, job_id: str) -> bool:
    return ledger.reserve(session, account, 1, job_id=job_id, now=1)


def _write(database: Database, who: int, each: int, ready: Any) -> list[float]:
    took = []
    database.write(_reserve, f"member:{who}", f"first-{who}")
    ready.wait()
    for number in range(each):
        began = time.perf_counter()
        database.write(_reserve, f"member:{(who + number) % ACCOUNTS}", f"{who}-{number}")
        took.append((time.perf_counter() - began) * 1000)
    return took


def _process(url: str, who: int, each: int, ready: Barrier, out: mp.Queue[list[float]]) -> None:
    database = Database(url)
    out.put(_write(database, who, each, ready))
    database.close()


def main(writers: int = 4, each: int = 250, threads: bool = False) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'atelier.db'}"
        database = Database(url)
        migrate(database)

        def seed(session: Session) -> None:
            for number in range(ACCOUNTS):
                ledger.grant(session, f"member:{number}", 10**6, key=f"g{number}", now=1)

        database.write(seed)
        took: list[float] = []
        if threads:
            gate = threading.Barrier(writers + 1)
            with ThreadPoolExecutor(writers) as pool:
                running = [pool.submit(_write, database, who, each, gate) for who in range(writers)]
                gate.wait()
                began = time.perf_counter()
                took = sorted(ms for one in running for ms in one.result())
        else:
            ready = mp.Barrier(writers + 1)
            out: mp.Queue[list[float]] = mp.Queue()
            processes = [
                mp.Process(target=_process, args=(url, who, each, ready, out))
                for who in range(writers)
            ]
            for process in processes:
                process.start()
            ready.wait()
            began = time.perf_counter()
            took = sorted(ms for _ in processes for ms in out.get())
        seconds = time.perf_counter() - began
        database.close()
    p50, p95, p99 = (took[int(len(took) * share)] for share in (0.5, 0.95, 0.99))
    print(
        f"{writers} {'threads' if threads else 'processes'}, {len(took)} reservations, "
        f"{len(took) / seconds:.0f}/s: "
        f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, longest {took[-1]:.1f} ms"
    )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]), threads=sys.argv[3:4] == ["threads"])
