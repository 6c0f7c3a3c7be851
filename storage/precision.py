"""How often a filter is right as moderators saw it, with intervals; what a line costs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from storage.schema import Frozen


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share (E. B. Wilson 1927): honest for small numbers.

    ``(0, 1)`` when there is nothing to go by. ``z`` 1.96 gives 95 %.
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, z * z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


class Precision(Frozen):
    """How often one stage was right about one code, as moderators saw it."""

    stage: str
    code: str
    right: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share of confirmed findings; None for none."""
        return self.right / self.total if self.total else None


class Line(Frozen):
    """What a threshold would have done to the decided findings of one stage and code."""

    threshold: float
    caught: int
    """Confirmed findings at or over it."""
    missed: int
    """Confirmed findings under it."""
    false: int
    """Findings at or over it that moderators let pass."""


class Decided(Frozen):
    """One decided case, as far as its findings are concerned."""

    verdict: dict[str, Any]
    """The dumped verdict the case was opened with."""
    confirmed: bool
    """Whether the ruling that stands is against the content."""
    code: str
    """The policy code that ruling rests on."""
    reported: bool = False
    """A member reported it: its findings had kept nothing back."""


def _borne_out(decided: Decided, code: str) -> bool | None:
    """Whether a ruling confirms a finding of this code; None when it does not say.

    Of several findings a moderator names one code: the others are neither right nor wrong.
    """
    if not decided.confirmed:
        return False
    if decided.code == code:
        return True
    named = decided.code in {flag["category"] for flag in decided.verdict["flags"]}
    return None if named else False


def precision_of(cases: Iterable[Decided]) -> tuple[Precision, ...]:
    """Per stage and code: findings confirmed, of those decided, with the interval."""
    counts: dict[tuple[str, str], list[int]] = {}
    for decided in cases:
        if decided.reported:
            continue
        for stage, code in {(f["stage"], f["category"]) for f in decided.verdict["flags"]}:
            right = _borne_out(decided, code)
            if right is None:
                continue
            cell = counts.setdefault((stage, code), [0, 0])
            cell[0] += right
            cell[1] += 1
    found = []
    for (stage, code), (right_ones, total) in sorted(counts.items()):
        low, high = wilson(right_ones, total)
        found.append(
            Precision(stage=stage, code=code, right=right_ones, total=total, low=low, high=high)
        )
    return tuple(found)


def slider(cases: Iterable[Decided], stage: str, code: str, steps: int = 21) -> list[Line]:
    """What each threshold from 0 to 1 would have done to one stage's decided findings."""
    scored = []
    for decided in cases:
        scores = [
            flag["score"]
            for flag in decided.verdict["flags"]
            if flag["stage"] == stage and flag["category"] == code
        ]
        right = _borne_out(decided, code)
        if scores and right is not None:
            scored.append((max(scores), right))
    lines = []
    for step in range(steps):
        line = step / (steps - 1)
        lines.append(
            Line(
                threshold=line,
                caught=sum(good and score >= line for score, good in scored),
                missed=sum(good and score < line for score, good in scored),
                false=sum(not good and score >= line for score, good in scored),
            )
        )
    return lines


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of them do not exceed; None for none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1))]


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa of two raters (J. Cohen 1960): agreement beyond chance, at most 1.

    None without pairs, and where both always say the same one thing: chance explains it all.
    """
    total = len(pairs)
    if not total:
        return None
    observed = sum(a == b for a, b in pairs) / total
    first, second = (sum(pair[i] for pair in pairs) / total for i in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    return None if chance >= 1 else (observed - chance) / (1 - chance)
