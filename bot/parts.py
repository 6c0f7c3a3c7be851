"""The processes a studio is made of: the embedded Valkey and the worker, kept alive and stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from bot.instance import lives, stop_strays, valkeys_in
from bot.settings import BotSettings
from storage.embedded import EmbeddedValkey
from storage.errors import OperatorError
from storage.presence import is_present
from storage.registry import ModelCard, Registry

log = logging.getLogger(__name__)

Say = Callable[[str], None]
"""Tells the person one line."""

READY = "worker ready"
GRACE_S = 12.0
"""How long a worker may take to give its jobs back before it is killed."""
_LONG_LIFE_S = 60.0
_TOKENS = frozenset(
    {
        "ATELIER_DISCORD_TOKEN", "ATELIER_SLACK_BOT_TOKEN", "ATELIER_SLACK_APP_TOKEN",
        "ATELIER_SLACK_SIGNING_SECRET", "ATELIER_WEB_TOKEN",
    }
)  # fmt: skip
_LINE_LIMIT = 1 << 20


class Broker:
    """Redis: the one that is configured, or a Valkey of our own that dies with us."""

    def __init__(self, settings: BotSettings) -> None:
        self.url = settings.redis_url
        self.folder = settings.home.resolve() / "valkey"
        self._own: EmbeddedValkey | None = None
        self._servers: list[Any] = []
        self._guard: subprocess.Popen[bytes] | None = None

    async def start(self) -> str:
        """Start ours unless one is configured; the URL. Raises ``OperatorError``."""
        if not self.url:
            await asyncio.to_thread(self._start)
        return self.url

    def _start(self) -> None:
        if stop_strays(self.folder):
            log.warning("stopped a Valkey that a killed studio had left behind")
        # Ctrl-C reaches the whole terminal: ours must stop after the worker, not with it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            # Started again, the same one keeps its port and password: everyone comes back.
            own = self._own or EmbeddedValkey(self.folder)
            self.url = own.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._own = own
        self._watch()

    def _watch(self) -> None:
        """A tiny shell that ends the server when this process is gone, however it went."""
        self._unwatch()
        self._servers = valkeys_in(self.folder)
        servers = [str(process.pid) for process in self._servers]
        if servers:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", 'read -r _; kill -TERM "$@"', "atelier-guard", *servers],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _unwatch(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            if self._guard.stdin is not None:
                self._guard.stdin.close()
            self._guard = None

    async def keep(self, say: Say) -> None:
        """Start our server again, at the same address, whenever it dies; until cancelled.

        A failed start is tried again; with a configured Redis there is nothing to keep.
        """
        if self._own is None:
            await asyncio.Event().wait()
        said = False
        while True:
            await asyncio.sleep(1.0)
            if any(lives(process) for process in self._servers):
                said = False
                continue
            if not said:
                say("Valkey stopped; starting it again.")
                said = True
            try:
                await asyncio.to_thread(self._start)
            except (OperatorError, OSError) as error:
                log.error("Valkey did not come back: %s", error)

    async def stop(self) -> None:
        """Stop ours; a configured one is left alone."""
        own, self._own = self._own, None
        self._unwatch()
        if own is not None:
            await asyncio.to_thread(own.stop)


def worker_env(settings: BotSettings, redis_url: str) -> dict[str, str]:
    """What a worker needs to know, and whom to follow when we are killed.

    Never a platform token: a worker runs models and needs none.
    """
    kept = {k: v for k, v in os.environ.items() if k.upper() not in _TOKENS}
    return {
        **kept,
        "ATELIER_HOME": str(settings.home.resolve()),
        "ATELIER_DATABASE_URL": settings.database,
        "ATELIER_REDIS_URL": redis_url,
        "ATELIER_PARENT_PID": str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
        "TQDM_DISABLE": "1",  # bars of libraries, drawn for a terminal that is not there
    }


def worker_command(*arguments: str) -> list[str]:
    """How to run the worker: as another program, because the bot holds no heavy libraries.

    ``-P`` keeps a ``worker.py`` in the caller's folder from being run instead.
    """
    return [sys.executable, "-P", "-m", "worker", *arguments]


@asynccontextmanager
async def _child(
    env: dict[str, str], *arguments: str, stderr: int = asyncio.subprocess.STDOUT
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *worker_command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env=env,
        limit=_LINE_LIMIT,
        start_new_session=True,  # Ctrl-C is for us; we tell the worker in good order
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[str]:
    assert stream is not None
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # one line longer than the limit: dropped
            continue
        if not line:
            return
        # A bar is redrawn after each carriage return: only its last state is worth a line.
        yield line.decode("utf-8", "replace").rstrip().rpartition("\r")[2]


class WorkerLog:
    """``var/log/worker.log``, rotated: what workers print, as they print it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = RotatingFileHandler(
            path, maxBytes=5_000_000, backupCount=3, encoding="utf-8"
        )
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        self.last = ""

    def write(self, line: str) -> None:
        """Keep one line."""
        if line.strip():
            self.last = line.strip()
        self._handler.emit(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def missing_starters(registry: Registry, models_dir: Path) -> list[ModelCard]:
    """The starter models in use whose files are not in place yet."""
    used = (registry.image_default, registry.chat_default)
    cards = [registry.cards[name] for name in dict.fromkeys(used)]
    return [c for c in cards if c.source == "starter" and not is_present(c, models_dir)]


async def prepare_models(env: dict[str, str], worker_log: WorkerLog, say: Say) -> bool:
    """Put the starter models in place, telling how far it is; False when it failed."""

    async def keep_errors() -> None:
        async for line in _lines(process.stderr):
            worker_log.write(line)

    async with _child(env, "prepare", stderr=asyncio.subprocess.PIPE) as process:
        errors = asyncio.create_task(keep_errors())
        async for line in _lines(process.stdout):
            worker_log.write(line)
            if line.strip():
                say(line.strip())
        await errors
        return await process.wait() == 0


class Worker:
    """One worker process, started again with growing pauses whenever it dies."""

    def __init__(
        self,
        env: dict[str, str],
        worker_log: WorkerLog,
        say: Say,
        *,
        greeting: str = "",
        tries: int | None = None,
    ) -> None:
        """``greeting`` is said each time it is ready to work.

        ``tries``: failed starts in a row after which to give up; None never does.
        """
        self.starts = 0
        self.pid: int | None = None
        self._env = env
        self._log = worker_log
        self._say = say
        self._greeting = greeting
        self._tries = tries
        self._was_ready = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep one alive until :meth:`stop`; cancelling kills it.

        Raises ``OperatorError`` when it has failed to start ``tries`` times.
        """
        pause, failures = 1.0, 0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                return
            failures = 0 if self._was_ready else failures + 1
            if self._tries is not None and failures >= self._tries:
                raise OperatorError(
                    f"the worker does not start ({self._log.last[:300] or _ending(code)})",
                    "read log/worker.log in the state folder, or run: atelier doctor",
                )
            if time.monotonic() - began > _LONG_LIFE_S:
                pause = 1.0
            self._say(
                f"The worker stopped ({_ending(code)}); starting it again in {pause:.0f} s. "
                f"Its log: log/worker.log in the state folder."
                + (f" Last line: {self._log.last[:300]}" if code > 0 and self._log.last else "")
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, 30.0)

    async def _live(self) -> int:
        self.starts += 1
        self._was_ready = False
        async with _child(self._env) as process:
            self.pid = process.pid
            if self._stopping.is_set():  # told to stop while it was being started
                process.terminate()
            reading = asyncio.create_task(self._read(process))
            try:
                return await process.wait()
            finally:
                self.pid = None
                # Something it started may hold the pipe open for ever; its last lines are here.
                await asyncio.wait([reading], timeout=1.0)
                reading.cancel()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        async for line in _lines(process.stdout):
            self._log.write(line)
            if READY in line and not self._was_ready:
                self._was_ready = True
                if self._greeting:
                    self._say(self._greeting)

    async def stop(self, running: asyncio.Task[None], grace_s: float = GRACE_S) -> None:
        """Ask it to give its jobs back and go; kill it when it has not gone in time."""
        self._stopping.set()
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        await asyncio.wait([running], timeout=grace_s)
        if not running.done():
            log.warning("the worker did not stop in %s s and was killed", grace_s)
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
