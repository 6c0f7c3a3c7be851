"""What a measure is, how two ways are compared, and how the result is told."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Measure:
    """One figure beside its target. ``target`` reads ``<= 1.05`` or ``>= 0.95``; empty: no target.

    ``low`` and ``high`` are the range over ``rounds``; ``cpu`` says that the value is of processor
    time, which a busy machine disturbs less than the clock. ``identity`` is what was checked to be
    the same while it was measured.
    """

    letter: str
    name: str
    value: float
    unit: str
    target: str = ""
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    identity: str = ""
    clock: Literal["cpu", "wall", "count", "simulated"] = "wall"
    also: str = ""
    """The same by the other clock, or what it is made of."""

    @property
    def target_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if not self.target:
            return None
        sign, _, limit = self.target.partition(" ")
        return self.value <= float(limit) if sign == "<=" else self.value >= float(limit)

    def dump(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self) | {"target_met": self.target_met}


@dataclass(frozen=True)
class Timed:
    """Seconds of one call, by the clock and by the processor (all threads)."""

    wall: float
    cpu: float


def timed(call: Callable[[], Any]) -> tuple[Timed, Any]:
    """Times one call, the garbage of earlier ones collected before."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu), result


def settle() -> None:
    """What is there now stays: collecting later garbage need not look at it again.

    With three networks of the judges loaded that look took 0.2 s, before each of hundreds of
    measurements of milliseconds.
    """
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Compared:
    """Ratios of one way over another, round by round."""

    cpu: list[float]
    wall: list[float]
    seconds: tuple[list[float], list[float]]
    """Processor seconds of both ways, round by round."""
    last: tuple[Any, Any]
    """What both gave in the last round, for the identity check."""

    def measure(
        self,
        letter: str,
        name: str,
        target: str,
        identity: str,
        *,
        cpu: bool = True,
        also: str = "",
    ) -> Measure:
        """The median ratio as a measure."""
        ratios, other = (self.cpu, self.wall) if cpu else (self.wall, self.cpu)
        clocks: tuple[Literal["cpu", "wall"], str] = ("cpu", "wall") if cpu else ("wall", "cpu")
        told = f"by {clocks[1]} {median(other):.3f}" + (f"; {also}" if also else "")
        return Measure(
            letter, name, median(ratios), "x", target, min(ratios), max(ratios), len(ratios),
            identity, clocks[0], told,
        )  # fmt: skip


def alternate(
    first: Callable[[], Any], second: Callable[[], Any], rounds: int, *, warm: bool = True
) -> Compared:
    """Times A, B, A, B ... and gives the ratios first / second of each round."""
    if warm:
        first(), second()
    cpu, wall, last = [], [], (None, None)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        a, one = timed(first)
        b, two = timed(second)
        cpu.append(a.cpu / max(b.cpu, 1e-9))
        wall.append(a.wall / max(b.wall, 1e-9))
        seconds[0].append(a.cpu)
        seconds[1].append(b.cpu)
        last = (one, two)
    return Compared(cpu, wall, seconds, last)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of them lie, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything (Jain 1984)."""
    total = sum(values)
    squares = sum(v * v for v in values)
    return total * total / (len(values) * squares) if squares else 1.0


def table(measures: Sequence[Measure]) -> str:
    """The measures as the README's table."""
    lines = [
        "| | Measure | Value | Range | Target | Met | Checked beside it |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in measures:
        span = "" if m.low is None or m.high is None else f"{_n(m.low)} to {_n(m.high)}"
        met = {True: "yes", False: "**no**", None: ""}[m.target_met]
        unit = "" if m.unit == "x" else f" {m.unit}"
        rounds = f" ({m.rounds})" if m.rounds > 1 else ""
        lines.append(
            f"| {m.letter} | {m.name} | {_n(m.value)}{unit} | {span}{rounds} | {m.target} | {met} "
            f"| {m.identity} |"
        )
    return "\n".join(lines) + "\n"


def _n(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
