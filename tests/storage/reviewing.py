"""What the tests of the review room share: held work, the people, their rulings."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, select

from storage import review
from storage.database import Database
from storage.endings import Ending, end_job
from storage.jobs import Made, claim
from storage.models import Case, Generation, Tier, Workspace
from storage.review_words import ReviewRules, Ruling
from storage.schema import Category, Flag, GenerationStatus, JobKind, JobStatus, Outcome, Verdict
from storage.workspaces import Actor
from tests.conftest import START, submitted

Room = tuple[Actor, Actor, Actor, Actor]
RULES = ReviewRules()


def held(database: Database, owner: Actor, *, score: float = 0.6, count: int = 1) -> list[Case]:
    """A finished job of ``owner`` whose pictures are all held; their cases."""
    job = submitted(database, owner, price=2)
    verdict = Verdict(
        outcome=Outcome.HOLD,
        flags=frozenset({Flag(category=Category.SEX, score=score, stage="image.nudenet")}),
    )
    made = tuple(
        Made(index=i, status=GenerationStatus.HELD, seed=i, recipe={}, verdict=verdict.dump(),
             blob=f"ab/{job.id.lower().rjust(32, '0')[-31:]}{i}.png", sha256="s" * 64)
        for i in range(count)
    )  # fmt: skip

    def act(session: Session) -> None:
        got = claim(session, worker="w", room={JobKind.IMAGE: 9}, now=START)
        assert got is not None and got.job_id == job.id
        ending = Ending(status=JobStatus.SUCCEEDED, made=made, cost=2, verdict=verdict)
        assert end_job(session, job.id, got.fence, ending, now=START)

    database.write(act)
    return database.read(
        lambda s: list(s.exec(select(Case).where(Case.job_id == job.id).order_by(Case.id)))
    )


def status(database: Database, case: Case) -> tuple[str, str]:
    def read(session: Session) -> tuple[str, str]:
        row = session.get_one(Case, case.id)
        return str(row.status), str(session.get_one(Generation, row.generation_id).status)

    return database.read(read)


def decide(database: Database, who: Actor, case: Case, ruling: Ruling, **more: Any) -> Any:
    return database.write(
        review.decide, who, case.id, ruling, **({"now": START + 1000, "code": "SEX"} | more)
    )


def pro(database: Database, who: Actor) -> None:
    def lift(session: Session) -> None:
        tier = session.get_one(Tier, "free")
        tier.max_queued, tier.max_running = 50, 50
        session.add(tier)

    database.write(lift)
    assert who.member.id


def put(database: Database, workspace: str = "studio", **values: Any) -> None:
    def write(session: Session) -> None:
        row = session.exec(select(Workspace).where(Workspace.external_id == workspace)).one()
        row.settings = row.settings | values
        session.add(row)

    database.write(write)
