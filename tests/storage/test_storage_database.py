"""Transactions on both databases, migrations from nothing, and many commands at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlmodel import Session, SQLModel

import storage.models
from storage import jobs, ledger
from storage.database import Database
from storage.errors import OperatorError, RetryLater
from storage.migrate import migrate
from storage.models import Account
from tests.conftest import START, actor, row, sound, submitted

assert storage.models


def fresh_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'atelier.db'}"
    url: str = request.getfixturevalue("postgres_empty")
    return url


def migrate_in_process(url: str, gate: Any, answers: Any) -> None:
    gate.wait()
    database = Database(url)
    try:
        migrate(database)
        answers.put("migrated")
    except Exception as error:
        answers.put(repr(error))
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_migrations_from_nothing_match_the_models(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = Database(fresh_url(kind, request, tmp_path))
    migrate(database)
    migrate(database)
    with database.engine.connect() as connection:
        drift = compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)
    assert drift == []
    assert submitted(database, actor(database)).id
    assert sound(database)
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_three_processes_may_migrate_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = fresh_url(kind, request, tmp_path)
    context = multiprocessing.get_context("fork")
    gate, answers = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=migrate_in_process, args=(url, gate, answers)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == ["migrated"] * 3
    for process in processes:
        process.join(30)
    database = Database(url)
    assert {"job", "entry", "tier"} <= set(inspect(database.engine).get_table_names())
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tier")).scalar() == 3
    database.close()


def test_an_old_database_starts_its_clocks_where_it_stands(tmp_path: Path) -> None:
    from alembic import command

    from storage.migrate import config

    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.begin() as connection:
        command.upgrade(config(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO workspace (id, platform, external_id, name, tier_id, settings, served,"
                " max_queued, created_at) VALUES ('w', 'fake', 'x', 'x', 'free', '{}', 900, 30, 0)"
            )
        )
    migrate(database)
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT tag FROM workspace")).scalar() == 900
    database.close()


def test_a_read_is_one_snapshot(database: Database) -> None:
    database.write(ledger.grant, "member:ann", 10, key="a", now=START)

    def look_twice(session: Session) -> tuple[int, int]:
        first = ledger.balance(session, "member:ann").posted
        other = threading.Thread(
            target=database.write,
            args=(ledger.grant, "member:ann", 5),
            kwargs={"key": "b", "now": START},
        )
        other.start()
        other.join(20)
        return first, ledger.balance(session, "member:ann").posted

    assert database.read(look_twice) == (10, 10)
    assert database.read(ledger.balance, "member:ann").posted == 15


def test_a_read_keeps_nothing_it_wrote(database: Database) -> None:
    database.read(lambda session: session.add(Account(id="stray")))
    assert database.read(lambda session: session.get(Account, "stray")) is None


def test_a_busy_file_is_tried_again_then_given_up(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = Database(sqlite_url), Database(sqlite_url)
    calls = 0

    def impatient(session: Session) -> str:
        nonlocal calls
        calls += 1
        ledger.open_account(session, "member:ann")
        return "done"

    # Tests do not wait the five seconds a command would.
    monkeypatch.setattr("storage.database._BUSY_S", 0.05)
    with other.transaction() as session:
        ledger.open_account(session, "member:ben")
        with pytest.raises(RetryLater):
            database.write(impatient)
    assert calls == 3
    assert database.write(impatient) == "done"
    database.close()
    other.close()


async def test_close_waits_for_what_runs(sqlite_url: str) -> None:
    database = Database(sqlite_url)

    def slow(session: Session) -> None:
        ledger.open_account(session, "member:ann")
        time.sleep(0.3)

    work = asyncio.ensure_future(database.run(slow))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(database.close)
    await work
    again = Database(sqlite_url)
    assert again.read(lambda session: session.get(Account, "member:ann")) is not None
    again.close()


async def test_forty_commands_at_once_on_one_file(sqlite_database: Database) -> None:
    """More commands than threads, one writer: all answered, nobody waits for seconds."""
    people = [actor(sqlite_database, f"m{i}", credits=500) for i in range(8)]
    for person in people:
        person.tier.max_queued = person.workspace.max_queued = 1_000
    waits: list[float] = []

    async def command(index: int) -> None:
        started = time.perf_counter()
        await sqlite_database.run(
            ledger.reserve, ledger.member_account(people[index % 8].member.id), 1,
            job_id=f"r{index}", now=START,
        )  # fmt: skip
        waits.append(time.perf_counter() - started)
        await sqlite_database.look(jobs.count_open)

    started = time.perf_counter()
    for wave in range(5):
        await asyncio.gather(*(command(wave * 40 + i) for i in range(40)))
    waits.sort()
    each = (time.perf_counter() - started) / 200
    print(f"40 at once: reserve p50 {waits[100] * 1e3:.0f} ms, p99 {waits[197] * 1e3:.0f} ms,"
          f" one every {each * 1e3:.1f} ms")  # fmt: skip
    assert waits[-1] < 30, "nobody starves: SQLite gives up after five seconds, six times over"
    assert sound(sqlite_database)


def test_four_writers_reserve_and_nobody_gives_up(sqlite_url: str) -> None:
    """How quick it is, ``python -m tests.bench.reserve`` measures."""
    database = Database(sqlite_url)
    database.write(ledger.grant, "member:ann", 10_000, key="g", now=START)
    faults: list[Exception] = []

    def writer(who: int) -> None:
        try:
            for turn in range(50):
                database.write(ledger.reserve, "member:ann", 1, job_id=f"{who}-{turn}", now=START)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=writer, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert database.read(ledger.balance, "member:ann").pending == 200
    database.close()


def test_a_database_that_is_not_there_names_the_cure() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(OperatorError):
        database.ping()
    with pytest.raises(RetryLater):
        database.read(lambda session: session.get(Account, "x"))
    database.close()


def test_rows_stay_readable_after_the_transaction(database: Database) -> None:
    job = submitted(database, actor(database))
    assert (job.model, row(database, job.id).spec["seed"]) == ("starter-icons", 7)


def test_a_lease_does_not_wait_for_the_disk_and_money_does(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'synced.db'}")

    def level(session: Session) -> int:
        return int(session.execute(text("PRAGMA synchronous")).scalar_one())

    normal, full = 1, 2
    for _ in range(2):  # on the same connection, to and fro
        assert database.write_unsynced(level) == normal
        assert database.write(level) == full
    database.close()
