"""Who is next: shares, waits and overtaking, simulated with the real claim."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from storage import jobs, views
from storage.database import Database
from storage.jobs import Claim
from storage.line import Waiting, line_up
from storage.models import Job, Member, Workspace
from storage.schema import JobKind, JobStatus
from storage.workspaces import Actor
from tests.conftest import START, actor, image_spec, row, set_limits, submitted

ROOM = {JobKind.IMAGE: 1, JobKind.CHAT: 1}
LENGTH = 1_000


@dataclass
class Gpu:
    """One GPU that runs what the real claim gives it, on a clock moved by the jobs' lengths."""

    database: Database
    now: int = START
    loaded: tuple[str, ...] = ()
    order: list[Claim] = field(default_factory=list)
    started: dict[str, int] = field(default_factory=dict)

    def step(self, slack_ms: int = jobs.SLACK_MS) -> Claim | None:
        """Claim and run one job to its end."""

        def run(session: Session) -> Claim | None:
            got = jobs.claim(
                session, worker="gpu", room=ROOM, now=self.now, loaded=self.loaded,
                slack_ms=slack_ms,
            )  # fmt: skip
            if got is not None:
                estimate = session.get_one(Job, got.job_id).estimate_ms
                self.started[got.job_id] = self.now
                self.now += estimate
                jobs.finish(
                    session, got.job_id, got.fence, status=JobStatus.SUCCEEDED, now=self.now,
                    engine_ms=estimate,
                )  # fmt: skip
            return got

        got = self.database.write(run)
        if got is not None:
            self.order.append(got)
        return got


def people(database: Database, *names: str, workspace: str = "studio") -> list[Actor]:
    found = [actor(database, name, workspace=workspace, credits=5_000) for name in names]
    set_limits(database)
    for person in found:
        person.tier.max_queued = person.workspace.max_queued = 100_000
    return found


def queue(database: Database, person: Actor, count: int, length: int = LENGTH, **spec: object):
    return [
        submitted(database, person, image_spec(**spec), estimate_ms=length) for _ in range(count)
    ]


def test_weights_four_to_one_share_four_to_one_at_every_prefix(memory_database: Database) -> None:
    free, paid = people(memory_database, "free", "paid")
    paid = actor(memory_database, "paid", tier="pro")
    paid.tier.max_queued = paid.workspace.max_queued = 1_000
    queue(memory_database, free, 30)
    queue(memory_database, paid, 100)
    gpu = Gpu(memory_database)
    served = Counter[str]()
    for _ in range(100):
        got = gpu.step()
        assert got is not None
        served[got.member_id] += LENGTH
        virtual = served[free.member.id] - served[paid.member.id] / 4
        assert abs(virtual) <= 2 * LENGTH
    assert 19 <= served[free.member.id] // LENGTH <= 21


def test_a_backlog_of_400_delays_nobody_else(memory_database: Database) -> None:
    heavy, light = people(memory_database, "heavy", "light")
    (other,) = people(memory_database, "other", workspace="elsewhere")
    queue(memory_database, heavy, 400)
    gpu = Gpu(memory_database)
    for turn in range(30):
        gpu.step()
        for person in (light, other):
            if turn % 5 == 0:
                asked = gpu.now
                (job,) = queue(memory_database, person, 1)
                while job.id not in gpu.started:
                    gpu.step()
                assert gpu.started[job.id] - asked <= 2 * LENGTH
    assert len({c.member_id for c in gpu.order}) == 3


def test_silence_earns_nothing(memory_database: Database) -> None:
    """A member (and a workspace) away for a hundred jobs returns level with the others."""
    ann, ben = people(memory_database, "ann", "ben")
    (cem,) = people(memory_database, "cem", workspace="elsewhere")
    queue(memory_database, ann, 130)
    gpu = Gpu(memory_database)
    for _ in range(100):
        gpu.step()
    for sleeper in (ben, cem):
        queue(memory_database, sleeper, 30)
    for _ in range(24):
        gpu.step()
    last = Counter(c.member_id for c in gpu.order[100:])
    # Two workspaces share evenly, and the two members of the first one as well.
    assert abs(last[cem.member.id] - 12) <= 1
    assert abs(last[ann.member.id] - 6) <= 1 and abs(last[ben.member.id] - 6) <= 1


def test_a_newcomer_to_an_idle_house_owes_and_is_owed_nothing(memory_database: Database) -> None:
    """A newcomer used to start at zero when nobody was active, and then to own the GPU."""
    old, new = people(memory_database, "old", "new")
    queue(memory_database, old, 50)
    gpu = Gpu(memory_database)
    while gpu.step():
        pass
    queue(memory_database, new, 40)
    gpu.step()
    asked = gpu.now
    (job,) = queue(memory_database, old, 1)
    while job.id not in gpu.started:
        gpu.step()
    assert gpu.started[job.id] - asked <= 2 * LENGTH


def test_a_newcomer_is_not_lifted_to_a_member_held_back_by_a_limit(
    memory_database: Database,
) -> None:
    """The lowest active counter may belong to somebody who may not run: it is no clock."""
    slow, heavy, new = people(memory_database, "slow", "heavy", "new")
    set_limits(memory_database, max_running=1)
    queue(memory_database, slow, 3)
    held = memory_database.write(jobs.claim, worker="w", room=ROOM, now=START)
    assert held is not None and held.member_id == slow.member.id
    queue(memory_database, heavy, 60)
    gpu = Gpu(memory_database)
    for _ in range(30):
        memory_database.write(jobs.renew, held.job_id, held.fence, now=gpu.now)
        assert gpu.step()
    queue(memory_database, new, 30)
    for _ in range(10):
        memory_database.write(jobs.renew, held.job_id, held.fence, now=gpu.now)
        gpu.step()
    last = Counter(c.member_id for c in gpu.order[30:])
    assert abs(last[new.member.id] - 5) <= 1


def test_the_end_corrects_the_estimate(memory_database: Database) -> None:
    ann = people(memory_database, "ann")[0]
    (job,) = queue(memory_database, ann, 1, length=60_000)
    got = memory_database.write(jobs.claim, worker="w", room=ROOM, now=START)
    assert got is not None and row(memory_database, job.id).charged_ms == 60_000

    def counters() -> tuple[int, int]:
        return memory_database.read(
            lambda s: (
                s.get_one(Member, ann.member.id).served,
                s.get_one(Workspace, ann.workspace.id).served,
            )
        )

    assert counters() == (60_000, 60_000)
    memory_database.write(
        jobs.finish, job.id, got.fence, status=JobStatus.FAILED, now=START, engine_ms=1_500
    )
    assert counters() == (1_500, 1_500)


def test_a_loaded_model_goes_first_but_only_so_far(memory_database: Database) -> None:
    ann, ben = people(memory_database, "ann", "ben")
    (want,) = queue(memory_database, ann, 1, length=4_000, model="sd-turbo")
    queue(memory_database, ben, 20, length=4_000)
    gpu = Gpu(memory_database, loaded=("starter-icons",))
    while want.id not in gpu.started:
        gpu.step()
    assert 1 <= len(gpu.order) - 1 <= jobs.SLACK_MS // 4_000
    strict = Gpu(memory_database)
    (want,) = queue(memory_database, ann, 1, length=4_000, model="sd-turbo")
    strict.step(slack_ms=0)
    assert want.id in strict.started


def test_a_stream_of_newcomers_does_not_starve_an_unloaded_model(
    memory_database: Database,
) -> None:
    """Each newcomer is level with the fairest, so counters alone would let all of them pass."""
    ann = people(memory_database, "ann")[0]
    (want,) = queue(memory_database, ann, 1, length=4_000, model="sd-turbo")
    gpu = Gpu(memory_database, loaded=("starter-icons",))
    for number in range(12):
        newcomer = people(memory_database, f"new{number}")[0]
        queue(memory_database, newcomer, 1, length=4_000)
        gpu.step()
    assert gpu.started[want.id] - START <= jobs.SLACK_MS + 4_000


def test_the_place_in_line_is_the_order_of_claims(memory_database: Database) -> None:
    crowd = people(memory_database, "a", "b", "c") + people(memory_database, "d", workspace="x")
    paid = actor(memory_database, "b", tier="pro")
    paid.tier.max_queued = paid.workspace.max_queued = 1_000
    for turn in range(6):
        for index, person in enumerate([crowd[0], paid, crowd[2], crowd[3]]):
            queue(memory_database, person, 1 + (turn + index) % 2, length=500 + 700 * index)
    waiting = [c.id for c in memory_database.read(lambda s: s.exec(select(Job)).all())]
    places = {job: memory_database.read(views.place_of, job, now=START) for job in waiting}
    gpu = Gpu(memory_database)
    while gpu.step():
        pass
    foreseen = sorted(waiting, key=lambda job: places[job].place)
    assert [c.job_id for c in gpu.order] == foreseen
    ends = {c.job_id: gpu.started[c.job_id] for c in gpu.order}
    lengths = {job: row(memory_database, job).estimate_ms for job in waiting}
    assert all(places[job].eta_at == ends[job] + lengths[job] for job in waiting)
    assert memory_database.read(views.place_of, waiting[0], now=START) is None


def test_500_queued_jobs_are_claimed_and_placed_quickly(sqlite_database: Database) -> None:
    crowd = people(sqlite_database, *(f"m{i}" for i in range(25)))
    mine = [job for person in crowd for job in queue(sqlite_database, person, 21)]
    started = time.perf_counter()
    place = sqlite_database.read(views.place_of, mine[0].id, now=START)
    placed_ms = (time.perf_counter() - started) * 1000
    beyond = sqlite_database.read(views.place_of, max(job.id for job in mine), now=START)
    assert place is not None and place.total == 525
    assert beyond is not None and beyond.place == 525
    times = []
    for _ in range(20):
        started = time.perf_counter()
        assert sqlite_database.write(jobs.claim, worker="w", room=ROOM, now=START)
        times.append((time.perf_counter() - started) * 1000)
    median = sorted(times)[10]
    print(f"525 queued: claim median {median:.1f} ms, max {max(times):.1f}; place {placed_ms:.1f}")
    # Generous: this machine is shared. A worker claims once per job of a second or more.
    assert median < 150 and placed_ms < 1_000


waiting_lines = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 9_000)), max_size=40
).map(
    lambda rows: [
        Waiting(
            job_id=f"{i:03}",
            workspace_id=f"w{space}",
            member_id=f"w{space}m{member}",
            workspace_served=space * 700,
            member_served=member * 900,
            weight=1 + 3 * (member % 2),
            estimate_ms=length,
        )
        for i, (space, member, length) in enumerate(rows)
    ]
)


@given(waiting_lines)
@settings(max_examples=300)
def test_the_line_follows_the_rule_at_every_pick(line: list[Waiting]) -> None:
    order = line_up(line)
    assert sorted(w.job_id for w in order) == [w.job_id for w in line]
    spaces = {w.workspace_id: w.workspace_served for w in line}
    members = {w.member_id: w.member_served for w in line}
    left = list(line)
    for pick in order:
        fairest = min(left, key=lambda w: (spaces[w.workspace_id], members[w.member_id], w.job_id))
        assert pick is fairest
        left.remove(pick)
        spaces[pick.workspace_id] += pick.estimate_ms
        members[pick.member_id] += pick.estimate_ms // pick.weight
