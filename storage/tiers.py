"""What a tier and a workspace's rules allow of one job. Pure."""

from __future__ import annotations

from storage.errors import LimitReached
from storage.models import Tier
from storage.rules import Rules
from storage.schema import AnySpec, ImageSpec


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
