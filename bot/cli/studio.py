"""Reaches a studio: the running one if there is one, else the embedded parts for one command."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from rich.console import Console

from bot.cli.screen import Screen
from bot.core.command import Core
from bot.instance import (
    Instance,
    StateLock,
    make_home,
    read_instance,
    remove_instance,
    write_instance,
)
from bot.parts import Broker, Worker, WorkerLog, missing_starters, prepare_models, worker_env
from bot.root import build_core, build_services, close_services
from bot.settings import BotSettings, load_settings
from storage.clock import now_ms
from storage.errors import OperatorError
from storage.queue import QUEUE
from storage.redact import Redacting
from storage.registry import Registry

log = logging.getLogger(__name__)

_LOOK_S = 0.3
_UNREACHABLE_S = 6.0
_COME_BACK_S = 15.0
"""How long a stopped studio may take to come back (a restart) before a command stands in."""


@dataclass(frozen=True)
class Studio:
    """A core to send commands to, and what makes the jobs it queues."""

    core: Core
    begin: Callable[[], Coroutine[Any, Any, asyncio.Task[None] | None]]
    """Makes sure a worker runs; called once there is a job, so that errors are told at once.

    Gives the task that keeps our own worker alive, which ends only by failing.
    """
    own: bool
    """Whether the parts are ours and end with this command."""


@contextmanager
def logging_to(home: Path, level: str, name: str) -> Iterator[None]:
    """Everything our code logs goes to a rotated file in the state folder, not to the terminal."""
    handler = RotatingFileHandler(
        home / "log" / name, maxBytes=5_000_000, backupCount=3, encoding="utf-8"
    )
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    # These would write each migration, HTTP exchange and slow callback.
    for noisy in ("alembic", "httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()


class GaveUp(Exception):
    """Ctrl-C (``interrupted``) or the time limit (``timeout``) before there was a job."""


@dataclass(frozen=True)
class Patience:
    """When to give up: asked by everything that waits."""

    stop: asyncio.Event
    until: float | None
    """On the event loop's clock; None waits for ever."""

    def why(self) -> str:
        """``interrupted``, ``timeout``, or nothing while there is reason to wait."""
        if self.stop.is_set():
            return "interrupted"
        if self.until is not None and asyncio.get_running_loop().time() >= self.until:
            return "timeout"
        return ""

    def check(self) -> None:
        """Raise ``GaveUp`` when it is time to."""
        if why := self.why():
            raise GaveUp(why)


@asynccontextmanager
async def open_studio(
    settings: BotSettings, screen: Screen, patience: Patience
) -> AsyncIterator[Studio]:
    """The running studio of this state folder, or our own for as long as this lasts.

    Another single command that has the state folder is waited for. Raises ``OperatorError``
    and ``GaveUp``.
    """
    make_home(settings.home)
    lock = StateLock(settings.home)
    async with AsyncExitStack() as stack:
        while True:
            instance = read_instance(settings.home)
            if instance is not None and instance.web_url:
                yield await _attach(stack, settings, instance, screen)
                return
            if lock.acquire():
                break
            screen.waiting("Waiting for another atelier command to finish")
            patience.check()
            await asyncio.sleep(_LOOK_S)
        stack.callback(lock.release)
        yield await _embed(stack, settings, screen)


async def _attach(
    stack: AsyncExitStack, settings: BotSettings, instance: Instance, screen: Screen
) -> Studio:
    """A core on a running studio's database and Redis; it may be just starting or restarting."""
    settings = settings.model_copy(update={"database_url": instance.database_url})
    loop = asyncio.get_running_loop()
    until = loop.time() + _UNREACHABLE_S
    while True:
        try:
            services = await build_services(settings, instance.redis_url)
            break
        except OperatorError:
            if loop.time() > until:
                raise
            await asyncio.sleep(_LOOK_S)
    stack.push_async_callback(close_services, services)
    core = build_core(services)

    async def begin() -> asyncio.Task[None] | None:
        task = asyncio.create_task(_stand_in(settings, core, screen))
        stack.push_async_callback(_end, task)
        return task

    return Studio(core, begin, own=False)


async def _stand_in(settings: BotSettings, core: Core, screen: Screen) -> None:
    """If the running studio stops and does not come back, a worker of our own does the job."""
    loop = asyncio.get_running_loop()
    lock = StateLock(settings.home)
    seen = loop.time()
    while True:
        await asyncio.sleep(_LOOK_S)
        if read_instance(settings.home) is not None:
            seen = loop.time()
            continue
        screen.waiting("The studio stopped; waiting for it to come back")
        if loop.time() > seen + _COME_BACK_S and lock.acquire():
            break
    screen.note("The studio did not come back: this command goes on without it")
    async with AsyncExitStack() as stack:
        stack.callback(lock.release)
        broker = Broker(settings)
        stack.push_async_callback(broker.stop)
        url = await broker.start()
        await (await _hire(stack, settings, core.services.registry, url, screen))


async def _hire(
    stack: AsyncExitStack, settings: BotSettings, registry: Registry, url: str, screen: Screen
) -> asyncio.Task[None]:
    """Models in place and a worker of our own, for as long as the stack; the task that keeps it."""
    worker_log = WorkerLog(settings.home / "log" / "worker.log")
    stack.callback(worker_log.close)
    env = worker_env(settings, url)
    if missing_starters(registry, settings.models_dir):
        screen.note("Putting the starter models in place (first time only)")
        if not await prepare_models(env, worker_log, screen.waiting):
            screen.note("That did not work: see log/worker.log in the state folder")
    worker = Worker(env, worker_log, screen.note, tries=3)
    running = asyncio.create_task(worker.run())
    stack.push_async_callback(worker.stop, running)
    screen.waiting("Loading the models")
    return running


async def _end(part: asyncio.Task[None]) -> None:
    part.cancel()
    await asyncio.gather(part, return_exceptions=True)


async def _embed(stack: AsyncExitStack, settings: BotSettings, screen: Screen) -> Studio:
    """The embedded parts: database, Valkey, and a worker once it is needed."""
    from bot.up import migrated

    await asyncio.to_thread(migrated, settings)
    broker = Broker(settings)
    stack.push_async_callback(broker.stop)
    url = await broker.start()
    services = await build_services(settings, url)
    stack.push_async_callback(close_services, services)
    write_instance(
        settings.home, redis_url=url, database_url=settings.database, web_url="", now=now_ms()
    )
    stack.callback(remove_instance, settings.home)

    keeping = asyncio.create_task(broker.keep(screen.note))
    stack.callback(keeping.cancel)

    async def begin() -> asyncio.Task[None] | None:
        if settings.redis_url and await services.wire.pool.exists(f"{QUEUE}:health-check"):
            return None  # workers run elsewhere and listen on this Redis
        return await _hire(stack, settings, services.registry, url, screen)

    return Studio(build_core(services), begin, own=True)


def run_up(*, port: int | None, host: str | None, worker: bool) -> int:
    """`atelier up`: 0 after a clean stop, 2 when a studio runs already, 5 when it failed."""
    from bot.up import AlreadyRunning, up

    settings = load_settings(web_port=port, web_host=host)
    make_home(settings.home)
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    def opened(link: str) -> None:
        banner(console, settings, link)

    try:
        with logging_to(settings.home, settings.log_level, "bot.log"):
            asyncio.run(up(settings, say, opened, worker=worker))
    except AlreadyRunning as error:
        Console(stderr=True).print(
            f"atelier: {error.problem}\n  cure: {error.cure}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        return 2
    return 0


def run_migrate() -> int:
    """`atelier migrate`: 0 when the database is at the newest schema."""
    from bot.up import migrated

    settings = load_settings()
    make_home(settings.home)
    with logging_to(settings.home, settings.log_level, "cli.log"):
        migrated(settings)
    Console().print("The database is at the newest schema.", highlight=False)
    return 0


def banner(console: Console, settings: BotSettings, link: str) -> None:
    """The address on a line of its own, easy to click and to copy."""
    console.print()
    console.print("  [bold]Atelier is open.[/bold] Your studio is at", highlight=False)
    console.print()
    console.print(f"    {link}", style="bold cyan", markup=False, highlight=False, soft_wrap=True)
    console.print()
    state = settings.home.resolve()
    console.print(
        f"  State is kept in {state}. Ctrl-C stops everything.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if not settings.is_loopback:
        console.print("  Careful: other machines can reach this address.", style="yellow")
    console.print()
    sys.stdout.flush()
