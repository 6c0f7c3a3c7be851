"""Many at once, on a SQLite file and on Postgres: never overspent, never twice, no deadlock."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session, select

from storage import jobs, ledger, workspaces
from storage.database import Database
from storage.errors import LimitReached
from storage.models import Job, Member, Reservation
from storage.schema import Address, JobKind, JobStatus, Platform
from tests.conftest import START, actor, image_spec, row, set_limits, sound, submitted

PAYER = "member:payer"
ROOM = {JobKind.IMAGE: 1}


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run ``work(i)`` in threads that start together; an exception is an answer too."""
    gate = threading.Barrier(count)
    answers: list[Any] = [None] * count

    def run(index: int) -> None:
        gate.wait()
        try:
            answers[index] = work(index)
        except Exception as error:
            answers[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def spend(database: Database, who: int, rounds: int) -> tuple[int, int]:
    """Reserve 2 and settle 1, or release; returns credits spent and refusals."""
    spent = refused = 0
    for turn in range(rounds):
        job = f"{who}-{turn}"
        try:
            database.write(ledger.reserve, PAYER, 2, job_id=job, now=START)
        except LimitReached:
            refused += 1
            continue
        if turn % 5 == 4:
            database.write(ledger.release, job)
        elif database.write(ledger.settle, job, 1, now=START):
            spent += 1
    return spent, refused


def spend_in_process(url: str, who: int, rounds: int, answers: Any) -> None:
    database = Database(url)
    answers.put(spend(database, who, rounds))
    database.close()


def accounts_add_up(database: Database, answers: list[tuple[int, int]], granted: int) -> None:
    spent = sum(answer[0] for answer in answers)
    balance = database.read(ledger.balance, PAYER)
    assert (balance.posted, balance.pending) == (granted - spent, 0)
    assert database.read(ledger.balance, ledger.REVENUE).posted == spent
    assert spent <= granted
    assert sum(answer[1] for answer in answers) > 0, "the money never ran out: no race was run"
    assert sound(database)


def test_eight_threads_spend_one_purse(database: Database) -> None:
    database.write(ledger.grant, PAYER, 60, key="g", now=START)
    answers = at_once(8, lambda who: spend(database, who, 25))
    accounts_add_up(database, answers, 60)


@pytest.mark.slow
def test_four_processes_spend_one_purse(database: Database) -> None:
    database.write(ledger.grant, PAYER, 40, key="g", now=START)
    # Forked, not spawned: importing everything four times takes longer than the race.
    context = multiprocessing.get_context("fork")
    database.engine.dispose()
    answers = context.Queue()
    processes = [
        context.Process(
            target=spend_in_process,
            args=(database.engine.url.render_as_string(False), who, 25, answers),
        )
        for who in range(4)
    ]
    for process in processes:
        process.start()
    got = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)
    accounts_add_up(database, got, 40)


def submit(database: Database, person: workspaces.Actor, key: str) -> tuple[Job, bool]:
    return database.write(
        jobs.submit, person, image_spec(), key=key,
        address=Address(platform=Platform.FAKE, workspace="studio", channel="c"), locale="en",
        price=3, estimate_ms=1_000, deadline_ms=60_000, now=START,
    )  # fmt: skip


def test_one_invocation_delivered_five_times_is_one_job(database: Database) -> None:
    ann = actor(database)
    answers = at_once(5, lambda _: submit(database, ann, "interaction-1"))
    assert [type(a) for a in answers] == [tuple] * 5, answers
    assert len({job.id for job, _ in answers}) == 1
    assert sorted(fresh for _, fresh in answers) == [False] * 4 + [True]
    assert len(database.read(lambda s: s.exec(select(Reservation)).all())) == 1
    assert sound(database)


def test_limits_hold_against_simultaneous_submits(database: Database) -> None:
    """The member's limit for one member, the workspace's limit for several."""
    people = [actor(database, f"m{i}") for i in range(6)]
    for person in people:
        person.workspace.max_queued = 4
    answers = at_once(6, lambda i: submit(database, people[i], f"k{i}"))
    refused = [a for a in answers if isinstance(a, LimitReached)]
    assert len(refused) == 2, answers
    assert len(database.read(lambda s: s.exec(select(Job)).all())) == 4
    lonely = actor(database, workspace="other")
    answers = at_once(6, lambda i: submit(database, lonely, f"l{i}"))
    assert sum(isinstance(a, LimitReached) for a in answers) == 6 - lonely.tier.max_queued
    assert sound(database)


def test_no_job_is_claimed_twice_and_no_member_past_the_limit(database: Database) -> None:
    for name in ("ann", "ben", "cem"):
        person = actor(database, name)
        for _ in range(3):
            submitted(database, person)

    def claim(who: int) -> list[str]:
        got = [database.write(jobs.claim, worker=f"w{who}", room=ROOM, now=START) for _ in range(3)]
        return [c.job_id for c in got if c is not None]

    answers = at_once(6, claim)
    taken = [job for answer in answers for job in answer]
    # The free tier runs one at a time: three members, three jobs, whoever asked.
    assert len(taken) == len(set(taken)) == 3, answers
    assert len({row(database, job).member_id for job in taken}) == 3
    assert sound(database)


def test_a_new_person_who_arrives_twice_is_one_member(database: Database) -> None:
    answers = at_once(6, lambda _: actor(database, "new", workspace="fresh"))
    assert all(isinstance(a, workspaces.Actor) for a in answers), answers
    assert len({a.member.id for a in answers}) == len({a.workspace.id for a in answers}) == 1
    account = ledger.member_account(answers[0].member.id)
    assert database.read(ledger.balance, account).posted == answers[0].tier.monthly_credits
    assert len(database.read(lambda s: s.exec(select(Member)).all())) == 1
    assert sound(database)


def test_every_kind_of_change_at_once_ends_sound(database: Database) -> None:
    """Submit, claim, finish, cancel, give back and sweep against each other: no ring of locks."""
    people = [actor(database, f"m{i}", credits=200) for i in range(3)]
    set_limits(database)
    for person in people:
        person.tier.max_queued, person.workspace.max_queued = 1_000, 1_000

    def life(who: int) -> int:
        mine = []
        for turn in range(8):
            mine.append(submit(database, people[who % 3], f"{who}-{turn}")[0].id)
            got = database.write(jobs.claim, worker=f"w{who}", room=ROOM, now=START)
            if turn % 3 == 1:
                database.write(jobs.cancel, mine[-1], actor=people[who % 3], now=START)
            if got is None:
                continue
            if turn % 3 == 2:
                database.write(jobs.give_back, got.job_id, got.fence, now=START)
            elif turn % 4 != 3:
                database.write(
                    jobs.finish, got.job_id, got.fence, status=JobStatus.SUCCEEDED, now=START,
                    cost=2, engine_ms=900,
                )  # fmt: skip
            database.write(jobs.sweep, now=START + 5_000)
        return len(mine)

    assert at_once(6, life) == [8] * 6
    late = START + 2 * jobs.LEASE_MS

    def drain(session: Session) -> bool:
        got = jobs.claim(session, worker="last", room=ROOM, now=late)
        if got is None:
            return False
        return jobs.finish(
            session, got.job_id, got.fence, status=JobStatus.SUCCEEDED, now=late, cost=1
        )

    while database.write(drain):
        pass
    database.write(jobs.sweep, now=late)
    assert database.read(jobs.count_open) == 0
    assert sound(database)
