"""The local studio over the real core, with held pictures in it: for the consoles' tests."""

from __future__ import annotations

from sqlmodel import Session, select

from bot.core.services import Services
from storage.endings import Ending, end_job
from storage.jobs import Made, claim
from storage.models import Case
from storage.schema import (
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Platform,
    Verdict,
)
from tests.conftest import actor, set_limits, submitted
from tests.web.fakes import paint


def hold(services: Services, count: int, *, same: bool = False) -> list[str]:
    """So many held pictures in the local studio; the ids of their cases, most urgent first."""
    database = services.database
    owner = actor(database, "owner", workspace="local", role="admin", platform=Platform.LOCAL,
                  credits=100, now=services.clock())  # fmt: skip
    set_limits(database)
    codes = (Category.SEX, Category.VIO, Category.HATE)
    for number in range(count):
        job = submitted(database, owner, now=services.clock())
        verdict = Verdict(
            outcome=Outcome.HOLD,
            flags=frozenset({Flag(category=codes[number % 3], score=0.5 + number % 5 / 10,
                                  stage="image.nudenet")}),
        )  # fmt: skip
        blob = services.blobs.put(paint("statue", number, 96, 96), "png")
        made = Made(
            index=0, status=GenerationStatus.HELD, seed=number, recipe={}, blob=blob, width=96,
            verdict=verdict.dump(), height=96, sha256="5" * 64 if same else f"{number:064d}",
        )  # fmt: skip

        def end(session: Session, job_id: str = job.id, one: Made = made) -> None:
            got = claim(session, worker="w", room={JobKind.IMAGE: 99}, now=services.clock())
            assert got is not None and got.job_id == job_id
            ending = Ending(status=JobStatus.SUCCEEDED, made=(one,), cost=1)
            assert end_job(session, job_id, got.fence, ending, now=services.clock())

        database.write(end)
    found = database.read(
        lambda s: s.exec(
            select(Case).order_by(Case.severity.desc(), Case.due_at, Case.id)  # type: ignore[attr-defined]
        ).all()
    )
    return [case.id for case in found]
