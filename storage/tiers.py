"""What a tier and a workspace's rules allow of one job, and how long it is kept."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, select

from storage.errors import LimitReached
from storage.models import Tier
from storage.rules import Rules
from storage.schema import AnySpec, ImageSpec

_SMALLER = ("max_queued", "max_side", "max_steps", "max_count")
_ALSO = ("adapters", "private")


def tightest(*days: int) -> int:
    """The shortest of several keeping times in days, where 0 stands for no end; 0 if all are."""
    return min((count for count in days if count), default=0)


def tailored(tier: Tier, rules: Rules) -> Tier:
    """A tier as it is in a workspace: the operator's row, narrowed by the workspace's rules.

    The result is a copy that belongs to no session; the row itself where nothing differs.
    """
    ours, name = rules.tiers, tier.id
    found: dict[str, Any] = {
        column: min(getattr(tier, column), getattr(ours, column)[name])
        for column in _SMALLER
        if name in getattr(ours, column)
    }
    found |= {
        column: getattr(tier, column) and getattr(ours, column)[name]
        for column in _ALSO
        if name in getattr(ours, column)
    }
    if name in ours.monthly_credits:
        found["monthly_credits"] = ours.monthly_credits[name]
    if name in ours.retention_days:
        found["retention_days"] = tightest(tier.retention_days, ours.retention_days[name])
    if ours.models.get(name):
        both = [m for m in ours.models[name] if not tier.models or m in tier.models]
        # Nothing in common would read as "all": then the operator's list stands.
        found["models"] = both or tier.models
    return Tier(**(tier.model_dump() | found)) if found else tier


def kept_days(tier: Tier, rules: Rules) -> int:
    """Days that what a tier's members made is kept here; 0 until somebody deletes it.

    The rule: the tightest of what the workspace keeps, what the operator's tier keeps and what
    the workspace says of that tier. Nobody's choice can make another's longer.
    """
    return tightest(rules.keeping.generations_days, tailored(tier, rules).retention_days)


def may_be_private(tier: Tier) -> None:
    """Raise ``LimitReached('tier_private')`` for a tier without private results."""
    if not tier.private:
        raise LimitReached("tier_private", tier=tier.id)


def tiers_there_are(session: Session) -> list[str]:
    """The names of the operator's tiers."""
    return sorted(session.exec(select(Tier.id)))


def within(spec: AnySpec, tier: Tier, rules: Rules) -> None:
    """Raise ``LimitReached`` for what this tier or workspace does not include.

    ``tier_side``, ``tier_steps``, ``tier_count``, ``tier_model``, ``tier_adapters`` name the tier;
    ``model_not_here`` and ``adapter_not_here`` the workspace's own choice.
    """
    if tier.models and spec.model not in tier.models:
        raise LimitReached("tier_model", tier=tier.id, known=", ".join(tier.models))
    if not isinstance(spec, ImageSpec):
        return
    if rules.models.images and spec.model not in rules.models.images:
        raise LimitReached("model_not_here", known=", ".join(rules.models.images))
    longest = max(spec.width, spec.height)
    if longest > tier.max_side:
        raise LimitReached("tier_side", tier=tier.id, limit=tier.max_side)
    if spec.steps > tier.max_steps:
        raise LimitReached("tier_steps", tier=tier.id, limit=tier.max_steps)
    if spec.count > tier.max_count:
        raise LimitReached("tier_count", tier=tier.id, limit=tier.max_count)
    if spec.adapters and not tier.adapters:
        raise LimitReached("tier_adapters", tier=tier.id)
    foreign = [a.name for a in spec.adapters if a.name not in rules.models.adapters]
    if rules.models.adapters and foreign:
        raise LimitReached("adapter_not_here", known=", ".join(rules.models.adapters))
