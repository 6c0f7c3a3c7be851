"""A threshold before it goes live: what it would have done to the last decisions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from moderation.policy import Policy, Surface, decide
from storage.schema import Category, Flag, Frozen, Outcome


class Past(Frozen):
    """One decision record, as far as a back-test needs it.

    ``upheld`` is what a moderator said about the restriction later: True, False, or not asked.
    """

    id: str
    surface: Surface
    outcome: Outcome
    flags: tuple[Flag, ...]
    upheld: bool | None = None

    @classmethod
    def of(cls, row: Any, upheld: bool | None = None) -> Past:
        """From a stored record. What heads measured below their lines counts as a flag here, so
        that a *stricter* threshold can be tried as well."""
        flags = [Flag.model_validate(flag) for flag in row.flags]
        seen = {(flag.category, flag.stage) for flag in flags}
        for name, score in row.scores.items():
            stage, _, code = name.partition("/")
            if code in frozenset(Category) and (Category(code), stage) not in seen:
                flags.append(
                    Flag(category=Category(code), score=min(1.0, max(0.0, score)), stage=stage)
                )
        return cls(
            id=row.id, surface=Surface(row.surface), outcome=Outcome[row.outcome.upper()],
            flags=tuple(flags), upheld=upheld,
        )  # fmt: skip


class Backtest(Frozen):
    """What a policy would change. ``moves`` counts pairs like ``allow>hold``."""

    n: int
    changed: int
    moves: Mapping[str, int]
    newly_restricted: tuple[str, ...]
    """Ids of records that were shown and would not be."""
    newly_allowed: tuple[str, ...]
    """Ids of records that were restricted and would be shown."""
    overturned_avoided: int
    """Restrictions a moderator overturned that the policy would not have made."""
    upheld_lost: int
    """Restrictions a moderator upheld that the policy would have missed."""


def backtest(past: Iterable[Past], policy: Policy) -> Backtest:
    """Decide the past again under another policy; nothing is changed by it."""
    moves: dict[str, int] = {}
    restricted: list[str] = []
    allowed: list[str] = []
    avoided = lost = n = 0
    for record in past:
        n += 1
        then, now = record.outcome, decide(record.flags, policy, record.surface).outcome
        if then is now:
            continue
        move = f"{then.word}>{now.word}"
        moves[move] = moves.get(move, 0) + 1
        if now >= Outcome.HOLD > then:
            restricted.append(record.id)
        if then >= Outcome.HOLD > now:
            allowed.append(record.id)
            avoided += record.upheld is False
            lost += record.upheld is True
    return Backtest(
        n=n, changed=sum(moves.values()), moves=moves, newly_restricted=tuple(restricted),
        newly_allowed=tuple(allowed), overturned_avoided=avoided, upheld_lost=lost,
    )  # fmt: skip
