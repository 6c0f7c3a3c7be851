"""Single promises of the ledger, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage import ledger
from storage.database import Database
from storage.errors import LimitReached
from storage.ledger import Balance, LedgerConflict
from tests.conftest import START, sound

ANN = "member:ann"


def give(database: Database, amount: int = 10, key: str = "g") -> bool:
    return database.write(ledger.grant, ANN, amount, key=key, now=START)


def hold(database: Database, amount: int, job: str = "j") -> bool:
    return database.write(ledger.reserve, ANN, amount, job_id=job, now=START)


def test_a_replay_changes_nothing_and_another_amount_is_refused(database: Database) -> None:
    assert give(database) and not give(database)
    with pytest.raises(LedgerConflict):
        give(database, 11)
    assert hold(database, 4) and not hold(database, 4)
    with pytest.raises(LedgerConflict):
        hold(database, 5)
    with pytest.raises(LedgerConflict):
        database.write(ledger.reserve, "member:ben", 4, job_id="j", now=START)
    assert database.write(ledger.settle, "j", 3, now=START)
    assert not database.write(ledger.settle, "j", 3, now=START)
    assert not database.write(ledger.release, "j")
    assert database.write(ledger.refund, "j", now=START)
    assert not database.write(ledger.refund, "j", now=START)
    assert database.read(ledger.balance, ANN) == Balance(posted=10, pending=0)
    assert sound(database)


def test_nothing_is_settled_or_released_that_was_not_reserved(database: Database) -> None:
    with pytest.raises(LedgerConflict):
        database.write(ledger.settle, "nothing", 1, now=START)
    assert not database.write(ledger.release, "nothing")
    assert not database.write(ledger.refund, "nothing", now=START)


@pytest.mark.parametrize("amount", [-1, 5])
def test_a_settlement_stays_within_its_reservation(database: Database, amount: int) -> None:
    give(database)
    hold(database, 4)
    with pytest.raises(LedgerConflict):
        database.write(ledger.settle, "j", amount, now=START)
    assert database.read(ledger.balance, ANN) == Balance(10, 4)


def test_a_negative_amount_moves_nothing(database: Database) -> None:
    """A negative reservation would print money at its release."""
    give(database)
    for call in (lambda: hold(database, -3), lambda: give(database, -3, "h")):
        with pytest.raises(LedgerConflict):
            call()
    assert database.read(ledger.balance, ANN) == Balance(10, 0)


def test_a_refused_reservation_leaves_no_trace_even_when_the_caller_goes_on(
    database: Database,
) -> None:
    give(database)

    def swallow(session: object) -> None:
        with pytest.raises(LimitReached):
            ledger.reserve(session, ANN, 11, job_id="j", now=START)  # type: ignore[arg-type]

    database.write(swallow)
    assert hold(database, 10)
    assert sound(database)


@pytest.mark.parametrize("statement", ["UPDATE entry SET amount = 1000", "DELETE FROM entry"])
def test_entries_are_permanent(database: Database, statement: str) -> None:
    give(database)
    with pytest.raises(DBAPIError, match="permanent"), database.engine.begin() as connection:
        connection.execute(text(statement))
    assert sound(database)


def test_postgres_refuses_to_truncate_the_ledger(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(DBAPIError, match="permanent"), database.engine.begin() as connection:
        connection.execute(text("TRUNCATE entry"))
    database.close()


@pytest.mark.parametrize(
    ("tamper", "invariant"),
    [
        ("UPDATE account SET posted = posted + 1 WHERE id = 'member:ann'", "I7"),
        ("UPDATE account SET pending = pending + 1 WHERE id = 'member:ann'", "I3"),
        ("UPDATE reservation SET state = 'settled', settled = 2 WHERE job_id = 'j'", "I4"),
        ("UPDATE account SET posted = posted - 1 WHERE id = 'mint'", "I1"),
    ],
)
def test_verify_sees_what_was_tampered_with(
    database: Database, tamper: str, invariant: str
) -> None:
    give(database)
    hold(database, 4)
    assert sound(database)
    with database.engine.begin() as connection:
        connection.execute(text(tamper))
    assert invariant in {v.invariant for v in database.read(ledger.verify)}
