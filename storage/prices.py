"""What work costs: one published function for the quote, the reservation and the settlement. Pure.

A credit is one picture of the model's own size and steps, or 512 tokens. Never less than one a
job: four quick drafts of a quarter of the size cost one together. A start picture skips the steps
that ``strength`` leaves out, and they are not charged. An upscaler's card says how many pixels of
its result are one credit.
"""

from __future__ import annotations

from storage.registry import ModelCard
from storage.schema import AnySpec, ImageSpec, Millis, Mode

TOKENS_PER_CREDIT = 512
_LOAD_MS = 120_000
"""Time a run may spend loading a model before its own work counts against it."""


_SHORTENED = frozenset({Mode.IMAGE, Mode.INPAINT, Mode.OUTPAINT})
"""Modes in which ``strength`` leaves out the first steps."""


def steps_made(spec: ImageSpec) -> int:
    """Denoising steps of one picture: ``strength`` of them where it starts from one, at least 1.

    Rounded down as diffusers' image-to-image pipelines do (``get_timesteps``).
    """
    if spec.mode in _SHORTENED:
        return max(1, min(spec.steps, int(spec.steps * spec.strength)))
    return spec.steps


def pictures_price(spec: ImageSpec, card: ModelCard, count: int) -> int:
    """Credits for ``count`` pictures of a job: pixels x steps by the model's, rounded up once."""
    work = spec.width * spec.height * steps_made(spec) * count
    normal = card.width * card.height * card.steps
    return max(1, -(-work * card.factor // normal))


def tokens_price(tokens: int, card: ModelCard) -> int:
    """Credits for an answer of ``tokens`` tokens, question not counted."""
    return max(1, -(-tokens * card.factor // TOKENS_PER_CREDIT))


def quote(spec: AnySpec, card: ModelCard) -> int:
    """The most a job can cost: what is reserved, and shown before."""
    if isinstance(spec, ImageSpec):
        return pictures_price(spec, card, spec.count)
    return tokens_price(spec.max_tokens, card)


def estimate_ms(spec: AnySpec, card: ModelCard) -> Millis:
    """Engine time foreseen for a job; corrected by the truth when it ends."""
    if isinstance(spec, ImageSpec):
        area = (spec.width * spec.height) / (card.width * card.height)
        return max(1, round(card.step_ms * area * steps_made(spec) * spec.count))
    # Most answers stop well before the limit; half is the honest middle.
    return max(1, card.token_ms * spec.max_tokens // 2)


def deadline_ms(spec: AnySpec, card: ModelCard) -> Millis:
    """How long one run may take: generous for a busy machine, finite for a stuck one."""
    return _LOAD_MS + 20 * estimate_ms(spec, card)
