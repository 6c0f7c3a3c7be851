"""The operator's sums for a page or a command: measured, then projected with every input shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from bot.core.services import Services
from storage import economics
from storage.allowance import DAY_MS
from storage.economics import Assumptions, Economics, Month, Prices
from storage.errors import BadInput


@dataclass(frozen=True)
class Sums:
    """What was measured in ``days`` and what the assumptions come to."""

    days: int
    seen: Economics
    inputs: Assumptions
    months: list[Month]


async def sums(services: Services, given: Mapping[str, str]) -> Sums:
    """Measure the last ``days`` (30) and project. ``given`` holds what was typed, by name.

    What is not given comes from the measurement where there is one. Raises
    ``BadInput('option_invalid')`` naming the first value that makes no sense.
    """
    typed = {name: value.strip() for name, value in given.items() if value.strip()}
    try:
        days = min(3650, max(1, int(typed.pop("days", "30"))))
        prices = Prices.model_validate(
            {name: typed.pop(name) for name in Prices.model_fields if name in typed}
        )
        now = services.clock()
        seen = await services.database.look(
            economics.measure, since=now - days * DAY_MS, until=now + 1, prices=prices
        )
        known = {name: typed[name] for name in Assumptions.model_fields if name in typed}
        if "members" not in known and seen.active_members:
            known["members"] = str(seen.active_members)
        each = seen.cost_per_active_member_cents
        if "cost_per_member_cents" not in known and each is not None:
            known["cost_per_member_cents"] = str(each * 30 / days)
        inputs = Assumptions.model_validate(known)
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        raise BadInput("option_invalid", option=name) from error
    except ValueError as error:
        raise BadInput("option_invalid", option="days") from error
    return Sums(days=days, seen=seen, inputs=inputs, months=economics.project(inputs))
