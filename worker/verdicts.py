"""What a verdict means for what was made: a status, an ending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moderation.policy import Policy, reasons
from storage.endings import Ending
from storage.jobs import Made
from storage.schema import GenerationStatus, JobStatus, Outcome, Verdict

if TYPE_CHECKING:
    from worker.engine.run import Run


def status_of(verdict: Verdict) -> GenerationStatus:
    """What members may see of something with this verdict."""
    return {
        Outcome.ALLOW: GenerationStatus.VISIBLE,
        Outcome.BLUR: GenerationStatus.BLURRED,
        Outcome.HOLD: GenerationStatus.HELD,
        Outcome.BLOCK: GenerationStatus.REMOVED,
    }[verdict.outcome]


def rejected(
    verdict: Verdict,
    made: tuple[Made, ...],
    policy: Policy,
    *,
    engine_ms: int,
    code: str = "output_refused",
) -> Ending:
    """Everything that came out (or went in) was blocked: nothing kept, nothing charged."""
    found = reasons(verdict, policy)
    return Ending(
        status=JobStatus.REJECTED, made=made, verdict=verdict, error_code=code,
        error_params={"category_code": str(found[0]) if found else "FAULT"}, engine_ms=engine_ms,
    )  # fmt: skip


def failed(code: str, run: Run, **params: str) -> Ending:
    """An end without result: nothing is charged."""
    return Ending(
        status=JobStatus.FAILED, error_code=code, error_params=params, engine_ms=run.busy_ms
    )
