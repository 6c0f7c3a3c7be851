"""`atelier up`: one command that runs the whole studio and stops it cleanly."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import uvicorn

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.core.delivery import Delivery
from bot.core.learnt import keep_learnt
from bot.instance import (
    StateLock,
    make_home,
    read_instance,
    remove_instance,
    web_token,
    write_instance,
)
from bot.parts import (
    Broker,
    Say,
    Worker,
    WorkerLog,
    missing_starters,
    prepare_models,
    worker_env,
)
from bot.platforms import MakePlatforms, platform_parts
from bot.root import build_core, build_services, close_services
from bot.settings import BotSettings, in_url
from storage.clock import now_ms
from storage.database import Database
from storage.errors import OperatorError
from storage.migrate import migrate
from storage.registry import Registry
from storage.schema import Platform

log = logging.getLogger(__name__)

_PORTS_TRIED = 20


class AlreadyRunning(OperatorError):
    """Another studio holds this state folder."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: one place decides when everything stops."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Opened:
    """A studio that answers: what the banner shows."""

    url: str
    token: str
    home: Path

    @property
    def link(self) -> str:
        """The address that lets its reader in."""
        return f"{self.url}/?token={self.token}"


def migrated(settings: BotSettings) -> None:
    """Bring the database to the newest schema. Raises ``OperatorError``."""
    database = Database(settings.database)
    try:
        database.ping()
        migrate(database)
    finally:
        database.close()


def bind(settings: BotSettings) -> socket.socket:
    """The page's socket: the port asked for, else the first free one from the default on.

    Raises ``OperatorError`` with the cure when a chosen port is taken.
    """
    first = settings.web_port
    tries = [first] if settings.port_chosen or not first else range(first, first + _PORTS_TRIED)
    for port in tries:
        family = socket.AF_INET6 if ":" in settings.web_host else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((settings.web_host, port))
            door.listen(128)
            return door
        except OSError as error:
            door.close()
            if error.errno != errno.EADDRINUSE:
                raise OperatorError(
                    f"cannot listen on {settings.web_host} port {port} ({error.strerror})",
                    "choose another with --port (0 for any free one), or ATELIER_WEB_HOST",
                ) from error
    raise OperatorError(
        f"port {first} is taken by another program"
        if settings.port_chosen
        else f"ports {first} to {first + _PORTS_TRIED - 1} are all taken",
        "stop that program, or choose another port with --port (0 for any free one)",
    )


def names_of(settings: BotSettings) -> frozenset[str]:
    """The names a browser may call us by besides the loopback ones.

    A page of somebody else's that points its own name at us (DNS rebinding) has none of them.
    """
    if not settings.listens_everywhere:
        return frozenset({settings.host_in_url, *settings.more_hosts})
    # Every address of this machine reaches us.
    own = {
        in_url(one.address.partition("%")[0])
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family in (socket.AF_INET, socket.AF_INET6)
    }
    return frozenset({*own, socket.gethostname(), *settings.more_hosts})


async def up(
    settings: BotSettings,
    say: Say,
    opened: Say,
    *,
    worker: bool = True,
    make_platforms: MakePlatforms = platform_parts,
) -> None:
    """Run everything until SIGINT or SIGTERM. Raises ``OperatorError``.

    ``say`` gets lines for the person; ``opened`` gets the link, once, when the page answers.
    ``worker=False`` leaves the models to workers elsewhere. ``make_platforms`` gives the chat
    platforms beside the page (the demonstration's is a pretended one).
    """
    home = settings.home
    make_home(home)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals(stop))
        stack.callback((await _hold(home, say, stop)).release)
        await asyncio.to_thread(migrated, settings)
        broker = Broker(settings)
        stack.push_async_callback(broker.stop)
        await broker.start()
        services = await build_services(settings, broker.url)
        stack.push_async_callback(close_services, services)

        presenter = WebPresenter()
        token = _token(settings)
        core = build_core(services)
        platforms = make_platforms(settings, core, say)
        app = make_app(core, presenter, token=token, hosts=names_of(settings))
        door = bind(settings)
        stack.callback(door.close)
        port = door.getsockname()[1]
        if settings.web_port not in (0, port):
            say(f"Port {settings.web_port} is taken; using {port}.")
        page = Opened(url=f"http://{settings.host_in_url}:{port}", token=token, home=home)
        server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off",
                timeout_graceful_shutdown=2, server_header=False,
            )
        )  # fmt: skip
        write_instance(
            home, redis_url=broker.url, database_url=settings.database, web_url=page.url,
            now=now_ms(),
        )  # fmt: skip
        stack.callback(remove_instance, home)

        tasks = [
            asyncio.create_task(server.serve(sockets=[door]), name="web"),
            asyncio.create_task(
                Delivery(services, {Platform.LOCAL: presenter, **platforms}, platforms).run(),
                name="delivery",
            ),
            asyncio.create_task(keep_learnt(services), name="learnt"),
            asyncio.create_task(broker.keep(say), name="valkey"),
            *(asyncio.create_task(part.run(), name=name) for name, part in platforms.items()),
        ]
        stack.push_async_callback(_end, tasks[1:])
        await _until(server.answers, tasks[0])
        opened(page.link)
        if worker:
            making = asyncio.create_task(
                _work(settings, services.registry, broker.url, say, stop), name="worker"
            )
            tasks.append(making)
            stack.push_async_callback(_end_worker, making, stop)

        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        broken = [t for t in tasks if t.done()]
        if not stop.is_set():
            _say_why(broken, say)
        stop.set()
        say("Stopping…")
        presenter.close()
        server.should_exit = True
        await asyncio.wait(tasks[:1], timeout=5)
        await _end(tasks[:1])
    say("Stopped.")
    if broken:
        for part in broken:
            known = None if part.cancelled() else part.exception()
            if isinstance(known, OperatorError):
                raise known
        raise OperatorError("a part of the studio failed", "read log/bot.log in the state folder")


async def _hold(home: Path, say: Say, stop: asyncio.Event) -> StateLock:
    """The state folder for us alone. A single command that has it is waited for.

    Raises ``AlreadyRunning`` with the address when a studio has it.
    """
    lock = StateLock(home)
    said = False
    while not lock.acquire():
        other = read_instance(home)
        if other is not None and other.web_url:
            raise AlreadyRunning(
                f"a studio is already running at {other.web_url}/?token={web_token(home)}",
                "use that one, or set ATELIER_HOME to another folder for a second studio",
            )
        if stop.is_set():
            raise AlreadyRunning(
                "another atelier command is using this state folder", "wait until it is done"
            )
        if not said:
            say("Waiting for another atelier command to finish…")
            said = True
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.3)
    return lock


def _token(settings: BotSettings) -> str:
    if settings.web_token is not None and settings.web_token.get_secret_value():
        return settings.web_token.get_secret_value()
    return web_token(settings.home)


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal all mean: stop in good order.

    No second one cuts it short: the slowest part is stopped after seconds anyway.
    """
    loop = asyncio.get_running_loop()
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for kind in kinds:
        loop.add_signal_handler(kind, stop.set)
    try:
        yield
    finally:
        for kind in kinds:
            loop.remove_signal_handler(kind)


async def _work(
    settings: BotSettings, registry: Registry, redis_url: str, say: Say, stop: asyncio.Event
) -> None:
    """Models in place, then a worker kept alive, until ``stop``."""
    worker_log = WorkerLog(settings.home / "log" / "worker.log")
    try:
        env = worker_env(settings, redis_url)
        missing = missing_starters(registry, settings.models_dir)
        if missing:
            say(f"Putting {len(missing)} starter models in place (first start only)…")
            preparing = asyncio.create_task(prepare_models(env, worker_log, say))
            await _until(stop, preparing)
            if not preparing.done():
                await _end([preparing])
                return
            if not preparing.result():
                say("The models could not be put in place: see log/worker.log. Going on.")
        say("Loading the models…")
        worker = Worker(env, worker_log, say, greeting="Ready: ask for a picture or an answer.")
        running = asyncio.create_task(worker.run())
        await _until(stop, running)
        await worker.stop(running)
    finally:
        worker_log.close()


async def _until(stop: asyncio.Event, part: asyncio.Task[Any]) -> None:
    """Wait for a part to end or for ``stop``, whichever is first."""
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([waiting, part], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _end_worker(making: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(making, return_exceptions=True)


def _say_why(broken: list[asyncio.Task[None]], say: Say) -> None:
    for task in broken:
        error = None if task.cancelled() else task.exception()
        log.error("the %s part ended", task.get_name(), exc_info=error)
        say(f"The {task.get_name()} part failed ({type(error).__name__}); stopping.")
