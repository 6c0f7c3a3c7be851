"""One job's life: submit, claim, lease and fence, endings; each change whole or not at all."""

from __future__ import annotations

import pytest
from sqlmodel import Session, select

from storage import jobs, ledger, outbox
from storage.database import Database
from storage.errors import LimitReached, NotAllowed, NotFound
from storage.jobs import Claim, Made
from storage.models import Generation, Job, Outbox, Reservation
from storage.schema import (
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
)
from storage.workspaces import Actor
from tests.conftest import START, actor, chat_spec, image_spec, row, sound, submitted

ROOM = {JobKind.IMAGE: 1, JobKind.CHAT: 1}


def claimed(database: Database, now: int = START, worker: str = "w1") -> Claim:
    got = database.write(jobs.claim, worker=worker, room=ROOM, now=now)
    assert got is not None
    return got


def credits(database: Database, person: Actor) -> ledger.Balance:
    return database.read(ledger.balance, ledger.member_account(person.member.id))


def count(database: Database, table: type) -> int:
    return len(database.read(lambda session: session.exec(select(table)).all()))


def picture(index: int = 0) -> Made:
    return Made(
        index=index, status=GenerationStatus.VISIBLE, seed=7, recipe={"seed": 7},
        verdict=Verdict().dump(), blob=f"00/{index:032x}.png", width=128, height=128,
    )  # fmt: skip


def test_submit_holds_credits_and_writes_the_outbox(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann, price=4)
    assert (job.status, job.batch_key) == (JobStatus.QUEUED, "image:starter-icons:128x128")
    assert credits(database, ann) == ledger.Balance(posted=50, pending=4)
    assert [r.topic for r in database.read(outbox.unsent)] == ["ticket"]
    assert sound(database)


def test_the_same_key_is_the_same_job(database: Database) -> None:
    ann, ben = actor(database), actor(database, "ben")
    first = submitted(database, ann, key="k")
    assert submitted(database, ann, image_spec("other"), key="k", price=9).id == first.id
    assert credits(database, ann).pending == 1
    with pytest.raises(NotAllowed):
        submitted(database, ben, key="k")
    elsewhere = actor(database, workspace="other")
    assert submitted(database, elsewhere, key="k").id != first.id


@pytest.mark.parametrize("why", ["credits", "member", "workspace", "wait"])
def test_a_refused_submit_leaves_nothing_behind(database: Database, why: str) -> None:
    ann = actor(database)
    options: dict[str, int] = {"price": 1}
    before = 0
    if why == "credits":
        options, code = {"price": 51}, "credits_short"
    elif why == "member":
        before, code = ann.tier.max_queued, "queue_full_member"
    elif why == "workspace":
        ann.workspace.max_queued, before, code = 2, 2, "queue_full_workspace"
    else:
        before, code = 1, "wait_too_long"
        options["max_wait_ms"] = 1_000
    for _ in range(before):
        submitted(database, ann)
    balance = credits(database, ann)
    with pytest.raises(LimitReached) as refusal:
        submitted(database, ann, **options)
    assert refusal.value.code == code
    assert [count(database, t) for t in (Job, Reservation, Outbox)] == [before] * 3
    assert credits(database, ann) == balance
    assert sound(database)


def test_finish_settles_and_announces(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann, price=4)
    got = claimed(database, START + 500)
    assert (got.job_id, got.fence, got.attempts, got.reserved) == (job.id, 1, 1, 4)
    assert (got.spec, got.deadline_ms) == (image_spec(), 60_000)
    done = database.write(
        jobs.finish, job.id, got.fence, status=JobStatus.SUCCEEDED, now=START + 2_500,
        made=[picture(0), picture(1)], cost=3, run_ms=2_000, engine_ms=1_900,
    )  # fmt: skip
    assert done
    stored = row(database, job.id)
    assert (stored.status, stored.cost, stored.queued_ms) == (JobStatus.SUCCEEDED, 3, 500)
    assert stored.lease_until is None and stored.finished_at == START + 2_500
    assert credits(database, ann) == ledger.Balance(posted=47, pending=0)
    assert count(database, Generation) == 2
    assert {r.topic for r in database.read(outbox.unsent)} == {"ticket", "announce"}
    # Told twice, done once.
    assert not database.write(
        jobs.finish, job.id, got.fence, status=JobStatus.SUCCEEDED, now=START + 2_600, cost=3
    )
    assert credits(database, ann).posted == 47
    assert sound(database)


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.REJECTED, JobStatus.CANCELLED])
def test_only_success_costs(database: Database, status: JobStatus) -> None:
    ann = actor(database)
    job = submitted(database, ann, price=4)
    fence = claimed(database).fence
    assert database.write(jobs.finish, job.id, fence, status=status, now=START, cost=4)
    assert credits(database, ann) == ledger.Balance(posted=50, pending=0)
    assert row(database, job.id).cost == 0
    assert sound(database)


def test_an_ending_is_whole_or_nothing(database: Database) -> None:
    """A crash after the status change takes money, generations and counters back with it."""
    ann = actor(database)
    job = submitted(database, ann, price=4)
    fence = claimed(database).fence
    before = row(database, job.id)

    def finish_and_crash(session: Session) -> None:
        assert jobs.finish(
            session, job.id, fence, status=JobStatus.SUCCEEDED, now=START, made=[picture()], cost=4
        )
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        database.write(finish_and_crash)
    assert row(database, job.id) == before
    assert credits(database, ann).pending == 4
    assert count(database, Generation) == 0
    assert sound(database)
    # More than was reserved is a bug of ours: nothing of it may stick either.
    with pytest.raises(ledger.LedgerConflict):
        database.write(jobs.finish, job.id, fence, status=JobStatus.SUCCEEDED, now=START, cost=5)
    assert row(database, job.id).status == JobStatus.RUNNING


def test_a_stale_owner_writes_nothing(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann, price=4)
    old = claimed(database, START, "w1")
    assert database.write(jobs.claim, worker="w2", room=ROOM, now=START + 9_000) is None
    new = claimed(database, START + jobs.LEASE_MS + 1, "w2")
    assert (new.job_id, new.fence, new.attempts) == (job.id, 2, 2)
    held = row(database, job.id)
    late = START + jobs.LEASE_MS + 2
    assert database.write(jobs.renew, job.id, old.fence, now=late) == jobs.Lease(False, False)
    assert not database.write(jobs.give_back, job.id, old.fence, now=late)
    assert not database.write(
        jobs.finish, job.id, old.fence, status=JobStatus.SUCCEEDED, now=late, made=[picture()],
        cost=4,
    )  # fmt: skip
    assert row(database, job.id) == held
    assert count(database, Generation) == 0
    assert database.write(jobs.renew, job.id, new.fence, now=late).ours
    assert row(database, job.id).lease_until == late + jobs.LEASE_MS
    assert sound(database)


def test_a_poison_job_is_given_up_after_three_crashes(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann, price=4)
    now = START
    for _ in range(jobs.MAX_ATTEMPTS):
        claimed(database, now)
        assert database.write(jobs.sweep, now=now) == []
        now += jobs.LEASE_MS + 1
    assert database.write(jobs.claim, worker="w", room=ROOM, now=now) is None
    assert database.read(jobs.claimable, now=now) == 0
    assert database.write(jobs.sweep, now=now) == [job.id]
    stored = row(database, job.id)
    assert (stored.status, stored.error_code) == (JobStatus.FAILED, "crashed")
    assert credits(database, ann) == ledger.Balance(posted=50, pending=0)
    assert database.write(jobs.sweep, now=now) == []
    assert sound(database)


def test_giving_back_costs_no_attempt_and_no_share(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann, estimate_ms=4_001)
    for turn in range(5):
        got = claimed(database, START + turn)
        assert database.write(jobs.give_back, job.id, got.fence, now=START + turn)
    stored = row(database, job.id)
    assert (stored.status, stored.attempts, stored.fence) == (JobStatus.QUEUED, 0, 5)
    assert actor(database).member.served == 0 and actor(database).workspace.served == 0
    assert database.read(jobs.claimable, now=START) == 1


def test_cancel_while_queued(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann, price=4)
    assert database.write(jobs.cancel, job.id, actor=ann, now=START + 1) is JobStatus.CANCELLED
    assert database.write(jobs.cancel, job.id, actor=ann, now=START + 2) is JobStatus.CANCELLED
    assert credits(database, ann).pending == 0
    assert database.write(jobs.claim, worker="w", room=ROOM, now=START + 3) is None
    assert [r.topic for r in database.read(outbox.unsent)].count("announce") == 1
    assert sound(database)


def test_cancel_while_running_and_after(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann)
    got = claimed(database)
    assert database.write(jobs.cancel, job.id, actor=ann, now=START + 1) is JobStatus.RUNNING
    assert database.write(jobs.renew, job.id, got.fence, now=START + 2) == jobs.Lease(True, True)
    database.write(jobs.finish, job.id, got.fence, status=JobStatus.CANCELLED, now=START + 3)
    assert database.write(jobs.cancel, job.id, actor=ann, now=START + 4) is JobStatus.CANCELLED
    assert sound(database)


def test_a_cancelled_job_that_is_given_back_ends(database: Database) -> None:
    """It was queued again, claimed by nobody and swept by nobody: credits held for ever."""
    ann = actor(database)
    job = submitted(database, ann, price=4)
    got = claimed(database)
    database.write(jobs.cancel, job.id, actor=ann, now=START + 1)
    assert database.write(jobs.give_back, job.id, got.fence, now=START + 2)
    assert row(database, job.id).status == JobStatus.CANCELLED
    assert credits(database, ann) == ledger.Balance(posted=50, pending=0)
    assert sound(database)


def test_a_cancelled_job_of_a_dead_worker_is_swept(database: Database) -> None:
    ann = actor(database)
    job = submitted(database, ann)
    claimed(database)
    database.write(jobs.cancel, job.id, actor=ann, now=START + 1)
    late = START + jobs.LEASE_MS + 1
    assert database.write(jobs.claim, worker="w2", room=ROOM, now=late) is None
    assert database.write(jobs.sweep, now=late) == [job.id]
    assert row(database, job.id).status == JobStatus.CANCELLED
    assert sound(database)


def test_only_the_owner_or_a_moderator_cancels(database: Database) -> None:
    ann, ben = actor(database), actor(database, "ben")
    job = submitted(database, ann)
    with pytest.raises(NotAllowed):
        database.write(jobs.cancel, job.id, actor=ben, now=START)
    foreigner = actor(database, "ann", workspace="elsewhere", role="admin")
    with pytest.raises(NotFound):
        database.write(jobs.cancel, job.id, actor=foreigner, now=START)
    assert row(database, job.id).status == JobStatus.QUEUED
    mod = actor(database, "mod", role="moderator")
    assert database.write(jobs.cancel, job.id, actor=mod, now=START) is JobStatus.CANCELLED


def test_room_and_max_running_bound_the_claim(database: Database) -> None:
    ann = actor(database)
    for _ in range(2):
        submitted(database, ann)
    assert database.write(jobs.claim, worker="w", room={JobKind.IMAGE: 0}, now=START) is None
    assert database.write(jobs.claim, worker="w", room={JobKind.CHAT: 1}, now=START) is None
    claimed(database)
    assert database.write(jobs.claim, worker="w", room=ROOM, now=START) is None
    submitted(database, actor(database, "ben"), chat_spec())
    assert claimed(database).kind is JobKind.CHAT


def test_the_gates_verdict_travels_with_the_claim(database: Database) -> None:
    found = Verdict(
        outcome=Outcome.BLUR, flags=frozenset({Flag(category=Category.VIO, score=0.4, stage="t")})
    )
    submitted(database, actor(database), verdict=found)
    got = claimed(database)
    assert got.verdict == found
    database.write(jobs.finish, got.job_id, got.fence, status=JobStatus.FAILED, now=START)
    assert row(database, got.job_id).verdict == found.dump()


def test_delivery_is_marked_once(database: Database) -> None:
    job = submitted(database, actor(database))
    assert database.write(outbox.mark_delivered, job.id, now=START)
    assert not database.write(outbox.mark_delivered, job.id, now=START)


def test_a_conversation_is_remembered_once_and_in_order(database: Database) -> None:
    ann = actor(database)
    for number in range(3):
        job = submitted(database, ann, chat_spec(), now=START + number)
        for _ in range(2):
            database.write(
                jobs.remember, job.id, thread="t1", question=f"q{number}", answer=f"a{number}",
                now=START,
            )  # fmt: skip
    lines = database.read(jobs.conversation, workspace_id=ann.workspace.id, thread="t1")
    assert sorted(line.text for line in lines) == ["a0", "a1", "a2", "q0", "q1", "q2"]
    assert [line.role for line in lines] == ["user", "assistant"] * 3
    assert not database.read(jobs.conversation, workspace_id="elsewhere", thread="t1")
