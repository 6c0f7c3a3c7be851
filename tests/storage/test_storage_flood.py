"""One member sends 1,000 commands in 10 s, 1,000 times over: a pure simulation of the claim order.

The order is :func:`storage.line.line_up`, which the tests of fairness hold to the real claim. The
real run on the starter models is ``python -m tests.bench.flood``.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from storage.line import Waiting, line_up

SEEDS = 1_000
FLOOD, FLOOD_MS = 1_000, 10_000
QUEUED, CREDITS = 3, 50
"""The free tier: open jobs at once, credits a month (storage/migrations/0001)."""


@dataclass
class House:
    """One GPU, admission by the tier and the credits, the claim's order, counters with the lift."""

    weights: dict[str, int]
    homes: dict[str, str]
    fair: bool = True
    """False: everything is accepted, first come, first served."""
    waiting: list[tuple[str, str, int, int]] = field(default_factory=list)
    """Job, member, length and when it was asked for."""
    open: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    left: dict[str, int] = field(default_factory=dict)
    accepted: Counter[str] = field(default_factory=Counter)
    most_open: Counter[str] = field(default_factory=Counter)
    waits: dict[str, list[int]] = field(default_factory=dict)
    number: int = 0

    def ask(self, member: str, length: int, now: int) -> bool:
        """Accepted: fewer open than the tier allows, and a credit is left to hold."""
        left = self.left.setdefault(member, CREDITS)
        if self.fair and (self.open[member] >= QUEUED or left < 1):
            return False
        if not self.open[member]:
            self._lift(member)
        self.left[member] = left - 1
        self.number += 1
        self.waiting.append((f"{self.number:06}", member, length, now))
        self.open[member] += 1
        self.accepted[member] += 1
        self.most_open[member] = max(self.most_open[member], self.open[member])
        return True

    def _lift(self, member: str) -> None:
        home = self.homes[member]
        busy = any(self.open[m] for m, at in self.homes.items() if at == home)
        level = self.tags if busy else self.served
        neighbours = [m for m, at in self.homes.items() if at == home]
        self.served[member] = max(self.served[member], *(level[m] for m in neighbours))
        if not busy:
            level = self.tags if any(self.open.values()) else self.served
            self.served[home] = max(self.served[home], *(level[at] for at in self.homes.values()))

    def claim(self, now: int) -> tuple[str, int] | None:
        """The fairest job, charged; its member and length."""
        line = [
            Waiting(job, self.homes[m], m, self.served[self.homes[m]], self.served[m],
                    self.weights[m], length)
            for job, m, length, _ in self.waiting
        ]  # fmt: skip
        if not line:
            return None
        first = line_up(line)[0] if self.fair else line[0]
        row = next(row for row in self.waiting if row[0] == first.job_id)
        self.waiting.remove(row)
        member, home = first.member_id, first.workspace_id
        self.tags[member], self.tags[home] = self.served[member], self.served[home]
        self.served[member] += first.estimate_ms // first.weight
        self.served[home] += first.estimate_ms
        self.waits.setdefault(member, []).append(now - row[3])
        return member, first.estimate_ms


def simulate(seed: int, *, fair: bool = True) -> tuple[House, int, int]:
    """A day at the house; with it the longest job and how many members were ever active."""
    dice = random.Random(seed)
    spaces = dice.randint(1, 3)
    others = [f"m{number}" for number in range(dice.randint(3, 10))]
    homes = {"flooder": "w0"} | {m: f"w{dice.randrange(spaces)}" for m in others}
    weights = {m: dice.choice([1, 1, 4]) for m in others} | {"flooder": 1}
    house = House(weights, homes, fair)
    heavy = dice.choice([1_000, 4_000, 8_000])
    asks = [(int(FLOOD_MS * n / FLOOD), "flooder", heavy) for n in range(FLOOD)]
    for member in others:
        at = dice.randrange(20_000)
        for _ in range(dice.randint(1, 3)):
            asks.append((at, member, dice.choice([500, 1_000, 2_000, 4_000])))
            at += dice.randint(20_000, 60_000)
    asks.sort(reverse=True)
    longest = max(length for *_, length in asks)
    now, free_at, busy = 0, 0, ""
    while asks or house.waiting or busy:
        if busy and (not asks or free_at <= asks[-1][0]):
            now, house.open[busy], busy = free_at, house.open[busy] - 1, ""
        elif asks:
            now, member, length = asks.pop()
            house.ask(member, length, now)
        if not busy and (got := house.claim(now)) is not None:
            busy, free_at = got[0], now + got[1]
    return house, longest, len(others) + 1


def test_a_thousand_floods_delay_nobody_beyond_the_bound() -> None:
    worst = 0.0
    for seed in range(SEEDS):
        house, longest, members = simulate(seed)
        assert house.most_open["flooder"] == QUEUED, seed
        assert house.accepted["flooder"] < 20 and min(house.left.values()) >= 0, seed
        assert not house.waiting and not +house.open, f"seed {seed}: every admitted job starts"
        waits = sorted(w for m, found in house.waits.items() if m != "flooder" for w in found)
        p95 = waits[max(0, -(-len(waits) * 95 // 100) - 1)]
        # One model: nothing overtakes, so the bound has no slack (RELIABILITY.md, section 4.3).
        bound = longest + members * longest
        assert p95 <= bound and waits[-1] <= bound, f"seed {seed}: waited {waits[-1]} of {bound}"
        worst = max(worst, waits[-1] / bound)
    print(f"{SEEDS} seeds: the longest wait was {worst:.2f} of its bound")
    assert worst > 0.1, "the simulation has waits to speak of"


def test_without_limits_and_fairness_the_same_flood_breaks_the_bound() -> None:
    """First come, first served, everything accepted: the same sums find it far too slow."""
    for seed in range(3):
        house, longest, members = simulate(seed, fair=False)
        assert house.accepted["flooder"] == FLOOD
        waits = [w for m, found in house.waits.items() if m != "flooder" for w in found]
        assert max(waits) > 3 * (longest + members * longest), seed
