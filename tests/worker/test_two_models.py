"""One registry, several picture models: what some worker has the weights of may be asked for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from bot.commands.blend import PICTURES as BLEND_PICTURES
from bot.core.attachment import Attachment
from bot.core.reply import Reply
from moderation.pipeline import Pipeline
from storage import jobs
from storage.blobs import Blobs
from storage.database import Database
from storage.presence import left_to_others
from storage.queue import Wire
from storage.registry import Registry
from storage.schema import JobKind, JobStatus, Platform
from tests.conftest import START, HandClock, actor, image_spec, submitted
from tests.fakes import FakeAdapter, make_services
from tests.worker.test_floor import Judge, ended, made, redness
from worker.__main__ import keep_serving
from worker.bench.tiny import pipeline
from worker.engine.engine import Engine
from worker.generate import Floor, Tools
from worker.settings import WorkerSettings

PIPELINES = {"tiny-sd": "sd15", "tiny-klein": "klein"}
LISTED = (*PIPELINES, "far-away")
CARD = """
[[model]]
name = "{name}"
title = "{name}"
kind = "image"
source = "hub"
repo = "someone/{name}"
revision = "{revision}"
licence = "none"
size_bytes = 1
memory_bytes = 1000
width = 64
height = 64
steps = 2
guidance = 3.0
scheduler = "own"
schedulers = ["own"]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with two tiny models of different families, and a third only listed."""
    folder = tmp_path_factory.mktemp("home")
    cards = {name: CARD.format(name=name, revision="0" * 40) for name in LISTED}
    cards["tiny-klein"] += "references = 3\n"
    (folder / "registry.toml").write_text("".join(cards.values()))
    for name, kind in PIPELINES.items():
        pipeline(kind).save_pretrained(folder / "models" / name, safe_serialization=True)
    return folder


@pytest.fixture
def settings(home: Path) -> WorkerSettings:
    return WorkerSettings(home=home, image_model="tiny-sd", _env_file=None)  # type: ignore[call-arg]


@pytest.fixture
def registry(settings: WorkerSettings) -> Registry:
    return settings.registry


@pytest_asyncio.fixture
async def fake(
    registry: Registry, sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock
) -> FakeAdapter:
    from bot.commands import COMMANDS, PRESSES
    from bot.core.command import Core

    services = make_services(sqlite_database, wire, tmp_path, clock=clock, registry=registry)
    await services.prompt_gate.load()
    return FakeAdapter(core=Core(services, COMMANDS, PRESSES))


@pytest_asyncio.fixture
async def floor(
    fake: FakeAdapter, registry: Registry, settings: WorkerSettings, wire: Wire, clock: HandClock
) -> AsyncIterator[Floor]:
    """A worker's floor over a real engine, telling what it serves."""
    assert fake.core is not None
    services = fake.core.services
    engine = Engine(registry, settings.models_dir)
    await engine.start()
    tools = Tools(
        database=services.database, wire=wire, blobs=Blobs(services.blobs.folder),
        registry=registry, engine=engine,
        gate=Pipeline([Judge("image.red", redness)], timeout_s=60),
        worker="w", clock=clock,
    )  # fmt: skip
    opened = Floor(tools)
    running = [
        asyncio.create_task(opened.run()),
        asyncio.create_task(keep_serving(opened, wire, settings)),
    ]
    yield opened
    for task in running:
        task.cancel()
    await engine.stop()


async def announced(wire: Wire) -> None:
    async with asyncio.timeout(60):
        while await wire.served(now=START) is None:
            await asyncio.sleep(0.02)


async def draw(fake: FakeAdapter, floor: Floor, model: str) -> Reply:
    reply = await fake.say("imagine", prompt="a red apple", model=model, seed=7)
    floor.wake()
    return reply


async def test_two_families_answer_in_one_studio(
    fake: FakeAdapter, floor: Floor, wire: Wire, sqlite_database: Database
) -> None:
    await announced(wire)
    for model in PIPELINES:
        reply = await draw(fake, floor, model)
        job = await ended(sqlite_database, reply.job_id or "")
        assert job.status == JobStatus.SUCCEEDED, job.error_code
        recipe = made(sqlite_database)[-1].recipe
        assert recipe["model"] == model
    pipelines = {g.recipe["model"]: g.recipe["pipeline"] for g in made(sqlite_database)}
    assert pipelines == {
        "tiny-sd": "StableDiffusionPipeline", "tiny-klein": "Flux2KleinPipeline",
    }  # fmt: skip
    assert set(floor.tools.engine.loaded()) == set(PIPELINES)


async def test_a_model_without_weights_is_refused_with_the_cure(
    fake: FakeAdapter, floor: Floor, wire: Wire, sqlite_database: Database
) -> None:
    await announced(wire)
    reply = await draw(fake, floor, "far-away")
    assert reply.code == "model_absent"
    text = reply.text
    assert "models/far-away" in text and "tiny-klein" in text and "starter-icons" in text
    assert "flux2-klein-4b" not in text
    quoted = await fake.say("imagine", prompt="a", model="far-away", dry_run=True)
    assert quoted.code == "model_absent"
    assert made(sqlite_database) == []


def attached(colour: str) -> Attachment:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(buffer, "PNG")
    data = buffer.getvalue()
    return Attachment(platform=Platform.LOCAL, name="a.png", size=len(data), data=data)


async def test_pictures_are_blended_by_a_model_that_reads_them(
    fake: FakeAdapter, floor: Floor, wire: Wire, sqlite_database: Database
) -> None:
    """The default model reads none: the one that lies beside it is chosen."""
    await announced(wire)
    colours = [attached(c) for c in ("navy", "blue", "green", "teal")]
    reply = await fake.say("blend", image=colours[0], image3=colours[1])
    floor.wake()
    job = await ended(sqlite_database, reply.job_id or "")
    assert job.status == JobStatus.SUCCEEDED, job.error_code
    recipe = made(sqlite_database)[-1].recipe
    assert (recipe["model"], recipe["prompt"]) == (
        "tiny-klein", "one picture that blends the pictures given",
    )  # fmt: skip
    assert len(recipe["references_sha256"]) == 2 and len(recipe["blend"]) == 1
    refused = {
        "blend_needs_two": {"image": colours[0]},
        "references_many": dict(zip(BLEND_PICTURES, colours, strict=True)),
        "reference_absent": {"image": colours[0], "image2": colours[1], "model": "tiny-sd"},
        "model_unknown": {"image": colours[0], "image2": colours[1], "model": "no-such"},
    }
    for code, values in refused.items():
        assert (await fake.say("blend", **values)).code == code
    assert fake.core is not None
    assert "blend" in {c.name for c in fake.core.catalog("zh")}


async def test_without_a_worker_the_job_waits(fake: FakeAdapter) -> None:
    reply = await fake.say("imagine", prompt="a red apple", model="far-away")
    assert reply.code is None and reply.job_id


async def test_what_lies_here_is_offered(fake: FakeAdapter) -> None:
    assert fake.core is not None
    imagine = next(c for c in fake.core.catalog("en") if c.name == "imagine")
    offered = next(o.choices for o in imagine.options if o.name == "model")
    assert {"starter-icons", *PIPELINES} <= set(offered)
    assert "far-away" not in offered and "sdxl" not in offered


def test_a_job_goes_to_who_has_its_weights(sqlite_database: Database) -> None:
    person = actor(sqlite_database)
    submitted(sqlite_database, person, image_spec(model="tiny-klein"))
    room = {JobKind.IMAGE: 1}

    def claimed(worker: str, served: dict[str, frozenset[str]]) -> bool:
        leave = left_to_others(served, worker)
        found = sqlite_database.write(
            jobs.claim, worker=worker, room=room, now=START, leave=leave, lease_ms=1
        )
        return found is not None

    both = {"a": frozenset({"tiny-sd"}), "b": frozenset({"tiny-sd", "tiny-klein"})}
    assert not claimed("a", both)
    assert claimed("b", both)


def test_what_nobody_has_is_left_to_nobody(sqlite_database: Database) -> None:
    served = {"a": frozenset({"tiny-sd"}), "b": frozenset({"tiny-sd"})}
    assert left_to_others(served, "a") == frozenset()
    assert left_to_others(None, "a") == left_to_others({"b": frozenset("x")}, "a") == frozenset()


async def test_what_a_worker_said_is_forgotten(wire: Wire) -> None:
    await wire.serves("a", ["x"], now=START)
    await wire.serves("b", ["y"], now=START + 30_000)
    assert await wire.served(now=START + 59_000) == {"a": {"x"}, "b": {"y"}}
    assert await wire.served(now=START + 61_000) == {"b": {"y"}}
    await wire.pool.hset("atelier:serving", "c", "junk")  # type: ignore[misc]
    assert await wire.served(now=START) is None
