"""What is stored is what was marked: nothing touches the bytes after they are signed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from moderation.marks import manifest
from moderation.marks.identity import Identity, ensure_identity
from moderation.marks.verify import check, decoded, suffix_of
from storage.models import Workspace
from storage.schema import Mode, Source
from tests.conftest import image_spec
from tests.marks.pictures import icon, photo
from tests.worker.pngs import encode_png
from tests.worker.test_floor import ScriptedEngine, engine, eyes, floor, made, work
from worker.engine.outputs import Picture
from worker.generate import Floor
from worker.marking import finished

__all__ = ["engine", "eyes", "floor"]  # fixtures


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return ensure_identity(tmp_path)


def drawn() -> Picture:
    return Picture(0, photo(192, 128, seed=2), 7, {"seed": 7}, "sha of the pixels before marks")


async def test_a_stored_picture_carries_every_mark_and_no_name(
    floor: Floor, engine: ScriptedEngine, identity: Identity
) -> None:
    floor.tools = dataclasses.replace(floor.tools, identity=identity)
    await work(floor, engine, image_spec("a secret garden"), [drawn()])
    (generation,) = made(floor.tools.database)
    assert generation.blob is not None
    data = floor.tools.blobs.get(generation.blob)
    suffix = suffix_of(data)
    assert suffix is not None and generation.blob.endswith(suffix)
    checked = check(data, suffix, decoded(data), identity.ca)
    assert (checked.made_here, checked.signature, checked.watermark) == ("yes", "ours", "ours")
    assert checked.model == "starter-icons"
    for secret in ("secret garden", "ann", "studio-", generation.id, generation.job_id):
        assert secret.encode() not in data
    assert generation.sha256 == "sha of the pixels before marks"


async def test_the_workspace_may_choose_no_marks(
    floor: Floor, engine: ScriptedEngine, identity: Identity
) -> None:
    floor.tools = dataclasses.replace(floor.tools, identity=identity)
    await work(floor, engine, image_spec(), [drawn()])

    def choose(session):  # type: ignore[no-untyped-def]
        from sqlmodel import select

        for workspace in session.exec(select(Workspace)):
            workspace.settings = {"label_profile": "none"}
            session.add(workspace)

    floor.tools.database.write(choose)
    await work(floor, engine, image_spec("again"), [drawn()])
    first, second = sorted(made(floor.tools.database), key=lambda g: g.id)
    assert first.blob is not None and second.blob is not None
    data = floor.tools.blobs.get(second.blob)
    assert manifest.read(data, str(suffix_of(data)), identity.ca) is None
    data = floor.tools.blobs.get(first.blob)
    assert manifest.read(data, str(suffix_of(data)), identity.ca) is not None


def test_what_starts_from_a_picture_says_so(floor: Floor, identity: Identity) -> None:
    blobs = floor.tools.blobs
    source = Source(
        blob=blobs.put(encode_png(icon(2)), "png"), sha256="0" * 64, width=128, height=128
    )
    spec = image_spec().model_copy(update={"mode": Mode.IMAGE, "start": source})
    options = {"identity": identity, "profile": "eu", "blobs": blobs, "now": 1}
    data, suffix = finished(icon(), spec, **options)  # type: ignore[arg-type]
    found = manifest.read(data, suffix, identity.ca)
    assert found is not None and found.trusted
    assert (found.source_type, found.ingredients) == ("compositeWithTrainedAlgorithmicMedia", 1)
    blobs.delete(source.blob)
    data, suffix = finished(icon(), spec, **options)  # type: ignore[arg-type]
    found = manifest.read(data, suffix, identity.ca)
    assert found is not None and found.ingredients == 0
