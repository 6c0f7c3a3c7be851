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

    ``adult`` is what the platform says about this channel; ``None`` keeps the stored value. Codes
    whose lines do not hold here (nudity's, set for age-restricted channels, in any other one) have
    the default ones; every other code keeps its own.
    """
    stored = settings.get("policy") or {}
    policy = _valid(stored if adult is None or not isinstance(stored, Mapping)
                    else {**stored, "adult": adult})  # fmt: skip
    if lists_of(settings).ip_mode is IpMode.BLOCK and Category.IP not in policy.thresholds:
        return policy.model_copy(
            update={"thresholds": {**policy.thresholds, Category.IP: IP_BLOCK}}
        )
    return policy


def _valid(stored: object) -> Policy:
    """A stored policy, code by code where it is not valid as a whole."""
    try:
        return Policy.model_validate(stored)
    except ValidationError:
        pass
    lines = stored.get("thresholds") if isinstance(stored, Mapping) else None
    adult = isinstance(stored, Mapping) and stored.get("adult") is True
    policy = Policy(adult=adult)
    for code, given in lines.items() if isinstance(lines, Mapping) else ():
        try:
            more = Policy.model_validate({"adult": adult, "thresholds": {code: given}})
        except ValidationError:
            log.warning("a workspace's lines for %.10s do not hold here; the defaults do", code)
            continue
        policy = policy.model_copy(update={"thresholds": {**policy.thresholds, **more.thresholds}})
    return policy
