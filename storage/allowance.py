"""Credits that arrive by the calendar: the month's grant, what carries over, the day's allowance.

All of it happens on a member's first use in a period, in the caller's transaction, once per key;
nothing runs by night, so a studio that was switched off misses nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import or_
from sqlmodel import Session, col, select

from storage import ledger
from storage.models import Entry, Member
from storage.pots import Line, Pots, pots
from storage.rules import Rules
from storage.schema import Millis

DAY_MS = 86_400_000


def month_of(now: Millis, timezone: str = "UTC") -> str:
    """``YYYY-MM`` in a time zone: the key of a monthly grant."""
    return datetime.fromtimestamp(now / 1000, tz=ZoneInfo(timezone)).strftime("%Y-%m")


def day_of(now: Millis, timezone: str = "UTC") -> str:
    """``YYYY-MM-DD`` in a time zone: the key of a day's allowance."""
    return datetime.fromtimestamp(now / 1000, tz=ZoneInfo(timezone)).strftime("%Y-%m-%d")


def next_month(now: Millis, timezone: str = "UTC") -> Millis:
    """When the next month begins there."""
    here = datetime.fromtimestamp(now / 1000, tz=ZoneInfo(timezone))
    later = (here.replace(day=1) + timedelta(days=32)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return int(later.astimezone(UTC).timestamp() * 1000)


def lines_of(session: Session, account: str) -> list[Line]:
    """An account's entries as it sees them, oldest first."""
    rows = session.exec(
        select(Entry)
        .where(or_(col(Entry.debit) == account, col(Entry.credit) == account))
        .order_by(col(Entry.at), col(Entry.id))
    )
    return [
        Line(row.kind, row.key, row.amount if row.credit == account else -row.amount)
        for row in rows
    ]


def pots_of(session: Session, account: str) -> Pots:
    """What an account's credits are made of now."""
    return pots(lines_of(session, account))


def too_young(rules: Rules, created_at: Millis | None, now: Millis) -> bool:
    """Whether a platform account is too fresh for free credits; an unknown age is not."""
    return created_at is not None and now - created_at < rules.limits.account_age_days * DAY_MS


def allow(
    session: Session,
    member: Member,
    *,
    monthly: int,
    rules: Rules,
    now: Millis,
    tier: str,
    better: bool = False,
) -> None:
    """Give ``member`` what the calendar owes: once per month and day, however often it is asked.

    At the first use in a month, unused monthly credits beyond one month's worth expire, then the
    new month's arrive. A ``better`` tier within the month adds the difference. The day's allowance
    is given anew each day; yesterday's leftover expires first.
    """
    account = ledger.member_account(member.id)
    zone = rules.credits.timezone
    month, today = month_of(now, zone), day_of(now, zone)
    key = f"grant:{member.id}:{month}"
    if not ledger.has_entry(session, key):
        if monthly:
            _expire(
                session, account, pots_of(session, account).monthly - monthly,
                key=f"expire:month:{member.id}:{month}", now=now,
            )  # fmt: skip
            ledger.grant(session, account, monthly, key=key, now=now, reason=f"{month} {tier}")
    elif better:
        given = _given(session, account, key)
        if monthly > given:
            ledger.grant(
                session, account, monthly - given, key=f"{key}:to:{monthly}", now=now,
                reason=f"{month} {tier}",
            )  # fmt: skip
    daily = rules.credits.daily_free
    if daily and not ledger.has_entry(session, f"day:{member.id}:{today}"):
        _expire(
            session, account, pots_of(session, account).daily,
            key=f"expire:day:{member.id}:{today}", now=now,
        )  # fmt: skip
        ledger.grant(
            session, account, daily, key=f"day:{member.id}:{today}", now=now, reason=today,
            kind="daily",
        )  # fmt: skip


def _given(session: Session, account: str, key: str) -> int:
    """What a month's grants came to so far: the first one and its additions."""
    rows = session.exec(
        select(Entry).where(
            Entry.credit == account,
            or_(col(Entry.key) == key, col(Entry.key).startswith(key + ":")),
        )
    )
    return sum(row.amount for row in rows)


def _expire(session: Session, account: str, excess: int, *, key: str, now: Millis) -> None:
    """Let credits go that were not used in time; what is reserved stays reserved."""
    excess = min(excess, ledger.balance(session, account).available)
    if excess > 0 and not ledger.has_entry(session, key):
        ledger.transfer(session, account, ledger.EXPIRED, excess, key=key, kind="expire", now=now)
