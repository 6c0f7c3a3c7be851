"""The bench of acknowledgements measures what it says it does."""

from __future__ import annotations

from sqlmodel import select

from bot.acknowledge import measure, percentile
from storage.models import Job
from tests.conftest import set_limits
from tests.fakes import FakeAdapter


async def test_every_command_is_acknowledged_and_queued(fake: FakeAdapter) -> None:
    assert fake.core is not None
    set_limits(fake.core.services.database)
    waits = await measure(fake.core, commands=10, within_s=0.05)
    assert len(waits) == 10
    assert waits == sorted(waits)
    assert waits[0] >= 0
    jobs = fake.core.services.database.read(lambda s: s.exec(select(Job)).all())
    assert len({job.member_id for job in jobs}) == 10


def test_percentiles() -> None:
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([float(n) for n in range(100)], 0.99) == 99.0
    assert percentile([float(n) for n in range(100)], 0.5) == 50.0
