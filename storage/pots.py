"""What a member's credits are made of: daily, monthly and lasting. Pure, from ledger lines.

A balance is one number, but its parts end differently: the day's allowance at midnight, a month's
unused grant after one more month, gifts, codes and an admin's grants never. Nobody marks single
credits; the parts follow from the entries by one rule: *what ends first is spent first*. So they
can be computed again from the ledger at any time, and no second book is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DAILY, MONTHLY, LASTING = "daily", "monthly", "lasting"
_ORDER = (DAILY, MONTHLY, LASTING)


@dataclass(frozen=True)
class Line:
    """One entry as one account sees it: ``amount`` > 0 came in, < 0 went out."""

    kind: str
    key: str
    amount: int


@dataclass(frozen=True)
class Pots:
    """Credits by how they end. The sum is the account's ``posted``."""

    daily: int = 0
    monthly: int = 0
    lasting: int = 0

    @property
    def total(self) -> int:
        """The account's ``posted``."""
        return self.daily + self.monthly + self.lasting


def pot_of(line: Line) -> str:
    """Where an incoming line goes, and what an expiry takes from."""
    if line.kind == "daily" or line.key.startswith(("expire:day:", "link:day:")):
        return DAILY
    if line.kind == "grant" and line.key.startswith("grant:"):
        return MONTHLY
    if line.kind == "refund" or line.key.startswith(("expire:month:", "link:month:")):
        # A refund cannot know what it was paid from; the month is the middle.
        return MONTHLY
    return LASTING


def pots(lines: Iterable[Line]) -> Pots:
    """Replay lines, oldest first."""
    held = dict.fromkeys(_ORDER, 0)
    for line in lines:
        if line.amount >= 0:
            held[pot_of(line)] += line.amount
            continue
        left = -line.amount
        order = (pot_of(line), *_ORDER) if line.kind == "expire" else _ORDER
        for name in order:
            taken = min(held[name], left)
            held[name] -= taken
            left -= taken
        # Only a broken ledger could leave something here; it must still add up.
        held[LASTING] -= left
    return Pots(**held)
