"""A case's prompt is translated by the chat model while the worker is idle; the card waits for
nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from sqlmodel import Session, select

from bot.core.review_room import show_case
from storage import translations
from storage.blobs import Blobs
from storage.endings import Ending, end_job
from storage.jobs import Made, claim, submit
from storage.models import Case, CaseTranslation
from storage.schema import (
    Address,
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Platform,
    Verdict,
)
from storage.workspaces import Actor
from tests.conftest import image_spec
from tests.core.test_muse import Studio
from tests.core.test_muse import studio as studio
from worker.engine.engine import Engine
from worker.translate import Translator

HELD = Verdict(
    outcome=Outcome.HOLD,
    flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.nudenet")}),
)


def hold(studio: Studio, prompt: str, owner: Actor, blobs: Blobs) -> str:
    """A held picture, made in one transaction: the worker beside it never sees it queued."""
    made = Made(index=0, status=GenerationStatus.HELD, seed=1, recipe={}, verdict=HELD.dump(),
                blob=blobs.put(b"\x89PNG x", "png"), sha256="5" * 64)  # fmt: skip
    address = Address(platform=Platform.FAKE, workspace="guild-1", channel="general")

    def act(session: Session) -> str:
        job, _ = submit(
            session, owner, image_spec(prompt=prompt), key="held", address=address,
            locale="en", price=1, estimate_ms=1000, deadline_ms=60_000, now=1,
        )  # fmt: skip
        got = claim(session, worker="test", room={JobKind.IMAGE: 9}, now=1)
        assert got is not None and got.job_id == job.id
        ending = Ending(status=JobStatus.SUCCEEDED, made=(made,), cost=1, verdict=HELD)
        assert end_job(session, job.id, got.fence, ending, now=1)
        return session.exec(select(Case.id)).one()

    return studio.database.write(act)


async def test_the_worker_translates_when_it_has_nothing_else_to_do(studio: Studio) -> None:
    assert studio.fake.core is not None
    services = studio.fake.core.services
    studio.speaker.answers = ["a woman on the beach"]
    ann = await services.actor(studio.fake.who("ann"))
    mod = await services.actor(studio.fake.who("mod", "moderator"))
    case_id = hold(studio, "沙滩上的女人", ann, services.blobs)
    card = await show_case(services, mod, case_id, services.texts("en"))
    assert card.data["translating"], "the card is there before the translation"
    async with asyncio.timeout(60):
        while studio.database.read(translations.next_wanted) is not None:
            await asyncio.sleep(0.05)
    card = await show_case(services, mod, case_id, services.texts("en"))
    assert "*Machine translation from Chinese:* a woman on the beach" in card.text
    [row] = studio.database.read(lambda s: s.exec(select(CaseTranslation)).all())
    assert row.model and row.done_at is not None
    [call] = studio.speaker.calls
    assert call["messages"][-1]["content"] == "沙滩上的女人"


async def test_a_worker_that_is_going_uses_up_no_try(studio: Studio, tmp_path: Path) -> None:
    assert studio.fake.core is not None
    services = studio.fake.core.services
    gone = Engine(studio.floor.tools.registry, tmp_path)  # never started: as one that was stopped
    ann = await services.actor(studio.fake.who("ann"))
    mod = await services.actor(studio.fake.who("mod", "moderator"))
    case_id = hold(studio, "沙滩上的女人", ann, services.blobs)
    translator = Translator(replace(studio.floor.tools, engine=gone))
    await show_case(services, mod, case_id, services.texts("en"))
    assert not await translator.once()
    [row] = studio.database.read(lambda s: s.exec(select(CaseTranslation)).all())
    assert row.tries == 0
