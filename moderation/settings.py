"""A workspace's settings as the values that judging needs; junk falls back to the stricter side."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from moderation.lists import IpMode, lists_of
from moderation.policy import Policy, Thresholds
from storage.schema import Category

log = logging.getLogger(__name__)

IP_BLOCK = Thresholds(block=0.5)
"""What ``ip_mode = block`` makes of protected names."""


def policy_of(settings: Mapping[str, Any], *, adult: bool | None = None) -> Policy:
    """A workspace's thresholds: the defaults with what its admins changed.

    ``adult`` is what the platform says about this channel; ``None`` keeps the stored value.
    """
    try:
        policy = Policy.model_validate(settings.get("policy", {}))
        if adult is not None and adult != policy.adult:
            policy = Policy.model_validate(policy.dump() | {"adult": adult})
    except ValidationError:
        log.error("a workspace's policy is not valid; the defaults apply")
        policy = Policy()
    if lists_of(settings).ip_mode is IpMode.BLOCK and Category.IP not in policy.thresholds:
        return policy.model_copy(
            update={"thresholds": {**policy.thresholds, Category.IP: IP_BLOCK}}
        )
    return policy
