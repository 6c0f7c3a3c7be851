"""What a verdict means for what was made: the policy in force, a status, an ending."""

from __future__ import annotations

import logging
from typing import Any

from moderation.policy import Policy
from storage.endings import Ending
from storage.jobs import Made
from storage.schema import GenerationStatus, JobStatus, Outcome, Verdict

log = logging.getLogger(__name__)


def policy_of(settings: dict[str, Any]) -> Policy:
    """The workspace's policy; settings that make no sense fall back to the stricter defaults."""
    try:
        return Policy.model_validate(settings.get("policy", {}))
    except ValueError:
        log.error("the policy of a workspace is not valid; the defaults apply")
        return Policy()


def status_of(verdict: Verdict) -> GenerationStatus:
    """What members may see of something with this verdict."""
    return {
        Outcome.ALLOW: GenerationStatus.VISIBLE,
        Outcome.BLUR: GenerationStatus.BLURRED,
        Outcome.HOLD: GenerationStatus.HELD,
        Outcome.BLOCK: GenerationStatus.REMOVED,
    }[verdict.outcome]


def rejected(
    verdict: Verdict, made: tuple[Made, ...], *, engine_ms: int, code: str = "output_refused"
) -> Ending:
    """Everything that came out (or went in) was blocked: nothing kept, nothing charged."""
    found = verdict.categories()
    return Ending(
        status=JobStatus.REJECTED, made=made, verdict=verdict, error_code=code,
        error_params={"category_code": str(found[0]) if found else "FAULT"}, engine_ms=engine_ms,
    )  # fmt: skip
