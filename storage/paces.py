"""How long work takes, learned from the work itself: the engine's model for places and ETAs.

Every job that ends well teaches its kind of work (model, size, rows of a pass) one point: units
(steps of a picture, tokens of an answer) and the engine milliseconds they took. A line through
the recent samples (least squares with exponential forgetting) gives the fixed cost of a picture
(words, decoding) and the cost of a step. It is stored, so a restart and every worker know it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from storage import prices
from storage.models import Pace
from storage.registry import ModelCard
from storage.schema import AnySpec, ImageSpec, Millis, batch_key

FORGET = 0.9
"""Weight of all older samples at each new one: about the last ten jobs count."""
_SPREAD = 0.1
"""Units must spread by this share of their mean before a slope is believed."""


@dataclass(frozen=True)
class Samples:
    """Forgetting sums over samples ``(x, y)``: units and engine milliseconds."""

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def with_sample(self, x: float, y: float) -> Samples:
        """The sums with one more sample, older ones fading."""
        return Samples(
            FORGET * self.n + 1, FORGET * self.x + x, FORGET * self.y + y,
            FORGET * self.xx + x * x, FORGET * self.xy + x * y,
        )  # fmt: skip

    @property
    def usual(self) -> float:
        """Mean units of the recent jobs; 0 when there were none."""
        return self.x / self.n if self.n else 0.0

    def foresee(self, x: float) -> float:
        """Milliseconds for ``x`` units: on the fitted line, or in proportion while all are alike.

        Never less than half or more than twice the proportion: a line through few noisy samples
        may point anywhere.
        """
        proportion = self.y / self.x * x if self.x else 0.0
        mean = self.x / self.n if self.n else 0.0
        spread = self.xx / self.n - mean * mean if self.n else 0.0
        if self.n < 1.5 or spread < (_SPREAD * mean) ** 2:
            return proportion
        slope = (self.xy / self.n - mean * self.y / self.n) / spread
        line = self.y / self.n + slope * (x - mean)
        return min(max(line, proportion / 2), proportion * 2)


def pace_key(spec: AnySpec) -> str:
    """What jobs must share to teach each other: the batch key, rows of a pass, and the mode."""
    if isinstance(spec, ImageSpec):
        rows = 2 if spec.guidance > 1 else 1
        return f"{batch_key(spec)}:{spec.mode}:{rows}"
    return batch_key(spec)


def learn(session: Session, spec: AnySpec, units: float, ms: float, *, now: Millis) -> None:
    """Take one point: a picture of ``units`` steps (or an answer's tokens) took ``ms``."""
    if units <= 0 or ms <= 0:
        return
    key = pace_key(spec)
    row = session.get(Pace, key, with_for_update=True)
    if row is None:
        row = Pace(key=key, updated_at=now)
    samples = Samples(row.n, row.x, row.y, row.xx, row.xy).with_sample(units, ms)
    row.n, row.x, row.y, row.xx, row.xy = samples.n, samples.x, samples.y, samples.xx, samples.xy
    row.updated_at = now
    session.add(row)
    session.flush()


def foresee(session: Session, spec: AnySpec, card: ModelCard) -> Millis:
    """Engine milliseconds of a job: learned, else from the nearest size, else the card's guess."""
    row = session.get(Pace, pace_key(spec))
    if isinstance(spec, ImageSpec):
        if row is not None:
            return max(1, round(_samples(row).foresee(prices.steps_made(spec)) * spec.count))
        return _from_other_size(session, spec) or prices.estimate_ms(spec, card)
    if row is None:
        return prices.estimate_ms(spec, card)
    samples = _samples(row)
    return max(1, round(samples.foresee(min(spec.max_tokens, samples.usual))))


def _from_other_size(session: Session, spec: ImageSpec) -> Millis | None:
    """Scaled by area from the same model's size that is nearest."""
    head = f"image:{spec.model}:"
    tail = pace_key(spec).removeprefix(batch_key(spec))
    area = spec.width * spec.height
    best: tuple[float, Pace] | None = None
    rows = session.exec(select(Pace).where(col(Pace.key).startswith(head, autoescape=True)))
    for row in rows:
        size, found, rest = row.key.removeprefix(head).partition(":")
        width, _, height = size.partition("x")
        if not found or f":{rest}" != tail or not (width.isdigit() and height.isdigit()):
            continue
        ratio = area / max(1, int(width) * int(height))
        distance = max(ratio, 1 / ratio)
        if best is None or distance < best[0]:
            best = (distance, row)
    if best is None:
        return None
    row = best[1]
    size = row.key.removeprefix(head).partition(":")[0]
    width, _, height = size.partition("x")
    ratio = area / (int(width) * int(height))
    return max(1, round(_samples(row).foresee(prices.steps_made(spec)) * spec.count * ratio))


def _samples(row: Pace) -> Samples:
    return Samples(row.n, row.x, row.y, row.xx, row.xy)
