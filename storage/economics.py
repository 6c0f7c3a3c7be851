"""Unit economics, measured: what a generation costs the operator and what a tier brings in.

Everything measured comes from rows (engine time, settled credits, entries); everything assumed is
an input with a name and is shown beside the result. Money is in cents of one currency.
"""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage.models import Account, Entry, Job, Member, Tier
from storage.schema import Frozen, JobKind, JobStatus, Millis

MONTH_MS = 30 * 86_400_000


class Prices(Frozen):
    """What the operator pays. Either the power drawn, or the rent of the machine, or both."""

    watts: float = Field(default=300.0, ge=0, le=1e6)
    """Power drawn while the engine works."""
    cents_per_kwh: float = Field(default=30.0, ge=0, le=1e6)
    rent_cents_per_hour: float = Field(default=0.0, ge=0, le=1e9)
    """Rent of the machine, counted for the hours it works."""

    def cents(self, engine_ms: float) -> float:
        """What so much engine time costs."""
        hours = engine_ms / 3_600_000
        return hours * (self.watts / 1000 * self.cents_per_kwh + self.rent_cents_per_hour)


class KindCost(Frozen):
    """One kind of job in the window."""

    kind: str
    jobs: int
    engine_ms: int
    """Engine time of all of them, failed ones included: somebody pays for those too."""
    succeeded: int
    cents: float
    cents_per_success: float | None


class TierLine(Frozen):
    """One tier in the window."""

    tier: str
    members: int
    """Members of the tier who asked for anything in the window."""
    revenue_cents: int
    """Their price for a month, times the window in months."""
    cost_cents: float
    cost_per_active_member_cents: float | None


class Economics(Frozen):
    """What was measured between ``since`` and ``until``, with the prices it was reckoned by."""

    since: Millis
    until: Millis
    prices: Prices
    kinds: tuple[KindCost, ...]
    tiers: tuple[TierLine, ...]
    credits: dict[str, int]
    """Credits moved in the window by kind of entry (granted, settled, refunded, expired ...)."""
    outstanding_credits: int
    """Credits members hold now: work that is owed."""
    active_members: int
    cost_cents: float
    revenue_cents: int
    cost_per_active_member_cents: float | None


def measure(session: Session, *, since: Millis, until: Millis, prices: Prices) -> Economics:
    """Read the window ``since <= t < until`` from the rows."""
    # Without what a rule refused before it had a model (storage.machine): no work was asked for.
    window = (
        col(Job.finished_at) >= since, col(Job.finished_at) < until, col(Job.model) != "",
    )  # fmt: skip
    engine_ms = func.coalesce(func.sum(col(Job.charged_ms)), 0)
    kinds = []
    for kind in JobKind:
        jobs, total = session.execute(
            select_columns(func.count(col(Job.id)), engine_ms).where(*window, col(Job.kind) == kind)
        ).one()
        done = session.execute(
            select_columns(func.count(col(Job.id))).where(
                *window, col(Job.kind) == kind, col(Job.status) == JobStatus.SUCCEEDED
            )
        ).scalar_one()
        cents = prices.cents(int(total))
        kinds.append(
            KindCost(
                kind=kind, jobs=jobs, engine_ms=int(total), succeeded=done, cents=cents,
                cents_per_success=cents / done if done else None,
            )
        )  # fmt: skip
    months = (until - since) / MONTH_MS
    tiers = []
    for tier in session.exec(select(Tier).order_by(col(Tier.monthly_credits))):
        members, total = session.execute(
            select_columns(func.count(func.distinct(col(Job.member_id))), engine_ms)
            .join(Member, col(Member.id) == col(Job.member_id))
            .where(*window, col(Member.tier_id) == tier.id)
        ).one()
        cost = prices.cents(int(total))
        tiers.append(
            TierLine(
                tier=tier.id, members=members, cost_cents=cost,
                revenue_cents=round(members * tier.price_cents * months),
                cost_per_active_member_cents=cost / members if members else None,
            )
        )  # fmt: skip
    moved = session.execute(
        select_columns(col(Entry.kind), func.sum(col(Entry.amount)))
        .where(col(Entry.at) >= since, col(Entry.at) < until)
        .group_by(col(Entry.kind))
    )
    owed = session.execute(
        select_columns(func.coalesce(func.sum(col(Account.posted)), 0)).where(
            col(Account.id).startswith("member:")
        )
    ).scalar_one()
    active = sum(line.members for line in tiers)
    cost = sum(line.cents for line in kinds)
    return Economics(
        since=since, until=until, prices=prices, kinds=tuple(kinds), tiers=tuple(tiers),
        credits={kind: int(amount) for kind, amount in moved}, outstanding_credits=int(owed),
        active_members=active, cost_cents=cost,
        revenue_cents=sum(line.revenue_cents for line in tiers),
        cost_per_active_member_cents=cost / active if active else None,
    )  # fmt: skip


class Assumptions(Frozen):
    """The inputs of a projection; every one is shown beside its result."""

    members: int = Field(default=100, ge=0, le=10**10)
    """Active members at the start."""
    growth: float = Field(default=0.05, ge=-1, le=10)
    """New members a month, as a share of those there."""
    churn: float = Field(default=0.03, ge=0, le=1)
    """Members who leave a month."""
    conversion: float = Field(default=0.05, ge=0, le=1)
    """Share of members who pay."""
    price_cents: int = Field(default=900, ge=0, le=10**9)
    """What a paying member pays a month."""
    cost_per_member_cents: float = Field(default=20.0, ge=0, le=1e9)
    """Engine cost of one active member a month; measured, where there is a measurement."""
    fixed_cents: int = Field(default=0, ge=0, le=10**12)
    """What is paid every month whoever comes (a server, say)."""
    months: int = Field(default=12, ge=1, le=120)


class Month(Frozen):
    """One projected month."""

    month: int
    members: int
    paying: int
    revenue_cents: int
    cost_cents: int
    margin_cents: int


def project(given: Assumptions) -> list[Month]:
    """Month by month, ``members(n + 1) = members(n) x (1 + growth - churn)``. Pure."""
    months, members = [], float(given.members)
    for number in range(1, given.months + 1):
        paying = members * given.conversion
        revenue = round(paying * given.price_cents)
        cost = round(members * given.cost_per_member_cents + given.fixed_cents)
        months.append(
            Month(
                month=number, members=round(members), paying=round(paying), revenue_cents=revenue,
                cost_cents=cost, margin_cents=revenue - cost,
            )
        )  # fmt: skip
        members = max(0.0, members * (1 + given.growth - given.churn))
    return months
