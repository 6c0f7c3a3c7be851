"""A start picture is read and judged before the engine sees a pixel of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from storage.blobs import Blobs
from storage.schema import (
    ChatSpec,
    GenerationStatus,
    ImageSpec,
    JobStatus,
    Mode,
    Source,
)
from tests.conftest import image_spec
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
from worker.generate import Floor
from worker.sources import SourceGone, open_source

__all__ = ["eyes", "floor"]  # fixtures


class HeldRun(ScriptedRun):
    pictures: Mapping[str, Image.Image] | None = None

    def finish(self) -> None:
        self.ended = True


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
