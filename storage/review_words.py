"""The words of the review room and the numbers its policy is made of. Pure.

Weights, ladder and due times: shared/MODERATION.md 3.2 and 1 (features "Strikes ladder", "SLA").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from storage.schema import Category, Frozen, Millis, Verdict

if TYPE_CHECKING:
    from storage.models import Decision

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
CLAIM_MS = 600_000
"""A claim locks a case for ten minutes; doing something to it renews it."""
UNDO_MS = 60_000
BULK_UNDO_MS = 600_000
APPEAL_MS = 182 * DAY_MS
"""Six months, as DSA Art. 20 has it."""
STRIKE_MS = 90 * DAY_MS
DISABLED = 253_370_764_800_000
"""The year 9999 as the end of a time-out: until the owner or the operator has decided."""
NCII_MS = 48 * HOUR_MS
"""Intimate pictures without consent: gone within 48 hours of a report (TAKE IT DOWN Act)."""


class Ruling(StrEnum):
    """What a moderator decides."""

    APPROVE = "approve"  # post it, as the member asked
    APPROVE_BLURRED = "approve_blurred"  # post it veiled
    DENY = "deny"  # do not post it; nothing was paid
    DENY_STRIKE = "deny_strike"  # and mark the member
    ESCALATE = "escalate"  # an admin should look
    ASK = "ask"  # a question to the member first
    BAN = "ban"  # deny, and nothing new from this member for a time


FINAL = frozenset(
    {Ruling.APPROVE, Ruling.APPROVE_BLURRED, Ruling.DENY, Ruling.DENY_STRIKE, Ruling.BAN}
)
"""Rulings that end a case; the others leave it open."""
AGAINST = frozenset({Ruling.DENY, Ruling.DENY_STRIKE, Ruling.BAN})
"""Rulings that need a reason code, and that a member may appeal."""

WEIGHTS: dict[Category, int] = {
    Category.CSAE: 10, Category.REAL: 5, Category.SEX: 1, Category.SEXC: 3, Category.VIO: 2,
    Category.GORE: 0, Category.HATE: 2, Category.HAR: 1, Category.SELF: 0, Category.ILL: 1,
    Category.WEAP: 3, Category.PII: 1, Category.IP: 0, Category.INJ: 1, Category.FAULT: 0,
}  # fmt: skip

SEVERITY: dict[Category, int] = {
    Category.CSAE: 4, Category.REAL: 4, Category.SEXC: 4, Category.SEX: 2, Category.VIO: 3,
    Category.GORE: 2, Category.HATE: 3, Category.HAR: 2, Category.SELF: 3, Category.ILL: 2,
    Category.WEAP: 3, Category.PII: 3, Category.IP: 1, Category.INJ: 1, Category.FAULT: 1,
}  # fmt: skip
"""1 (can wait) to 4 (at once)."""

FIRST = 5
"""The severity of a reported intimate picture: no finding reaches it, so it comes first."""
DUE_MS: dict[int, Millis] = {
    FIRST: NCII_MS, 4: HOUR_MS, 3: 4 * HOUR_MS, 2: DAY_MS, 1: 3 * DAY_MS,
}  # fmt: skip
"""How soon a case of that severity should be decided."""
SEALED = frozenset({Category.CSAE})
"""Never shown to anybody, never in the queue (shared/MODERATION.md 3.3)."""


def is_sealed(verdict: Mapping[str, Any]) -> bool:
    """Whether a dumped verdict is about something that nobody is to see."""
    return bool(SEALED & set(Verdict.parse(dict(verdict)).categories()))


def ruled_sealed(rulings: Iterable[Decision]) -> bool:
    """Whether a moderator has said that of it, and it stands: the picture is shown to nobody from
    then on, moderators included, and thrown away when the ruling cannot be undone any more."""
    return any(
        ruling.code in SEALED and ruling.undone_at is None and not ruling.blind
        for ruling in rulings
    )


class Step(Frozen):
    """One step of a ladder: from ``weight`` on, ``hours`` without new jobs (0: a warning)."""

    weight: int = Field(ge=1, le=1000)
    hours: int = Field(ge=0, le=24 * 3650)
    ban: bool = False
    """Not applied by itself: a moderator is asked to review a ban."""


def _rising(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    weights = [step.weight for step in steps]
    if weights != sorted(set(weights)):
        raise ValueError("the weights of a ladder must rise")
    return steps


DEFAULT_LADDER = (
    Step(weight=2, hours=0), Step(weight=4, hours=24), Step(weight=7, hours=168),
    Step(weight=10, hours=0, ban=True),
)  # fmt: skip
Ladder = Annotated[tuple[Step, ...], AfterValidator(_rising)]


class ReviewRules(Frozen):
    """How a workspace reviews; part of its rules."""

    ladder: Ladder = DEFAULT_LADDER
    automatic: bool = True
    """Whether the ladder's time-outs apply by themselves or are only proposed."""
    two_for_bans: bool = False
    """A second moderator has to confirm a ban."""
    rest_hourly: int = Field(default=40, ge=1, le=1000)
    """Held pictures a moderator reveals in an hour before a break is proposed."""
    rest_daily: int = Field(default=150, ge=1, le=10_000)
    """The same for a day."""
    reports_per_day: int = Field(default=10, ge=1, le=1000)
    """Reports one member may make; a third of it when most of theirs were wrong."""


def step_for(ladder: tuple[Step, ...], weight: int) -> Step | None:
    """The highest step that so much weight has reached."""
    reached = [step for step in ladder if weight >= step.weight]
    return reached[-1] if reached else None


def worst(codes: list[Category]) -> int:
    """The severity of a set of findings; 1 for none."""
    return max((SEVERITY[code] for code in codes), default=1)
