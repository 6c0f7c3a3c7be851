"""What work costs: one published function for the quote, the reservation and the settlement. Pure.

A credit is one picture of the model's own size and steps, or 512 tokens written; the first 1,024
tokens read are free, after that eight count as one written. Never less than one a job: four quick
drafts of a quarter of the size cost one together. A start picture skips the steps that
``strength`` leaves out, and they are not charged. An upscaler's card says how many pixels of its
result are one credit.

A workspace may charge more or less than that (:class:`~storage.rules.Prices`): its *rate* at the
moment a job is asked for is kept with the job, so that a later change touches no job in line.
"""

from __future__ import annotations

from storage.registry import ModelCard
from storage.rules import Prices
from storage.schema import AnySpec, ImageSpec, Millis, Mode
from storage.threads import tokens_of

TOKENS_PER_CREDIT = 512
READ_FREE = 1_024
"""Tokens a question, its conversation and its pictures may have before they cost anything."""
READ_AS_ONE = 8
"""Tokens read that cost as much as one written: they are read in one pass."""
PICTURE_TOKENS = 512
"""What a picture to look at is counted as in a quote; settled by what the model really read."""
PUBLISHED = 10_000
"""The rate of a workspace that changed no price: hundredths of a percent."""
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


def rate_of(spec: AnySpec, card: ModelCard, prices: Prices) -> int:
    """What a workspace charges for such work, in hundredths of a percent of the published price."""
    if isinstance(spec, ImageSpec):
        kind = prices.upscale if card.purpose == "enlarge" else prices.picture
    else:
        kind = prices.vision if spec.images else prices.answer
    return kind * prices.models.get(card.name, 100)


def _rounded(work: int, normal: int, rate: int) -> int:
    """Credits, rounded up once; at least 1 unless the workspace gives it away."""
    return max(1, -(-work * rate // (normal * PUBLISHED))) if rate else 0


def pictures_price(spec: ImageSpec, card: ModelCard, count: int, rate: int = PUBLISHED) -> int:
    """Credits for ``count`` pictures of a job: pixels x steps by the model's, rounded up once."""
    work = spec.width * spec.height * steps_made(spec) * count
    return _rounded(work * card.factor, card.width * card.height * card.steps, rate)


def tokens_price(written: int, read: int, card: ModelCard, rate: int = PUBLISHED) -> int:
    """Credits for an answer of ``written`` tokens to a conversation of ``read`` tokens."""
    eighths = written * READ_AS_ONE + max(0, read - READ_FREE)
    return _rounded(eighths * card.factor, TOKENS_PER_CREDIT * READ_AS_ONE, rate)


def quote(spec: AnySpec, card: ModelCard, rate: int = PUBLISHED) -> int:
    """The most a job can cost: what is reserved, and shown before."""
    if isinstance(spec, ImageSpec):
        return pictures_price(spec, card, spec.count, rate)
    read = sum(tokens_of(turn.text) for turn in spec.turns) + PICTURE_TOKENS * len(spec.images)
    return tokens_price(spec.max_tokens, min(read, card.context_tokens), card, rate)


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
