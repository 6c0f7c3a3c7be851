"""What the operator runs the studio by: names, options and help; see :mod:`bot.cli.app`."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli.options import Json


def economics(
    json: Json = False,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Measure so many days.")] = 30,
    watts: Annotated[float, typer.Option(min=0, help="Power drawn while it works.")] = 300.0,
    kwh: Annotated[float, typer.Option(min=0, help="Cents for a kilowatt-hour.")] = 30.0,
    rent: Annotated[
        float, typer.Option(min=0, help="Cents of rent for an hour of engine time.")
    ] = 0.0,
    members: Annotated[int | None, typer.Option(min=0, help="What if: active members.")] = None,
    growth: Annotated[float | None, typer.Option(help="What if: growth a month.")] = None,
    churn: Annotated[float | None, typer.Option(help="What if: who leaves a month.")] = None,
    conversion: Annotated[float | None, typer.Option(help="What if: share who pay.")] = None,
    price: Annotated[
        int | None, typer.Option(min=0, help="What if: cents a paying member pays.")
    ] = None,
    cost: Annotated[
        float | None, typer.Option(min=0, help="What if: cents a member costs a month.")
    ] = None,
    fixed: Annotated[int | None, typer.Option(min=0, help="What if: cents paid anyway.")] = None,
    months: Annotated[int | None, typer.Option(min=1, max=120, help="How far to look.")] = None,
) -> None:
    """What generations cost and tiers bring in, measured; and what if."""
    from bot.cli import sums
    from bot.cli.trouble import guarded

    prices = {"watts": watts, "cents_per_kwh": kwh, "rent_cents_per_hour": rent}
    assumed = {
        "members": members, "growth": growth, "churn": churn, "conversion": conversion,
        "price_cents": price, "cost_per_member_cents": cost, "fixed_cents": fixed,
        "months": months,
    }  # fmt: skip
    raise typer.Exit(
        guarded(
            lambda: sums.run_economics(json=json, days=days, prices=prices, assumed=assumed),
            json=json,
        )
    )


def stop(
    note: Annotated[str, typer.Argument(help="Why, for whoever finds it.")] = "",
    json: Json = False,
) -> None:
    """Accept nothing new anywhere; what is in line goes on."""
    from bot.cli import sums
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: sums.run_switch(True, note, json=json), json=json))


def resume(json: Json = False) -> None:
    """Take the stop switch back."""
    from bot.cli import sums
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: sums.run_switch(False, "", json=json), json=json))
