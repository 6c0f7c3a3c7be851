"""From one picture to the next: what Vary, Upscale, Finish and Zoom out ask for. Pure: a spec and
a generation in, a spec out."""

from __future__ import annotations

from bot.core.sizes import draft_factor, fitted, size_like
from storage.errors import BadInput
from storage.models import Generation
from storage.registry import ModelCard, Registry
from storage.schema import Grade, ImageSpec, JobKind, Margins, Mode, Source

SUBTLE = 0.35
"""How far *Vary a little* lets a picture change: composition and colours stay."""
STRONG = 0.7
"""*Vary a lot*: the idea stays."""
FINISHED = 0.6
"""A draft at full size may still gain detail."""
LARGER = 2
"""*Upscale* doubles each side."""
LONGEST_SIDE = 2_048
ZOOM = 1.5


def source_of(made: Generation) -> Source:
    """A generation of ours as what a spec starts from. Raises ``BadInput`` when it is gone."""
    if made.blob is None or made.sha256 is None or not made.width or not made.height:
        raise BadInput("generation_hidden")
    return Source(
        blob=made.blob, sha256=made.sha256, width=made.width, height=made.height,
        generation_id=made.id,
    )  # fmt: skip


def _started(spec: ImageSpec, made: Generation, registry: Registry) -> tuple[ImageSpec, ModelCard]:
    """The spec of one new picture that starts from ``made``, by a model that draws."""
    card = _drawing(spec, registry)
    start = source_of(made)
    width, height = size_like(start, card)
    same = spec.model == card.name
    return (
        spec.model_copy(
            update={
                "model": card.name,
                "mode": Mode.IMAGE,
                "start": start,
                "mask": None,
                "margins": Margins(),
                "scale": 1,
                "width": width,
                "height": height,
                "steps": spec.steps if same else card.steps,
                "guidance": spec.guidance if same else card.guidance,
                "scheduler": spec.scheduler if same else card.scheduler,
                "count": 1,
                "draft": False,
                "enhance": False,
                "grade": None if spec.grade is not Grade.STRICT else spec.grade,
                "bucket": None,
                "buckets": (),
                "compiled": None,
            }
        ),
        card,
    )


def _drawing(spec: ImageSpec, registry: Registry) -> ModelCard:
    """The spec's model, or the default where an upscaler made it."""
    if registry.draws(spec.model):
        return registry.find(spec.model, JobKind.IMAGE)
    return registry.default(JobKind.IMAGE)


def varied(
    spec: ImageSpec, made: Generation, registry: Registry, *, strength: float, seed: int
) -> ImageSpec:
    """The same words drawn again over this picture, which may change as far as ``strength``."""
    started, _ = _started(spec, made, registry)
    return started.model_copy(update={"strength": strength, "seed": seed})


def finished(spec: ImageSpec, made: Generation, registry: Registry) -> ImageSpec:
    """A draft at the model's full size: the same words and seed, drawn over the enlarged draft.

    Raises ``BadInput``: ``not_a_draft`` and ``generation_hidden``.
    """
    if not spec.draft:
        raise BadInput("not_a_draft")
    started, card = _started(spec, made, registry)
    longest = max(made.width or 1, made.height or 1)
    scale = max(1.0, min(1 / draft_factor(card), card.max_side / longest))

    def side(length: int | None) -> int:
        return min(card.max_side // 8 * 8, max(64, round((length or 64) * scale / 8) * 8))

    return started.model_copy(
        update={
            "width": side(made.width),
            "height": side(made.height),
            "strength": FINISHED,
            "steps": card.steps,
            "seed": made.seed,
        }
    )


def upscaled(spec: ImageSpec, made: Generation, registry: Registry) -> ImageSpec:
    """The same picture, each side :data:`LARGER` times as long. Raises ``BadInput``."""
    return enlarge(source_of(made), registry, LARGER, spec.prompt, made.seed)


def enlarge(
    start: Source, registry: Registry, scale: int, prompt: str = "", seed: int = 0
) -> ImageSpec:
    """Any stored picture ``scale`` times as large per side.

    Raises ``BadInput``: ``upscaler_absent`` and ``upscale_large``.
    """
    if not registry.upscaler:
        raise BadInput("upscaler_absent")
    card = registry.find(registry.upscaler, JobKind.IMAGE)
    width, height = start.width * scale // 8 * 8, start.height * scale // 8 * 8
    if max(width, height) > card.max_side or min(width, height) < 64:
        raise BadInput("upscale_large", maximum=card.max_side)
    return ImageSpec(
        model=card.name, prompt=prompt, width=width, height=height, steps=1, guidance=0.0,
        scheduler="own", seed=seed, mode=Mode.UPSCALE, start=start, scale=scale,
    )  # fmt: skip


def zoomed_out(
    spec: ImageSpec, made: Generation, registry: Registry, *, seed: int, zoom: float = ZOOM
) -> ImageSpec:
    """Zoomed out: the picture smaller in the middle, its surroundings drawn."""
    started, card = _started(spec, made, registry)
    share = (zoom - 1) / 2
    add = {
        "left": started.width * share, "right": started.width * share,
        "top": started.height * share, "bottom": started.height * share,
    }  # fmt: skip
    width, height, margins = fitted(
        started.width, started.height, add, max(started.width, started.height), card
    )
    return started.model_copy(
        update={
            "mode": Mode.OUTPAINT, "width": width, "height": height, "margins": margins,
            "strength": 1.0, "seed": seed,
        }
    )  # fmt: skip
