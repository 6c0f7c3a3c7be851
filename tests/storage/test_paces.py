"""What work takes is learned from work, kept, and foreseen for other lengths and sizes."""

from __future__ import annotations

import random

import pytest

from storage import paces, prices, views
from storage.database import Database
from storage.endings import Ending, end_job
from storage.errors import LimitReached
from storage.jobs import claim
from storage.paces import Samples
from storage.registry import load_registry
from storage.schema import JobKind, JobStatus
from tests.conftest import START, actor, chat_spec, image_spec, row, set_limits, submitted

CARD = load_registry().find("starter-icons", JobKind.IMAGE)
CHAT = load_registry().default(JobKind.CHAT)


def samples(pairs: list[tuple[float, float]]) -> Samples:
    found = Samples()
    for x, y in pairs:
        found = found.with_sample(x, y)
    return found


@pytest.mark.parametrize(
    ("pairs", "x", "expected"),
    [
        ([], 20, 0),
        ([(20, 2_000)], 10, 1_000),  # one point: in proportion
        ([(20, 2_000)] * 5, 40, 4_000),
        ([(10, 1_500), (20, 2_500), (40, 4_500)], 30, 3_500),  # 500 once and 100 a step
        ([(10, 1_500), (20, 2_500), (40, 4_500)], 4, 900),
        ([(10, 2_000), (20, 1_000)], 40, 1_931),  # a nonsense slope is held near the proportion
    ],
)
def test_foreseeing(pairs: list[tuple[float, float]], x: float, expected: float) -> None:
    assert samples(pairs).foresee(x) == pytest.approx(expected, rel=0.25 if pairs else 0, abs=1e-6)


def test_a_machine_that_changes_is_followed_within_a_dozen_jobs() -> None:
    rng = random.Random(1)
    found = Samples()
    for speed in (100.0, 250.0):
        for _ in range(15):
            steps = rng.choice([8, 20, 30, 50])
            found = found.with_sample(steps, (400 + speed * steps) * rng.uniform(0.9, 1.1))
        for steps in (10, 40):
            assert found.foresee(steps) == pytest.approx(400 + speed * steps, rel=0.25)


def test_the_end_of_a_job_teaches_and_the_next_is_foreseen(database: Database) -> None:
    person = actor(database)
    spec = image_spec(steps=20, guidance=4.0)
    guess = database.read(paces.foresee, spec, CARD)
    assert guess == prices.estimate_ms(spec, CARD)
    job = submitted(database, person, spec)
    got = database.write(claim, worker="w", room={JobKind.IMAGE: 1}, now=START)
    assert got is not None and got.predicted_ms == row(database, job.id).predicted_ms == 2_000
    ending = Ending(status=JobStatus.SUCCEEDED, cost=1, engine_ms=3_000, units=20)
    assert database.write(end_job, job.id, got.fence, ending, now=START + 3_000)
    assert database.read(paces.foresee, spec, CARD) == 3_000
    assert database.read(paces.foresee, spec.model_copy(update={"count": 2}), CARD) == 6_000
    # A size never seen: by area from the one that was; another number of rows: not at all.
    wide = spec.model_copy(update={"width": 256})
    assert database.read(paces.foresee, wide, CARD) == 6_000
    plain = spec.model_copy(update={"guidance": 0.0})
    assert database.read(paces.foresee, plain, CARD) == prices.estimate_ms(plain, CARD)


def test_answers_are_foreseen_by_their_usual_length(database: Database) -> None:
    spec = chat_spec(max_tokens=64)
    for tokens in (10, 12, 14):
        database.write(paces.learn, spec, tokens, tokens * 100, now=START)
    assert database.read(paces.foresee, spec, CHAT) == pytest.approx(1_200, rel=0.1)
    short = spec.model_copy(update={"max_tokens": 5})
    assert database.read(paces.foresee, short, CHAT) == pytest.approx(500, rel=0.2)


def test_admission_goes_by_ones_own_wait_not_by_anothers_backlog(database: Database) -> None:
    """A spammer's line is long for the spammer; who has nothing queued is next."""
    spammer, quiet = actor(database, "spammer"), actor(database, "quiet")
    set_limits(database)
    spammer.tier.max_queued, spammer.workspace.max_queued = 1_000, 1_000
    for _ in range(20):
        submitted(database, spammer, estimate_ms=60_000, max_wait_ms=3_600_000)
    with pytest.raises(LimitReached) as caught:
        submitted(database, spammer, estimate_ms=60_000, max_wait_ms=600_000)
    assert caught.value.code == "wait_too_long"
    job = submitted(database, quiet, estimate_ms=60_000, max_wait_ms=600_000)
    place = database.read(views.place_of, job.id, now=START)
    assert place is not None and place.place <= 2
    assert job.predicted_ms == place.eta_at - START


def test_two_workers_halve_the_wait(database: Database) -> None:
    people = [actor(database, f"m{i}") for i in range(4)]
    set_limits(database)
    for person in people:
        submitted(database, person, estimate_ms=10_000)
    for worker in ("a", "b"):
        database.write(claim, worker=worker, room={JobKind.IMAGE: 1}, now=START)
    last = submitted(database, people[0], estimate_ms=10_000)
    place = database.read(views.place_of, last.id, now=START)
    assert place is not None and place.eta_at - START == 25_000
