"""Files that nothing names any more are removed; whatever is named anywhere stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlmodel import Session

from storage.blobs import Blobs
from storage.database import Database
from storage.endings import Ending, end_job
from storage.jobs import Made, claim
from storage.litter import GRACE_S, collect
from storage.models import Workspace
from storage.schema import GenerationStatus, JobKind, JobStatus, Source, Verdict
from tests.conftest import START, actor, image_spec, submitted


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def aged(blobs: Blobs, path: Path, seconds: float = GRACE_S + 60) -> None:
    when = time.time() - seconds
    os.utime(path, (when, when))


def put(blobs: Blobs, seconds: float = GRACE_S + 60) -> str:
    key = blobs.put(b"picture", "webp")
    aged(blobs, blobs.path(key), seconds)
    return key


def test_what_a_row_names_stays_and_the_rest_goes(database: Database, blobs: Blobs) -> None:
    ann = actor(database, credits=10)
    made, start, said, lost = (put(blobs) for _ in range(4))
    fresh = put(blobs, seconds=GRACE_S - 60)
    submitted(
        database, ann,
        image_spec(start=Source(blob=start, sha256="0" * 64, width=8, height=8), mode="image"),
    )  # fmt: skip
    taken = database.write(claim, worker="w", room={JobKind.IMAGE: 1}, now=START)
    assert taken is not None
    picture = Made(
        index=0, status=GenerationStatus.VISIBLE, seed=7, recipe={}, verdict=Verdict().dump(),
        blob=made, width=8, height=8, sha256="1" * 64,
    )  # fmt: skip
    wish = Ending(status=JobStatus.SUCCEEDED, made=(picture,), cost=1)
    assert database.write(end_job, taken.job_id, taken.fence, wish, now=START)

    def mention(session: Session) -> None:
        """In a column that holds no keys by itself: it counts all the same."""
        space = session.get_one(Workspace, ann.workspace.id)
        space.settings = {**space.settings, "elsewhere": [f"see {said}."]}

    database.write(mention)
    gone = collect(database, blobs)
    kept = {key for key in (made, start, said, lost, fresh) if blobs.path(key).exists()}
    assert kept == {made, start, said, fresh}
    assert gone == 1
    assert collect(database, blobs) == 0


def test_a_draft_that_was_never_finished_goes(database: Database, blobs: Blobs) -> None:
    key = put(blobs, seconds=0)
    old, new = (blobs.folder / key[:2] / f"{n * 32}.part" for n in "ab")
    for draft in (old, new):
        draft.write_bytes(b"half")
    aged(blobs, old)
    assert collect(database, blobs) == 1
    assert (old.exists(), new.exists(), blobs.path(key).exists()) == (False, True, True)


def test_no_folder_yet_is_nothing_to_do(database: Database, blobs: Blobs) -> None:
    assert collect(database, blobs) == 0
