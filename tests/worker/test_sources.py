"""A start picture is read and judged before the engine sees a pixel of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from sqlmodel import Session, select

from moderation.pipeline import Content, Surface
from moderation.stages.nudity import FACE_DETAIL
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import RetryLater
from storage.models import DecisionRecord, Generation, Workspace
from storage.schema import (
    Category,
    ChatSpec,
    Flag,
    GenerationStatus,
    ImageSpec,
    JobStatus,
    Mode,
    Source,
)
from storage.workspaces import settings_of
from tests.conftest import actor, chat_spec, image_spec
from tests.worker.pngs import encode_png
from tests.worker.test_floor import (
    Judge,
    ScriptedEngine,
    ScriptedRun,
    eyes,
    floor,
    made,
    paint,
    picture,
    work,
)
from worker.engine.outputs import Answer, Progress, Text
from worker.generate import Floor
from worker.sources import SourceGone, open_source

__all__ = ["eyes", "floor"]  # fixtures


class HeldRun(ScriptedRun):
    pictures: Mapping[str, Image.Image] | None = None

    def finish(self) -> None:
        self.ended = True

    def cancel(self) -> None:
        super().cancel()
        if self.pictures is None:
            self.ended = True  # as the engine's: nobody else would end it


class HoldingEngine(ScriptedEngine):
    """Takes held runs, as the real one does."""

    def submit(self, job_id: str, spec: ImageSpec | ChatSpec, *, hold: bool = False) -> ScriptedRun:
        assert hold
        self.runs.append(HeldRun(spec, self.script))
        return self.runs[-1]

    def release(self, run: HeldRun, pictures: Mapping[str, Image.Image]) -> None:
        run.pictures = pictures


@pytest_asyncio.fixture
async def engine() -> HoldingEngine:
    return HoldingEngine()


def started_from(floor: Floor, red: int = 0) -> ImageSpec:
    """A spec that starts from a stored picture of this redness."""
    blob = floor.tools.blobs.put(encode_png(paint(red)), "png")
    start = Source(blob=blob, sha256="0" * 64, width=32, height=32)
    return image_spec().model_copy(update={"mode": Mode.IMAGE, "start": start})


def allow_nudity(database: Database) -> None:
    """Everybody here is of age: nudity is shown veiled."""
    who = actor(database)

    def write(session: Session) -> None:
        row = session.get_one(Workspace, who.workspace.id)
        row.settings = {"policy": {"adult": True}}
        session.add(row)

    database.write(write)


async def test_the_engine_gets_the_pixels_after_they_were_judged(
    floor: Floor, engine: HoldingEngine, eyes: Judge
) -> None:
    spec = started_from(floor)
    job = await work(floor, engine, spec, [picture()])
    assert job.status == JobStatus.SUCCEEDED
    run = engine.runs[0]
    assert isinstance(run, HeldRun) and run.pictures is not None and spec.start is not None
    assert run.pictures[spec.start.blob].tobytes() == paint().tobytes()
    assert [str(c.surface) for c in eyes.seen if c.image is not None] == ["upload", "output"]


async def test_what_is_not_allowed_never_reaches_the_engine(
    floor: Floor, engine: HoldingEngine
) -> None:
    job = await work(floor, engine, started_from(floor, red=255), [picture()])
    assert (job.status, job.error_code) == (JobStatus.REJECTED, "source_refused")
    run = engine.runs[0]
    assert isinstance(run, HeldRun) and run.pictures is None and run.ended


async def test_what_is_made_of_a_doubtful_picture_is_held(
    floor: Floor, engine: HoldingEngine
) -> None:
    await work(floor, engine, started_from(floor, red=128), [picture()])
    assert [g.status for g in made(floor.tools.database)] == [GenerationStatus.HELD]


async def test_an_answer_about_a_doubtful_picture_is_held(
    floor: Floor, engine: HoldingEngine
) -> None:
    blob = floor.tools.blobs.put(encode_png(paint(128)), "png")
    shown = Source(blob=blob, sha256="0" * 64, width=32, height=32)
    spec = chat_spec("What is it?", images=(shown,))
    answer = Answer("A cat.", 9, 3, {})
    job = await work(floor, engine, spec, [Text("A cat."), answer])
    assert job.status == JobStatus.SUCCEEDED
    assert [g.status for g in made(floor.tools.database)] == [GenerationStatus.HELD]
    tools = spec.model_copy(update={"tools": ("clock",), "seed": 8})
    await work(floor, engine, tools, [answer])
    assert [g.status for g in made(floor.tools.database)] == [GenerationStatus.HELD] * 2


async def test_what_ends_before_the_engine_had_it_gives_its_place_back(
    floor: Floor, engine: HoldingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away while the pictures are read: the run is still only held."""
    look = floor.tools.database.look
    lost: list[str] = []

    async def unlucky(fn: Any, *args: Any, **options: Any) -> Any:
        if fn is settings_of and not lost:
            lost.append("connection")
            raise RetryLater("connection lost")
        return await look(fn, *args, **options)

    monkeypatch.setattr(floor.tools.database, "look", unlucky)
    floor.tools = replace(floor.tools, lease_ms=700)
    job = await work(floor, engine, started_from(floor), [picture()])
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 2)
    assert lost and engine.runs[0].asked.is_set(), "the engine heard that nobody wants it"


async def test_a_deleted_start_picture_ends_the_job_at_no_cost(
    floor: Floor, engine: HoldingEngine
) -> None:
    spec = started_from(floor)
    assert spec.start is not None
    floor.tools.blobs.delete(spec.start.blob)
    job = await work(floor, engine, spec, [picture()])
    assert (job.status, job.error_code, job.cost or 0) == (JobStatus.FAILED, "source_gone", 0)


def test_alpha_is_kept_and_junk_is_gone(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    kept = Source(blob=blobs.put(encode_png(clear), "png"), sha256="", width=8, height=8)
    assert open_source(blobs, kept).tobytes() == clear.tobytes()
    junk = kept.model_copy(update={"blob": blobs.put(b"GIF89a not a picture", "png")})
    with pytest.raises(SourceGone):
        open_source(blobs, junk)
    with pytest.raises(SourceGone):
        open_source(blobs, kept.model_copy(update={"blob": "../../etc/passwd"}))


async def test_the_alpha_channel_hides_nothing_from_the_judge(
    floor: Floor, engine: HoldingEngine, eyes: Judge
) -> None:
    hidden = Image.new("RGBA", (32, 32), (255, 10, 20, 0))
    blob = await asyncio.to_thread(floor.tools.blobs.put, encode_png(hidden), "png")
    start = Source(blob=blob, sha256="0" * 64, width=32, height=32)
    spec = image_spec().model_copy(update={"mode": Mode.IMAGE, "start": start})
    job = await work(floor, engine, spec, [picture()])
    assert job.error_code == "source_refused"


# -- faces -------------------------------------------------------------------------------------


def with_faces(content: Content) -> list[Flag]:
    """Every upload is a photograph of somebody; what is made of it is half undressed."""
    if content.surface is Surface.UPLOAD:
        return [Flag(category=Category.REAL, score=0.1, stage="image.nudity", detail=FACE_DETAIL)]
    return [Flag(category=Category.SEX, score=0.55, stage="image.nudity")]


async def test_nudity_made_from_a_photographed_face_is_blocked(
    floor: Floor, engine: HoldingEngine, eyes: Judge
) -> None:
    """Where nudity alone would be shown veiled, too: it is a real person's."""
    eyes.find = with_faces
    database = floor.tools.database
    allow_nudity(database)
    script = [Progress(0, 1, 2, paint()), 0.3, Progress(0, 2, 2), picture()]
    job = await work(floor, engine, started_from(floor), script)
    assert (job.status, job.error_code) == (JobStatus.REJECTED, "output_refused")
    assert job.error_params["category_code"] == "REAL"
    assert [g.blob for g in made(database)] == [None]
    records = database.read(lambda s: list(s.exec(select(DecisionRecord))))
    assert {(r.surface, r.outcome) for r in records} >= {("output", "block"), ("preview", "block")}


async def test_a_face_that_we_drew_is_nobodys_unless_it_goes_back_to_a_photograph(
    floor: Floor, engine: HoldingEngine, eyes: Judge
) -> None:
    database = floor.tools.database
    allow_nudity(database)
    eyes.find = lambda content: []
    await work(floor, engine, started_from(floor), [picture()])
    eyes.find = lambda content: with_faces(content) if content.surface is Surface.UPLOAD else []
    await work(floor, engine, started_from(floor), [picture()])
    drawn, tainted = made(database)
    eyes.find = with_faces
    for source, status in ((drawn, "blurred"), (tainted, "removed")):
        spec = started_from(floor)
        assert spec.start is not None
        start = spec.start.model_copy(update={"generation_id": source.id})
        spec = spec.model_copy(update={"start": start})
        job = await work(floor, engine, spec, [picture()])
        last = database.read(
            lambda s, job=job: s.exec(select(Generation).where(Generation.job_id == job.id)).one()
        )
        assert last.status == status


async def test_a_picture_is_judged_beside_the_members_own_words(
    floor: Floor, engine: HoldingEngine, eyes: Judge
) -> None:
    """What was written for the picture model may have lost the word that matters."""
    await work(floor, engine, image_spec("小女孩在花园里"), [picture()])
    [output] = [c for c in eyes.seen if c.surface is Surface.OUTPUT]
    assert "小女孩在花园里" in output.context and len(output.context) == 2
