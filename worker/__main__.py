"""The worker process: `python -m worker` runs jobs; `prepare` places models, `health` looks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from arq.connections import create_pool

from moderation.build_output import output_pipeline
from moderation.marks.identity import ensure_identity
from moderation.pipeline import Pipeline
from moderation.record import Recorder
from moderation.stages.bank import BankStage, Known
from storage import decisions
from storage.blobs import Blobs
from storage.clock import now_ms
from storage.database import Database
from storage.errors import OperatorError
from storage.migrate import migrate
from storage.presence import left_to_others, servable
from storage.providers import parse_keys
from storage.queue import QUEUE, Wire, dump_json, load_json, redis_settings
from storage.redact import Redacting
from storage.registry import Registry
from storage.schema import JobKind
from storage.settings import read_settings
from storage.vault import Vault
from worker.engine.engine import Engine
from worker.engine.errors import StepFailed
from worker.engine.remote import Remote
from worker.generate import Floor, Tools
from worker.health import beat, beat_file, is_alive, rest
from worker.judging_chat import judge_pipeline
from worker.learning import keep_learning
from worker.metrics import Metrics
from worker.metrics import serve as serve_metrics
from worker.quality import Likeness
from worker.settings import WorkerSettings
from worker.tasks import ticket_taker

log = logging.getLogger("worker")


def pick_device(wanted: str) -> str:
    """The device to run on: what was asked for, else a GPU when torch sees one."""
    if wanted:
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def build_remote(settings: WorkerSettings) -> Remote:
    """The chat servers' side. Raises ``OperatorError`` for keys that cannot be read."""
    keys = parse_keys("ATELIER_PROVIDER_KEYS", settings.provider_keys.get_secret_value())
    return Remote(keys, settings.provider_timeout_s)


def build_engine(settings: WorkerSettings, registry: Registry) -> Engine:
    """The engine these settings ask for; nothing is loaded yet."""
    return Engine(
        registry, settings.models_dir, device=pick_device(settings.device),
        max_images=settings.max_images, max_chats=settings.max_chats,
        memory_bytes=settings.memory_mb * 1_000_000 if settings.memory_mb else None,
        profile_path=settings.home / "profile.json",
        remote=build_remote(settings),
        compiles=None if settings.compile == "auto" else settings.compile == "on",
    )  # fmt: skip


def build_likeness(settings: WorkerSettings) -> Likeness | None:
    """The check that a picture is like its prompt, where a CLIP model was configured."""
    if settings.clip_model is None:
        return None
    return Likeness(settings.clip_model, settings.clip_floor)


def build_judge(
    settings: WorkerSettings, engine: Engine, registry: Registry, gate: Pipeline, metrics: Metrics
) -> Pipeline | None:
    """The chat model as judge of doubtful prompts; none unless it was switched on."""
    if not settings.judge:
        return None
    return judge_pipeline(
        engine, registry, gate, timeout_s=settings.judge_timeout_s, observe=metrics.stage
    )


async def serve(
    settings: WorkerSettings,
    make_engine: Callable[[WorkerSettings, Registry], Engine] = build_engine,
    make_gate: Callable[..., Pipeline] = output_pipeline,
) -> None:
    """Run until SIGTERM or SIGINT (or the parent is gone), then give back what is not done."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    database = Database(settings.database)
    await asyncio.to_thread(migrate, database)
    wire = await Wire.connect(settings.redis_url)
    registry = settings.registry
    metrics = Metrics()
    if settings.metrics_port:
        serve_metrics(metrics, settings.metrics_host, settings.metrics_port)
    engine = make_engine(settings, registry)
    if isinstance(engine, Engine):
        engine.listen(metrics)
    guard = {"guard": settings.guard_model, "device": pick_device(settings.device)}
    gate = make_gate(**guard) if settings.guard_model else make_gate()
    gate.watch(metrics.stage)
    identity = await asyncio.to_thread(ensure_identity, settings.home)
    await asyncio.gather(gate.load(), engine.start())
    for model in (registry.image_default, registry.chat_default):
        try:
            await engine.warm([model])
        except (OperatorError, StepFailed) as error:
            # The other model still works; jobs for this one fail with a sentence.
            log.error("%s", error)
    vault = await asyncio.to_thread(Vault.open, settings.home)
    tools = Tools(
        database=database, wire=wire, blobs=Blobs(settings.blobs_dir), registry=registry,
        engine=engine, gate=gate, worker=settings.worker_name, identity=identity,
        recorder=Recorder(database, now_ms, vault),
        lease_ms=settings.lease_ms, renew_s=settings.lease_ms * 0.3 / 1000, metrics=metrics,
        likeness=build_likeness(settings),
        judge=build_judge(settings, engine, registry, gate, metrics),
    )  # fmt: skip
    floor = Floor(tools)
    tasks = [
        asyncio.create_task(forever("floor", floor.run)),
        asyncio.create_task(forever("nudges", lambda: hear_nudges(floor, wire))),
        asyncio.create_task(forever("tickets", lambda: take_tickets(settings, floor, tools))),
        asyncio.create_task(forever("retention", lambda: keep_tidy(tools))),
        asyncio.create_task(forever("serving", lambda: keep_serving(floor, wire, settings))),
        asyncio.create_task(forever("bank", lambda: keep_bank(tools))),
        asyncio.create_task(forever("learning", lambda: keep_learning(tools))),
        asyncio.create_task(watch_parent(settings.parent_pid, stop)),
        asyncio.create_task(watch_engine(engine, floor, stop)),
        asyncio.create_task(keep_beating(engine, beat_file(settings, socket.gethostname()))),
    ]
    log.info("worker ready")
    try:
        await stop.wait()
        log.info("stopping: %d jobs running", floor.busy)
        await floor.stop(settings.grace_s)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await wire.close()
        database.close()
    log.info("stopped")


async def forever(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Keep one of the worker's loops going whatever happens to Redis or the database."""
    pause = 0.2
    while True:
        began = time.monotonic()
        try:
            await run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("%s stopped; starting again in %.1f s", name, pause)
        await asyncio.sleep(pause)
        pause = 0.2 if time.monotonic() - began > 60 else min(5.0, pause * 2)


async def hear_nudges(floor: Floor, wire: Wire) -> None:
    """Look at once when somebody queues or cancels something."""
    async with wire.nudges() as nudges:
        floor.wake()
        async for _ in nudges:
            floor.wake()


async def take_tickets(settings: WorkerSettings, floor: Floor, tools: Tools) -> None:
    """Take arq's tickets; ends (and is started again) when Redis is away for long."""
    pool = await create_pool(
        redis_settings(settings.redis_url), job_serializer=dump_json, job_deserializer=load_json,
        default_queue_name=QUEUE,
    )  # fmt: skip
    taker = ticket_taker(pool, floor, tools.database, tools.wire)
    try:
        await taker.async_run()
    finally:
        with contextlib.suppress(Exception):
            await taker.close()


BANK_S = 15.0
"""How soon a picture that was denied anywhere is known to this worker."""


async def keep_bank(tools: Tools) -> None:
    """Hand the stage of known pictures what the database says, again and again."""
    stages = [stage for stage in tools.gate.stages if isinstance(stage, BankStage)]
    while stages:
        rows = await tools.database.look(decisions.bank, ("deny", "allow"))
        known = [Known(row.pdq, row.bank, row.category, row.workspace_id) for row in rows]
        for stage in stages:
            stage.replace(known)
        await asyncio.sleep(BANK_S)
    await asyncio.Event().wait()


SERVING_S = 10.0
"""How often a worker looks at its models folder and says what it can run."""


async def keep_serving(floor: Floor, wire: Wire, settings: WorkerSettings) -> None:
    """Tell bots and other workers what this one can run, and learn what to leave to others."""
    tools = floor.tools
    while True:
        mine = await asyncio.to_thread(servable, tools.registry, settings.models_dir)
        await wire.serves(tools.worker, mine, now=tools.clock())
        floor.leave = left_to_others(await wire.served(now=tools.clock()), tools.worker)
        await asyncio.sleep(SERVING_S)


async def keep_tidy(tools: Tools) -> None:
    """Delete decision records past their time, hourly."""
    while True:
        await tools.database.run(decisions.purge, now=tools.clock())
        await asyncio.sleep(3600)


async def watch_engine(engine: Engine, floor: Floor, stop: asyncio.Event) -> None:
    """End this process when its engine is dead or hung; whoever supervises us starts another."""
    while engine.alive and not floor.stuck.is_set():  # noqa: ASYNC110 (a thread cannot be awaited)
        await asyncio.sleep(1.0)
    if not stop.is_set():
        log.critical("the engine is %s; leaving", "hung" if engine.alive else "dead")
        if engine.alive:
            # A hung thread cannot be joined, and its jobs' leases must run out.
            leave(1)
        stop.set()


async def keep_beating(engine: Engine, file: Path) -> None:
    """Tell the container's health check that we live, while the engine does."""
    try:
        while engine.alive:
            beat(file)
            await asyncio.sleep(1.0)
    finally:
        rest(file)


async def watch_parent(pid: int, stop: asyncio.Event) -> None:
    """Stop when the supervisor that started us is gone: no orphan keeps the GPU."""
    while pid and os.getppid() == pid:  # noqa: ASYNC110 (no event tells of a parent's death)
        await asyncio.sleep(1.0)
    if pid:
        log.warning("the parent process is gone")
        stop.set()


def prepare(settings: WorkerSettings) -> int:
    """Put the starter models in place, saying so line by line."""
    from worker.starter.chat import ensure_chat_model
    from worker.starter.picture import ensure_picture_model

    registry = settings.registry
    for kind, ensure in (
        (JobKind.IMAGE, ensure_picture_model),
        (JobKind.CHAT, ensure_chat_model),
    ):
        card = registry.default(kind)
        if card.source == "starter":
            say(f"{card.title}: placing")
            ensure(settings.models_dir / card.name)
        say(f"{card.title}: ready")
    return 0


def say(line: str) -> None:
    """One line of progress on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Entry point; returns the exit code."""
    try:
        settings = read_settings(WorkerSettings)
    except OperatorError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 2
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"
    if not (settings.image_model or settings.chat_model):
        # The starters need no hub; asking it anyway would only cost time and privacy.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    printing = logging.StreamHandler()
    printing.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[printing])
    for chatty in ("alembic", "arq.worker"):
        # A line for every sweep would bury what matters.
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        if sys.argv[1:] == ["prepare"]:
            return prepare(settings)
        if sys.argv[1:] == ["health"]:
            return 0 if is_alive(beat_file(settings, socket.gethostname())) else 1
        asyncio.run(serve(settings))
    except OperatorError as error:
        log.error("%s", error)
        return 5
    return 0


def leave(code: int) -> NoReturn:
    """Exit at once: everything of value is written, and torch's own teardown takes seconds."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
