"""What work costs: one published function for the quote, the reservation and the settlement. Pure.

A credit is one picture of the model's own size and steps, or 512 tokens. Never less than one.
"""

from __future__ import annotations

from storage.registry import ModelCard
from storage.schema import AnySpec, ImageSpec, Millis

TOKENS_PER_CREDIT = 512
_LOAD_MS = 120_000
"""Time a run may spend loading a model before its own work counts against it."""


def picture_price(spec: ImageSpec, card: ModelCard) -> int:
    """Credits for one picture: pixels x steps relative to the model's defaults, rounded up."""
    work = spec.width * spec.height * spec.steps
    normal = card.width * card.height * card.steps
    return max(1, -(-work * card.factor // normal))


def tokens_price(tokens: int, card: ModelCard) -> int:
    """Credits for an answer of ``tokens`` tokens, question not counted."""
    return max(1, -(-tokens * card.factor // TOKENS_PER_CREDIT))


def quote(spec: AnySpec, card: ModelCard) -> int:
    """The most a job can cost: what is reserved, and shown before."""
    if isinstance(spec, ImageSpec):
        return picture_price(spec, card) * spec.count
    return tokens_price(spec.max_tokens, card)


def estimate_ms(spec: AnySpec, card: ModelCard) -> Millis:
    """Engine time foreseen for a job; corrected by the truth when it ends."""
    if isinstance(spec, ImageSpec):
        area = (spec.width * spec.height) / (card.width * card.height)
        return max(1, round(card.step_ms * area * spec.steps * spec.count))
    # Most answers stop well before the limit; half is the honest middle.
    return max(1, card.token_ms * spec.max_tokens // 2)


def deadline_ms(spec: AnySpec, card: ModelCard) -> Millis:
    """How long one run may take: generous for a busy machine, finite for a stuck one."""
    return _LOAD_MS + 20 * estimate_ms(spec, card)
