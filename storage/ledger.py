"""Credits: an append-only double-entry ledger with reservations.

Every movement is one :class:`~storage.models.Entry` with a business key, so that everything may
be replayed. What a member can spend is ``posted - pending``; the only way to hold credits is one
conditional UPDATE, the only way to end a reservation is a state change that can succeed once.
Nothing is ever edited: a correction is another entry. All functions run inside the caller's
transaction, next to the change they pay for. Source of the model: TigerBeetle's two-phase
transfers and the invariants I1 to I9 of RELIABILITY.md 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, bindparam, func, update
from sqlalchemy import select as select_columns
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, col, select

from storage.errors import AtelierError, LimitReached
from storage.models import Account, Entry, Job, Reservation
from storage.schema import TERMINAL_STATUSES, JobStatus, Millis

MINT = "mint"
"""Where granted credits come from; its balance is minus all credits ever granted."""
REVENUE = "revenue"
"""Where spent credits go."""
EXPIRED = "expired"
"""Where credits go that were not used in time."""
SHARED = (MINT, REVENUE, EXPIRED)
"""Accounts that are no member's; locked last."""


_ACCOUNT, _RESERVATION = (SQLModel.metadata.tables[name] for name in ("account", "reservation"))
"""As tables: what runs with every submission does not go through the object mapper."""


class LedgerConflict(AtelierError):
    """The same key with another amount, or more settled than was reserved: a bug in a caller."""


@dataclass(frozen=True)
class Balance:
    """One account: ``posted`` is the sum of its entries, ``pending`` what is reserved of it."""

    posted: int
    pending: int

    @property
    def available(self) -> int:
        """What can be spent now."""
        return self.posted - self.pending


def member_account(member_id: str) -> str:
    """The account id of a member."""
    return f"member:{member_id}"


def changed(session: Session, statement: Any, values: Mapping[str, Any] | None = None) -> int:
    """Run an UPDATE and say how many rows it changed: the building block of every guard."""
    result = session.execute(statement, values)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def open_account(session: Session, account: str) -> None:
    """Make sure an account exists, at zero. Two processes may both try: one wins, both go on."""
    if session.get(Account, account) is not None:
        return
    try:
        with session.begin_nested():
            session.add(Account(id=account))
            session.flush()
    except IntegrityError:
        session.get_one(Account, account, populate_existing=True)


def balance(session: Session, account: str) -> Balance:
    """An account's balance; an unknown account is empty."""
    row = session.execute(
        select(col(Account.posted), col(Account.pending)).where(Account.id == account)
    ).first()
    return Balance(posted=row[0], pending=row[1]) if row else Balance(0, 0)


def has_entry(session: Session, key: str) -> bool:
    """Whether the movement called ``key`` was made."""
    return session.exec(select(Entry.id).where(Entry.key == key)).first() is not None


def grant(
    session: Session,
    account: str,
    amount: int,
    *,
    key: str,
    now: Millis,
    reason: str = "",
    kind: str = "grant",
) -> bool:
    """Give ``amount`` > 0 credits once per ``key``; True when this call did it.

    ``kind`` says what for: ``grant`` (monthly, or an admin's), ``daily``, ``promo``.

    Raises ``LedgerConflict`` when the key was used for another amount or account.
    """
    open_account(session, MINT)
    open_account(session, account)
    return _post(
        session, key=key, debit=MINT, credit=account, amount=amount, kind=kind, now=now,
        reason=reason,
    )  # fmt: skip


def transfer(
    session: Session,
    source: str,
    target: str,
    amount: int,
    *,
    key: str,
    kind: str,
    now: Millis,
    reason: str = "",
) -> bool:
    """Move ``amount`` > 0 spendable credits from one account to another, once per ``key``.

    ``kind`` is ``gift``, ``deduct``, ``expire`` or ``link``. True when this call did it. Raises
    ``LimitReached('credits_short')`` when the source has less to spend (reserved credits do not
    count), ``LedgerConflict`` when the key was used otherwise. Both rows are locked in one
    order, so that two members who give to each other at once never wait in a ring.
    """
    for account in (source, target):
        open_account(session, account)
    members = sorted(account for account in (source, target) if account not in SHARED)
    for account in members:
        session.exec(select(Account.id).where(Account.id == account).with_for_update()).one()
    if _posted_before(session, key, source, target, amount):
        return False
    if source not in SHARED:
        available = balance(session, source).available
        if available < amount:
            raise LimitReached("credits_short", needed=amount, available=available)
    return _post(
        session, key=key, debit=source, credit=target, amount=amount, kind=kind, now=now,
        reason=reason,
    )  # fmt: skip


def reserve(session: Session, account: str, amount: int, *, job_id: str, now: Millis) -> bool:
    """Hold ``amount`` >= 0 credits for a job; True when this call did it.

    Raises ``LimitReached('credits_short')`` when the member has less, ``LedgerConflict`` when
    the job already holds another amount. A second identical call changes nothing.
    """
    if amount < 0:
        raise LedgerConflict(f"job {job_id} would hold {amount}")
    # Two statements where all goes well: other writers wait for as long as this one takes.
    if not _hold(session, account, amount):
        open_account(session, account)
        if _held_before(session, job_id, account, amount):
            return False
        if not _hold(session, account, amount):
            available = balance(session, account).available
            raise LimitReached("credits_short", needed=amount, available=available)
    if _note_hold(session, account, amount, job_id=job_id, now=now):
        return True
    # It was reserved before, perhaps in this very instant by another process: theirs counts.
    _hold(session, account, -amount)
    if _held_before(session, job_id, account, amount):
        return False
    raise LedgerConflict(f"job {job_id} could not be reserved for")


def _held_before(session: Session, job_id: str, account: str, amount: int) -> bool:
    held = session.get(Reservation, job_id, populate_existing=True)
    if held is None:
        return False
    if (held.account_id, held.amount) != (account, amount):
        raise LedgerConflict(f"job {job_id} already holds another amount")
    return True


_HOLD = (
    update(_ACCOUNT)
    .where(
        _ACCOUNT.c.id == bindparam("account"),
        _ACCOUNT.c.posted - _ACCOUNT.c.pending >= bindparam("amount"),
    )
    .values(pending=_ACCOUNT.c.pending + bindparam("amount"))
)
_NOTE_HOLD = {
    name: insert(_RESERVATION)
    .on_conflict_do_nothing(index_elements=["job_id"])
    .returning(_RESERVATION.c.job_id)
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


def _hold(session: Session, account: str, amount: int) -> bool:
    """The one way to hold credits (or, negative, to let them go): True when there are enough."""
    done = session.connection().execute(_HOLD, {"account": account, "amount": amount})
    return bool(done.rowcount)


def _note_hold(session: Session, account: str, amount: int, *, job_id: str, now: Millis) -> bool:
    """Write a job's reservation; False when it has one. No savepoint: a conflict is no error."""
    connection = session.connection()
    row = {"job_id": job_id, "account_id": account, "amount": amount, "settled": 0,
           "state": "held", "at": now}  # fmt: skip
    return connection.execute(_NOTE_HOLD[connection.dialect.name], row).first() is not None


def settle(session: Session, job_id: str, actual: int, *, now: Millis) -> bool:
    """Close a job's reservation at its true cost ``0 <= actual <= reserved``; the rest returns.

    True when this call did it; False when it was settled or released before (nothing changes).
    Raises ``LedgerConflict`` for more than was reserved.
    """
    held = session.get(Reservation, job_id, populate_existing=True)
    if held is None:
        raise LedgerConflict(f"job {job_id} has no reservation")
    if not 0 <= actual <= held.amount:
        raise LedgerConflict(f"job {job_id} would settle {actual} of {held.amount}")
    if not _end(session, job_id, state="settled", settled=actual):
        return False
    _unhold(session, held)
    if actual:
        open_account(session, REVENUE)
        _post(
            session, key=f"settle:{job_id}", debit=held.account_id, credit=REVENUE, amount=actual,
            kind="settle", now=now, job_id=job_id,
        )  # fmt: skip
    return True


def release(session: Session, job_id: str) -> bool:
    """Close a job's reservation at no cost; True when this call did it."""
    held = session.get(Reservation, job_id, populate_existing=True)
    if held is None or not _end(session, job_id, state="released", settled=0):
        return False
    _unhold(session, held)
    return True


def refund(session: Session, job_id: str, *, now: Millis, reason: str = "") -> bool:
    """Give back what a settled job cost, once; True when this call did it.

    A job that cost nothing, or was never settled, has nothing to give back: False.
    """
    held = session.get(Reservation, job_id, populate_existing=True)
    if held is None or held.state != "settled" or held.settled == 0:
        return False
    return _post(
        session, key=f"refund:{job_id}", debit=REVENUE, credit=held.account_id,
        amount=held.settled, kind="refund", now=now, job_id=job_id, reason=reason,
    )  # fmt: skip


def _end(session: Session, job_id: str, *, state: str, settled: int) -> bool:
    """The state change that can succeed once; whoever gets True moves the credits."""
    return bool(
        changed(
            session,
            update(Reservation)
            .where(col(Reservation.job_id) == job_id, col(Reservation.state) == "held")
            .values(state=state, settled=settled)
            .execution_options(synchronize_session=False),
        )
    )


def _unhold(session: Session, held: Reservation) -> None:
    session.execute(
        update(Account)
        .where(col(Account.id) == held.account_id)
        .values(pending=col(Account.pending) - held.amount)
        .execution_options(synchronize_session=False)
    )


def _post(
    session: Session,
    *,
    key: str,
    debit: str,
    credit: str,
    amount: int,
    kind: str,
    now: Millis,
    job_id: str | None = None,
    reason: str = "",
) -> bool:
    """Write one entry and move both balances, once per key."""
    if amount <= 0:
        raise LedgerConflict(f"entry {key} of {amount} credits")
    if _posted_before(session, key, debit, credit, amount):
        return False
    try:
        with session.begin_nested():
            session.add(
                Entry(
                    key=key, debit=debit, credit=credit, amount=amount, kind=kind, job_id=job_id,
                    reason=reason, at=now,
                )
            )  # fmt: skip
            session.flush()
    except IntegrityError:
        # Another process wrote the same key in the same instant: theirs counts.
        if _posted_before(session, key, debit, credit, amount):
            return False
        raise
    # Members' rows before shared ones, in one order, so that two postings never wait in a ring.
    for account, change in sorted(
        ((debit, -amount), (credit, amount)), key=lambda pair: (pair[0] in SHARED, pair[0])
    ):
        session.execute(
            update(Account)
            .where(col(Account.id) == account)
            .values(posted=col(Account.posted) + change)
            .execution_options(synchronize_session=False)
        )
    return True


def _posted_before(session: Session, key: str, debit: str, credit: str, amount: int) -> bool:
    before = session.exec(select(Entry).where(Entry.key == key)).first()
    if before is None:
        return False
    if (before.debit, before.credit, before.amount) != (debit, credit, amount):
        raise LedgerConflict(f"entry {key} exists with another amount")
    return True


@dataclass(frozen=True)
class Violation:
    """A broken promise of the ledger: which invariant, and where."""

    invariant: str
    where: str


def verify(session: Session) -> list[Violation]:
    """Replay every entry and compare; an empty list means the ledger is sound.

    Call it in one read transaction: a checker in autocommit once reported a false violation.
    """
    found: list[Violation] = []
    # Columns, not objects: a session that already knows a row would answer from memory.
    accounts = {
        name: Balance(posted, pending)
        for name, posted, pending in session.execute(
            select(col(Account.id), col(Account.posted), col(Account.pending))
        )
    }
    replayed = dict.fromkeys(accounts, 0)
    settled_by_entry: dict[str, int] = {}
    refunded: dict[str, int] = {}
    for debit, credit, amount, kind, job_id in session.execute(
        select_columns(
            col(Entry.debit), col(Entry.credit), col(Entry.amount), col(Entry.kind),
            col(Entry.job_id),
        )
    ):  # fmt: skip
        replayed[debit] = replayed.get(debit, 0) - amount
        replayed[credit] = replayed.get(credit, 0) + amount
        once = {"settle": settled_by_entry, "refund": refunded}.get(kind)
        if once is not None and job_id:
            if job_id in once:
                found.append(Violation("I4", job_id))
            once[job_id] = amount

    if sum(account.posted for account in accounts.values()) != 0:
        found.append(Violation("I1", "sum of all accounts"))
    held: dict[str, int] = {}
    for job_id, account_id, amount, settled, state in session.execute(
        select_columns(
            col(Reservation.job_id), col(Reservation.account_id), col(Reservation.amount),
            col(Reservation.settled), col(Reservation.state),
        )
    ):  # fmt: skip
        if state == "held":
            held[account_id] = held.get(account_id, 0) + amount
        paid = settled_by_entry.pop(job_id, 0)
        if paid != (settled if state == "settled" else 0):
            found.append(Violation("I4", job_id))
        if settled > amount:
            found.append(Violation("I5", job_id))
        back = refunded.pop(job_id, 0)
        if back and (state != "settled" or back != paid):
            found.append(Violation("I4", job_id))
    found += [Violation("I4", job_id) for job_id in (*settled_by_entry, *refunded)]
    for name, account in accounts.items():
        if account.posted != replayed[name]:
            found.append(Violation("I7", name))
        if account.pending != held.get(name, 0):
            found.append(Violation("I3", name))
        if account.pending < 0 or (name.startswith("member:") and account.posted < account.pending):
            found.append(Violation("I2", name))
    found += _reservations_without_jobs(session)
    return found


def _reservations_without_jobs(session: Session) -> list[Violation]:
    """I6: a job is over exactly when its reservation is, and every job has had one."""
    rows = session.execute(
        select(col(Job.id), col(Job.status), col(Reservation.state))
        .select_from(Job)
        .join(Reservation, col(Job.id) == col(Reservation.job_id), isouter=True)
    ).all()
    return [
        Violation("I6", str(job_id))
        for job_id, status, state in rows
        if state is None or (JobStatus(status) in TERMINAL_STATUSES) != (state != "held")
    ]


def total_entries(session: Session) -> int:
    """How many entries the ledger has."""
    return int(session.execute(select(func.count()).select_from(Entry)).scalar_one())
