"""The ledger against a model: 1,000 stories, and five planted bugs that must each be found."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text, update
from sqlmodel import Session, col

from storage import ledger
from storage.database import Database
from storage.errors import LimitReached
from storage.migrate import migrate
from storage.models import Account, Reservation

PEOPLE = ("member:ann", "member:ben")
JOBS = ("j1", "j2")
"""Few, so that twenty steps meet the same reservation again and again."""
BUDGET = settings(
    max_examples=1000, stateful_step_count=20, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
)  # fmt: skip


class Ledger(SimpleNamespace):
    """The functions under test; a planted bug replaces one."""

    grant: Callable[..., bool]
    reserve: Callable[..., bool]
    settle: Callable[..., bool]
    release: Callable[..., bool]
    refund: Callable[..., bool]


REAL = Ledger(
    grant=ledger.grant, reserve=ledger.reserve, settle=ledger.settle, release=ledger.release,
    refund=ledger.refund,
)  # fmt: skip


class LedgerMachine(RuleBasedStateMachine):
    """Random stories of grants, reservations, settlements, releases, refunds and replays."""

    under_test: Ledger = REAL
    database: Database

    @initialize()
    def start(self) -> None:
        self.posted = dict.fromkeys(PEOPLE, 0)
        self.held: dict[str, tuple[str, int]] = {}
        self.ended: dict[str, int] = {}
        self.whose: dict[str, tuple[str, int]] = {}
        self.refunded: set[str] = set()
        self.grants: dict[str, tuple[str, int]] = {}
        # One story is one transaction that is never committed; a refusal rolls its savepoint back.
        self.session = Session(self.database.engine, expire_on_commit=False)
        self.session.execute(text("PRAGMA ignore_check_constraints=OFF"))
        for who in PEOPLE:
            self.grant(who, 10, f"first {who}")

    def teardown(self) -> None:
        if hasattr(self, "session"):
            try:
                assert ledger.verify(self.session) == []
                self.as_in_the_model()
            finally:
                self.session.close()

    def call(self, function: Callable[..., bool], *args: Any, **kwargs: Any) -> bool | str:
        """The answer, or the name of the refusal; a refusal must leave nothing behind."""
        try:
            with self.session.begin_nested():
                return function(self.session, *args, **kwargs)
        except (LimitReached, ledger.LedgerConflict) as refusal:
            return type(refusal).__name__

    def available(self, who: str) -> int:
        return self.posted[who] - sum(n for owner, n in self.held.values() if owner == who)

    @rule(who=st.sampled_from(PEOPLE), amount=st.integers(1, 12), key=st.sampled_from("abcd"))
    def grant(self, who: str, amount: int, key: str) -> None:
        got = self.call(self.under_test.grant, who, amount, key=f"g:{key}", now=1)
        if key not in self.grants:
            assert got is True
            self.grants[key] = (who, amount)
            self.posted[who] += amount
        else:
            assert got is False if self.grants[key] == (who, amount) else got == "LedgerConflict"

    @rule(who=st.sampled_from(PEOPLE), amount=st.integers(0, 9), job=st.sampled_from(JOBS))
    def reserve(self, who: str, amount: int, job: str) -> None:
        got = self.call(self.under_test.reserve, who, amount, job_id=job, now=1)
        if job in self.whose:
            assert got is False if self.whose[job] == (who, amount) else got == "LedgerConflict"
        elif amount > self.available(who):
            assert got == "LimitReached"
        else:
            assert got is True
            self.whose[job] = self.held[job] = (who, amount)

    @rule(job=st.sampled_from(JOBS), actual=st.integers(0, 10))
    def settle(self, job: str, actual: int) -> None:
        got = self.call(self.under_test.settle, job, actual, now=2)
        if job not in self.whose or actual > self.whose[job][1]:
            assert got == "LedgerConflict"
        elif job in self.ended:
            assert got is False
        else:
            assert got is True
            who, _ = self.held.pop(job)
            self.ended[job] = actual
            self.posted[who] -= actual

    @rule(job=st.sampled_from(JOBS))
    def release(self, job: str) -> None:
        got = self.call(self.under_test.release, job)
        assert got is (job in self.held)
        if self.held.pop(job, None):
            self.ended[job] = 0

    @rule(job=st.sampled_from(JOBS))
    def refund(self, job: str) -> None:
        got = self.call(self.under_test.refund, job, now=3)
        owed = self.ended.get(job, 0)
        assert got is (owed > 0 and job not in self.refunded)
        if got:
            self.refunded.add(job)
            self.posted[self.whose[job][0]] += owed

    def as_in_the_model(self) -> None:
        for who in PEOPLE:
            found = ledger.balance(self.session, who)
            assert (found.posted, found.available) == (self.posted[who], self.available(who))
            assert found.available >= 0


@pytest.fixture(scope="module")
def books() -> Database:
    database = Database("sqlite://")
    migrate(database)
    return database


def tell(books: Database, under_test: Ledger, budget: settings = BUDGET) -> None:
    machine = type("Machine", (LedgerMachine,), {"under_test": under_test, "database": books})
    run_state_machine_as_test(machine, settings=budget)


@pytest.mark.slow
def test_a_thousand_stories_keep_every_invariant(books: Database) -> None:
    tell(books, REAL)


# -- Five planted bugs -------------------------------------------------------------------------


def ignores_pending(session: Session, account: str, amount: int, *, job_id: str, now: int) -> bool:
    """Looks at the balance, forgets what is reserved of it."""
    if session.get(Reservation, job_id, populate_existing=True) is None:
        have = ledger.balance(session, account)
        if amount <= have.posted and amount > have.available:
            # The CHECK of the table would save us; the bug is planted beside it.
            session.execute(text("PRAGMA ignore_check_constraints=ON"))
            ledger.open_account(session, account)
            session.add(Reservation(job_id=job_id, account_id=account, amount=amount, at=now))
            move(session, account, pending=amount)
            return True
    return ledger.reserve(session, account, amount, job_id=job_id, now=now)


def settles_what_was_released(session: Session, job_id: str, actual: int, *, now: int) -> bool:
    """Does not ask whether the reservation is still held: settle after release charges."""
    held = session.get(Reservation, job_id, populate_existing=True)
    if held is not None and held.state == "released" and 0 < actual <= held.amount:
        session.execute(
            update(Reservation).where(col(Reservation.job_id) == job_id).values(state="held")
        )
        move(session, held.account_id, pending=held.amount)
    return ledger.settle(session, job_id, actual, now=now)


def captures_too_much(session: Session, job_id: str, actual: int, *, now: int) -> bool:
    """Settles more than was reserved when the member happens to have it."""
    held = session.get(Reservation, job_id, populate_existing=True)
    if held is not None and held.state == "held" and actual > held.amount:
        extra = actual - held.amount
        if ledger.balance(session, held.account_id).available >= extra:
            ledger.settle(session, job_id, held.amount, now=now)
            return ledger._post(
                session, key=f"extra:{job_id}", debit=held.account_id, credit=ledger.REVENUE,
                amount=extra, kind="settle", now=now, job_id=job_id,
            )  # fmt: skip
    return ledger.settle(session, job_id, actual, now=now)


def leaks_on_partial_settle(session: Session, job_id: str, actual: int, *, now: int) -> bool:
    """Takes the cost off the reservation and forgets to return the rest."""
    held = session.get(Reservation, job_id, populate_existing=True)
    done = ledger.settle(session, job_id, actual, now=now)
    if done and held is not None and actual < held.amount:
        move(session, held.account_id, pending=held.amount - actual)
    return done


def refunds_twice(session: Session, job_id: str, *, now: int) -> bool:
    """A second press of Refund pays a second time, under a fresh key."""
    if ledger.refund(session, job_id, now=now):
        return True
    held = session.get(Reservation, job_id, populate_existing=True)
    if held is None or held.settled == 0:
        return False
    return ledger._post(
        session, key=f"refund:{job_id}:again", debit=ledger.REVENUE, credit=held.account_id,
        amount=held.settled, kind="refund", now=now, job_id=job_id,
    )  # fmt: skip


def move(session: Session, account: str, *, pending: int) -> None:
    session.execute(
        update(Account)
        .where(col(Account.id) == account)
        .values(pending=col(Account.pending) + pending)
    )
    session.flush()


PLANTED = {
    "ignores what is pending": {"reserve": ignores_pending},
    "settles after a release": {"settle": settles_what_was_released},
    "captures more than reserved": {"settle": captures_too_much},
    "leaks on partial settle": {"settle": leaks_on_partial_settle},
    "refunds twice": {"refund": refunds_twice},
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(books: Database, bug: str) -> None:
    with pytest.raises(Exception) as found:
        # Found is enough: no time is spent on telling the shortest story.
        tell(
            books, Ledger(**(vars(REAL) | PLANTED[bug])), settings(BUDGET, phases=[Phase.generate])
        )
    assert isinstance(found.value, AssertionError), found.value
