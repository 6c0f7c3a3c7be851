"""`atelier economics`, `atelier stop`, `atelier resume`: the operator's sums and the switch."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from bot.cli.tables import opened, print_json
from storage import audit, economics, switches
from storage.clock import now_ms
from storage.database import Database
from storage.economics import Assumptions, Prices
from storage.errors import OperatorError

DAY_MS = 86_400_000


def run_economics(
    *, json: bool, days: int, prices: dict[str, float], assumed: dict[str, Any]
) -> int:
    """Measure the last ``days``, then project with every input shown. 0 always.

    Raises ``OperatorError`` for a number that makes no sense.
    """
    try:
        return _economics(json=json, days=days, paid=Prices(**prices), assumed=assumed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise OperatorError(
            f"{first['loc'][0]} cannot be {first['input']} ({first['msg']})",
            "give another number; `atelier economics --help` lists them",
        ) from None


def _economics(*, json: bool, days: int, paid: Prices, assumed: dict[str, Any]) -> int:
    now = now_ms()

    def read(database: Database) -> economics.Economics:
        return database.read(
            economics.measure, since=now - days * DAY_MS, until=now + 1, prices=paid
        )

    seen = opened(read)
    given = {k: v for k, v in assumed.items() if v is not None}
    if "members" not in given and seen.active_members:
        given["members"] = seen.active_members
    if "cost_per_member_cents" not in given and seen.cost_per_active_member_cents is not None:
        given["cost_per_member_cents"] = seen.cost_per_active_member_cents * 30 / days
    inputs = Assumptions(**given)
    months = economics.project(inputs)
    if json:
        print_json(
            {
                "measured": seen.model_dump(mode="json"),
                "assumptions": inputs.model_dump(mode="json"),
                "projection": [month.model_dump(mode="json") for month in months],
            }
        )
        return 0
    _show(seen, inputs, months, days)
    return 0


def _money(cents: float | None) -> str:
    return "–" if cents is None else f"{cents / 100:,.4f}" if cents < 100 else f"{cents / 100:,.2f}"


def _show(
    seen: economics.Economics, inputs: Assumptions, months: list[economics.Month], days: int
) -> None:
    console = Console()
    kinds = Table(title=f"What was made in {days} days, and what it cost", title_justify="left")
    for name in ("kind", "jobs", "done", "engine s", "cost", "cost each"):
        kinds.add_column(name, justify="left" if name == "kind" else "right")
    for line in seen.kinds:
        kinds.add_row(
            line.kind, str(line.jobs), str(line.succeeded), f"{line.engine_ms / 1000:,.1f}",
            _money(line.cents), _money(line.cents_per_success),
        )  # fmt: skip
    console.print(kinds)
    tiers = Table(title="By tier", title_justify="left")
    for name in ("tier", "active members", "revenue", "cost", "cost per member"):
        tiers.add_column(name, justify="left" if name == "tier" else "right")
    for row in seen.tiers:
        tiers.add_row(
            row.tier, str(row.members), _money(row.revenue_cents), _money(row.cost_cents),
            _money(row.cost_per_active_member_cents),
        )  # fmt: skip
    console.print(tiers)
    moved = ", ".join(f"{kind} {amount}" for kind, amount in sorted(seen.credits.items()))
    console.print(f"Credits moved: {moved or 'none'}. Outstanding: {seen.outstanding_credits}.")
    paid = seen.prices
    console.print(
        f"Reckoned with {paid.watts:g} W at {paid.cents_per_kwh:g} cents a kWh"
        f" and {paid.rent_cents_per_hour:g} cents rent an hour of engine time."
    )
    plan = Table(title="What if", title_justify="left", caption=", ".join(
        f"{name} {value:g}" for name, value in inputs.model_dump().items()
    ))  # fmt: skip
    for name in ("month", "members", "paying", "revenue", "cost", "margin"):
        plan.add_column(name, justify="right")
    for month in months:
        plan.add_row(
            str(month.month), str(month.members), str(month.paying), _money(month.revenue_cents),
            _money(month.cost_cents), f"{month.margin_cents / 100:,.2f}",
        )  # fmt: skip
    console.print(plan)


def run_switch(on: bool, note: str, *, json: bool) -> int:
    """Turn the stop switch on or off. 0 always."""

    def write(database: Database) -> None:
        database.write(switches.turn, switches.STOP, on, now=now_ms(), note=note)

    opened(write)
    if json:
        print_json({"stopped": on})
    else:
        sys.stdout.write(
            "Stopped: nothing new is accepted; what is in line goes on. 'atelier resume' ends it.\n"
            if on else "Open again.\n"
        )  # fmt: skip
    return 0


def run_audit_verify(*, json: bool) -> int:
    """Check the chain of every workspace's audit log; 0 when it is whole, 5 when it is not.

    Prints each workspace's last digest: kept elsewhere, it gives away who rewrites everything.
    """

    def read(database: Database) -> tuple[list[str], dict[str, str]]:
        with database.transaction(read_only=True) as session:  # one snapshot for everything
            return audit.verify(session), audit.last_digests(session)

    wrong, last = opened(read)
    if json:
        print_json({"ok": not wrong, "problems": wrong, "last": last})
        return 5 if wrong else 0
    for problem in wrong:
        sys.stdout.write(f"BROKEN {problem}\n")
    for workspace, digest in last.items():
        sys.stdout.write(f"{workspace}  {digest}\n")
    sys.stdout.write("The audit log has been changed.\n" if wrong else "The audit log is whole.\n")
    return 5 if wrong else 0
