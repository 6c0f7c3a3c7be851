"""The recipe cache and pictures made anew, through the command core and the worker's floor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from bot.core.reply import Reply, Verb
from moderation.pipeline import Pipeline
from storage import jobs
from storage.blobs import Blobs
from storage.cache import keys_of
from storage.database import Database
from storage.errors import RetryLater
from storage.models import Generation, Job
from storage.queue import Wire
from storage.registry import load_registry
from storage.schema import JobStatus, Source
from tests.conftest import image_spec, row, sound
from tests.core.conftest import fake as fake
from tests.core.conftest import services as services
from tests.fakes import FakeAdapter
from tests.worker.test_floor import Judge, ScriptedEngine, ended, made, redness
from worker.compare import psnr
from worker.engine.errors import BadPicture
from worker.engine.outputs import Picture
from worker.generate import Floor, Tools
from worker.metrics import Metrics


def picture(seed: int, sha: str = "sha", red: int = 0, **recipe: object) -> Picture:
    spec = image_spec(seed=seed)
    told = spec.model_dump(mode="json", exclude_defaults=True) | {"kind": "image", **recipe}
    return Picture(0, Image.new("RGB", (32, 32), (red, 10, 20)), seed, told, sha)


@pytest.fixture
def eyes() -> Judge:
    return Judge("image.red", redness)


@pytest_asyncio.fixture
async def floor(
    fake: FakeAdapter, database: Database, wire: Wire, tmp_path: Path, eyes: Judge
) -> AsyncIterator[Floor]:
    tools = Tools(
        database=database, wire=wire, blobs=Blobs(fake.core.services.blobs.folder),
        registry=load_registry(), engine=ScriptedEngine(),  # type: ignore[arg-type]
        gate=Pipeline([eyes], timeout_s=60), worker="w", renew_s=0.3,
        clock=fake.core.services.clock,
    )  # fmt: skip
    opened = Floor(tools)
    running = asyncio.create_task(opened.run())
    yield opened
    running.cancel()


async def ask(fake: FakeAdapter, floor: Floor, outputs: list[Picture]) -> Job:
    """Ask for the picture of seed 7 and wait for its end; ``outputs`` is what a run would give."""
    floor.tools.engine.script = outputs  # type: ignore[attr-defined]
    reply = await fake.say("imagine", prompt="a red apple", seed=7)
    floor.wake()
    return await ended(floor.tools.database, reply.job_id or "")


def runs(floor: Floor) -> int:
    return len(floor.tools.engine.runs)  # type: ignore[attr-defined]


async def card(fake: FakeAdapter, job: Job) -> Reply:
    return await fake.press(Verb.SHOW, job.id)


async def test_the_same_wish_again_is_free_and_runs_nothing(
    fake: FakeAdapter, floor: Floor, database: Database, eyes: Judge
) -> None:
    first = await ask(fake, floor, [picture(7)])
    second = await ask(fake, floor, [])
    assert (first.cost, second.cost, runs(floor)) == (1, 0, 1)
    old, new = made(database)
    assert new.sha256 == old.sha256 and new.blob != old.blob
    assert new.recipe["cached_from"] == old.id
    assert len(eyes.seen) == 2, "today's policy judged it again"
    shown = await card(fake, second)
    assert "From the cache, free" in shown.text and shown.data["cached"] is True
    assert sound(database)


async def test_todays_policy_judges_what_yesterdays_allowed(
    fake: FakeAdapter, floor: Floor, database: Database, eyes: Judge
) -> None:
    await ask(fake, floor, [picture(7)])
    eyes.find = lambda content: redness(  # the filter has learned
        replace(content, image=Image.new("RGB", (8, 8), (255, 0, 0)))
    )
    second = await ask(fake, floor, [])
    assert (second.status, second.cost, runs(floor)) == (JobStatus.REJECTED, 0, 1)
    assert [g.status for g in made(database)] == ["visible", "removed"]


async def test_what_was_deleted_is_made_again_and_paid(
    fake: FakeAdapter, floor: Floor, database: Database
) -> None:
    await ask(fake, floor, [picture(7)])
    await fake.press(Verb.DELETE, made(database)[0].id)
    second = await ask(fake, floor, [picture(7)])
    assert (second.cost, second.cached, runs(floor)) == (1, False, 2)


async def test_what_goes_between_asking_and_serving_is_made_after_all(
    fake: FakeAdapter, floor: Floor, database: Database
) -> None:
    await ask(fake, floor, [picture(7)])
    floor.tools.blobs.delete(made(database)[0].blob or "")
    second = await ask(fake, floor, [picture(7)])
    assert (second.status, second.cost, second.cached) == (JobStatus.SUCCEEDED, 0, True)
    assert runs(floor) == 2 and sound(database)


async def test_cached_jobs_need_no_room_in_the_engine(
    fake: FakeAdapter, floor: Floor, database: Database
) -> None:
    first = await ask(fake, floor, [picture(7)])
    floor.tools.engine.room = dict  # type: ignore[method-assign]
    second = await ask(fake, floor, [])
    assert first.id != second.id and second.cost == 0


@pytest.mark.parametrize(
    ("sha", "red", "words", "identical"),
    [("sha", 0, "Identical to the original", True), ("other", 9, "dB PSNR", False)],
)
async def test_again_says_whether_it_came_out_the_same(
    fake: FakeAdapter, floor: Floor, database: Database, sha: str, red: int, words: str,
    identical: bool,
) -> None:  # fmt: skip
    await ask(fake, floor, [picture(7)])
    first = made(database)[0]
    floor.tools.engine.script = [picture(7, sha, red)]  # type: ignore[attr-defined]
    reply = await fake.say("again", id=first.id)
    floor.wake()
    job = await ended(database, reply.job_id or "")
    assert (runs(floor), job.cost, job.parent_id) == (2, 1, first.job_id), "made, not looked up"
    told = made(database)[1].recipe["again"]
    assert (told["of"], told["identical"]) == (first.id, identical)
    assert words in (await card(fake, job)).text


async def test_again_takes_a_job_too_and_refuses_what_is_gone(
    fake: FakeAdapter, floor: Floor, database: Database
) -> None:
    first = await ask(fake, floor, [picture(7)])
    floor.tools.engine.script = [picture(7)]  # type: ignore[attr-defined]
    reply = await fake.say("again", id=first.id)
    floor.wake()
    assert (await ended(database, reply.job_id or "")).again_of == made(database)[0].id
    await fake.press(Verb.DELETE, made(database)[0].id)
    assert (await fake.say("again", id=first.id)).code == "generation_hidden"
    assert (await fake.say("again", id="0" * 26)).code == "generation_unknown"


async def test_what_is_unlike_its_prompt_is_made_once_more(
    fake: FakeAdapter, floor: Floor, database: Database
) -> None:
    class Strict:
        asked = 0

        def unlike(self, image: Image.Image, text: str) -> bool:
            self.asked += 1
            assert text == "a red apple"
            return True

    strict = Strict()
    engine = floor.tools.engine
    floor.tools = replace(floor.tools, likeness=strict)  # type: ignore[arg-type]
    scripts = iter([[picture(7)], [picture(8, "second")]])
    submit = engine.submit

    def next_script(job_id: str, spec: object, **more: object) -> object:
        engine.script = next(scripts)  # type: ignore[attr-defined]
        return submit(job_id, spec, **more)  # type: ignore[arg-type]

    engine.submit = next_script  # type: ignore[method-assign, assignment]
    job = await ask(fake, floor, [])
    one = made(database)[0]
    assert (one.seed, one.sha256, job.cost, strict.asked) == (8, "second", 1, 1)
    assert one.recipe["remade"] == {"why": "unlike", "first_seed": 7}
    assert one.recipe_key is None, "it is not what seed 7 makes"
    assert "Made again with seed 8" in (await card(fake, job)).text
    # A second one that fails is no reason to keep the first back.
    scripts = iter([[picture(9)], [BadPicture("blank")]])
    engine.submit = next_script  # type: ignore[method-assign, assignment]
    reply = await fake.say("imagine", prompt="a red apple", seed=9)
    floor.wake()
    assert (await ended(database, reply.job_id or "")).status == JobStatus.SUCCEEDED
    assert made(database)[-1].seed == 9


async def test_what_cannot_be_served_from_the_cache_leaves_no_copies(
    fake: FakeAdapter, floor: Floor, database: Database, eyes: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The second of two pictures cannot be judged for a moment: the copy of the first goes, and
    the job is served at its next turn."""
    floor.tools.engine.script = [picture(7), replace(picture(8), index=1)]  # type: ignore[attr-defined]
    reply = await fake.say("imagine", prompt="a red apple", seed=7, count=2)
    floor.wake()
    await ended(database, reply.job_id or "")
    floor.tools = replace(floor.tools, lease_ms=700)
    judge = floor.tools.recorder.judge
    asked: list[str] = []

    async def unlucky(*args: Any, **options: Any) -> Any:
        asked.append("one")
        if len(asked) == 2:
            raise RetryLater("database is locked")
        return await judge(*args, **options)

    monkeypatch.setattr(floor.tools.recorder, "judge", unlucky)
    reply = await fake.say("imagine", prompt="a red apple", seed=7, count=2)
    floor.wake()
    async with asyncio.timeout(60):
        while len(asked) < 2 or floor.busy:
            await asyncio.sleep(0.02)
    floor.tools.clock.advance(1_000)  # type: ignore[attr-defined]
    floor.wake()
    job = await ended(database, reply.job_id or "")
    assert (job.status, job.cost, len(asked)) == (JobStatus.SUCCEEDED, 0, 4)
    files = [path for path in floor.tools.blobs.folder.rglob("*") if path.is_file()]
    assert len(files) == 4, "two made, two served"


def test_keys_tell_wishes_apart_and_ignore_what_does_not_matter() -> None:
    registry = load_registry()
    source = Source(blob="ab/x.png", sha256="p", width=8, height=8)
    base = image_spec(start=source)

    def key(**changes: object) -> str:
        keys = keys_of(base.model_copy(update=changes), registry)
        assert keys is not None
        return keys[0]

    same = [
        key(), key(draft=True), key(bucket=4), key(buckets=(1, 2)), key(count=3),
        key(start=source.model_copy(update={"blob": "cd/y.png"})),
    ]  # fmt: skip
    other = [
        key(seed=8), key(prompt="a pear"), key(steps=21), key(format="png"), key(style="flat"),
        key(start=source.model_copy(update={"sha256": "q"})), key(negative="x"),
    ]  # fmt: skip
    assert len(set(same)) == 1 and len({*same, *other}) == 1 + len(other)
    assert keys_of(base.model_copy(update={"enhance": True}), registry) is None
    both = keys_of(image_spec(seed=7, count=2), registry)
    assert both is not None and both[1] == (keys_of(image_spec(seed=8), registry) or [""])[0]


def test_psnr_of_known_pictures() -> None:
    black, grey = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), (16, 16, 16))
    assert psnr(black, grey) == 24.0  # 20 log10(255 / 16)
    assert psnr(black, black) is None and psnr(black, Image.new("RGB", (2, 2))) is None


def test_metrics_hold_no_words_of_members() -> None:
    names = set(Metrics().names())
    assert {
        "atelier_queue_seconds", "atelier_step_seconds", "atelier_step_requests", "atelier_cache",
        "atelier_eta_ratio", "atelier_gate_seconds", "atelier_model_load_seconds",
        "atelier_out_of_memory",
    } <= names  # fmt: skip


assert jobs and Generation and row
