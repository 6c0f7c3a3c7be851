"""From one picture to the next: what Vary, Upscale and Finish ask for. Pure: a spec and a
generation in, a spec out."""

from __future__ import annotations

from storage.errors import BadInput
from storage.models import Generation
from storage.registry import ModelCard
from storage.schema import ImageSpec, Margins, Mode, Source

SUBTLE = 0.35
"""How far *Vary a little* lets a picture change: composition and colours stay."""
STRONG = 0.7
"""*Vary a lot*: the idea stays."""
FINISHED = 0.5
"""A draft at full size may still gain detail."""
LARGER = 2
"""*Upscale* doubles each side."""
LONGEST_SIDE = 2_048


def source_of(made: Generation) -> Source:
    """A generation of ours as what a spec starts from. Raises ``BadInput`` when it is gone."""
    if made.blob is None or made.sha256 is None or not made.width or not made.height:
        raise BadInput("generation_hidden")
    return Source(
        blob=made.blob, sha256=made.sha256, width=made.width, height=made.height,
        generation_id=made.id,
    )  # fmt: skip


def _from(spec: ImageSpec, made: Generation, **change: object) -> ImageSpec:
    """The spec with this picture as its only start: no mask, margins or receipt of before."""
    start = source_of(made)
    plain: dict[str, object] = {
        "mode": Mode.IMAGE, "start": start, "mask": None, "margins": Margins(), "scale": 1,
        "width": start.width, "height": start.height, "count": 1, "draft": False, "bucket": None,
        "enhance": False,
    }  # fmt: skip
    return spec.model_validate(spec.model_dump() | plain | change)


def varied(spec: ImageSpec, made: Generation, *, strength: float, seed: int) -> ImageSpec:
    """The same words drawn again over this picture, which may change as far as ``strength``."""
    return _from(spec, made, strength=strength, seed=seed)


def upscaled(spec: ImageSpec, made: Generation) -> ImageSpec:
    """The same picture, each side :data:`LARGER` times as long. Raises ``BadInput``."""
    start = source_of(made)
    width, height = start.width * LARGER, start.height * LARGER
    if max(width, height) > LONGEST_SIDE:
        raise BadInput("upscale_large", maximum=LONGEST_SIDE)
    return _from(
        spec, made, mode=Mode.UPSCALE, scale=LARGER, width=width, height=height, seed=made.seed
    )


def finished(spec: ImageSpec, made: Generation, card: ModelCard) -> ImageSpec:
    """A draft at the model's own size and care, in the draft's shape. Raises ``BadInput``."""
    if not spec.draft:
        raise BadInput("not_a_draft")
    start = source_of(made)
    longest = max(start.width, start.height)
    grow = max(card.width, card.height, longest) / longest
    width, height = (round(side * grow / 8) * 8 for side in (start.width, start.height))
    return _from(
        spec, made, width=width, height=height, steps=card.steps, strength=FINISHED, seed=made.seed
    )
