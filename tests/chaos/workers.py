"""Real worker processes that a test may kill, stop, wake and start again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from storage.database import Database

ROOT = Path(__file__).resolve().parents[2]
PLACES = 2
"""How many pictures one worker makes at a time."""


class Workers:
    """What `atelier up` is to one worker, for several: it starts them, and again when they die."""

    def __init__(
        self, database: Database, redis_url: str, home: Path, *, lease_ms: int, step_ms: int = 10
    ) -> None:
        self.home = home
        self.env = os.environ | {
            "ATELIER_DATABASE_URL": database.url,
            "ATELIER_REDIS_URL": redis_url,
            "ATELIER_HOME": str(home),
            "ATELIER_MAX_IMAGES": str(PLACES),
            "ATELIER_LEASE_MS": str(lease_ms),
            "ATELIER_TEST_STEP_MS": str(step_ms),
            "PYTHONPATH": str(ROOT),
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self._logs: dict[int, Path] = {}

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        """Start one, with more in its environment."""
        path = self.home / f"worker-{len(self._logs)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.worker_child"],
                env=self.env | more, stderr=log, stdout=log, cwd=ROOT,
            )  # fmt: skip
        self.processes.append(process)
        self._logs[process.pid] = path
        return process

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """Everything it logged."""
        return self._logs[process.pid].read_text(errors="replace")

    async def ready(self, *processes: subprocess.Popen[bytes]) -> None:
        """Wait until these take work."""
        async with asyncio.timeout(30):
            while not all("worker ready" in self.said(process) for process in processes):
                await asyncio.sleep(0.05)

    def owner(self, worker: str | None) -> subprocess.Popen[bytes] | None:
        """The process that a row names as its worker, if it is one of ours and lives."""
        pid = (worker or "").rpartition(":")[2]
        return next((p for p in self.processes if str(p.pid) == pid and p.poll() is None), None)

    def mend(self) -> None:
        """Start one for each that ended by itself (no Redis at its start, say)."""
        for process in [p for p in self.processes if p.poll() is not None]:
            self.processes.remove(process)
            self.start()

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """``kill -9``."""
        process.kill()
        process.wait()
        self.processes.remove(process)

    def stop(self) -> None:
        """End them all."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
