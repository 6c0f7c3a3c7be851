"""`/imagine`: a prompt becomes a picture job."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import Field

from bot.core.cards import job_reply
from bot.core.command import Command, Context
from bot.core.guards import judge_texts, submit_job
from bot.core.inputs import Input, Phrase, Prompt, sizes_for
from bot.core.reply import Reply, Visibility
from moderation.pipeline import Surface
from storage.errors import BadInput, NotFound
from storage.registry import ModelCard, Registry
from storage.schema import MAX_SEED, ImageSpec, JobKind

SHORTEST_SIDE = 64
_SIZE = re.compile(r"^(\d{1,5})\s*[x×*X]\s*(\d{1,5})$")


class ImagineInput(Input):
    """What a member may ask of a picture; what is left out comes from the model's card."""

    prompt: Prompt = Field(json_schema_extra={"kind": "long"})
    negative: Phrase = Field(default="", json_schema_extra={"kind": "long"})
    style: Phrase = Field(default="", json_schema_extra={"kind": "choice", "choices": "styles"})
    size: Phrase = Field(default="", json_schema_extra={"kind": "choice", "choices": "sizes"})
    steps: Annotated[int, Ge(1)] | None = Field(
        default=None, ge=1, json_schema_extra={"kind": "integer", "default_from": "card"}
    )
    guidance: float | None = Field(
        default=None, ge=0, le=30, allow_inf_nan=False,
        json_schema_extra={"kind": "number", "step": 0.5, "default_from": "card"},
    )  # fmt: skip
    seed: Annotated[int, Ge(0), Le(MAX_SEED)] | None = Field(
        default=None, ge=0, le=MAX_SEED, json_schema_extra={"kind": "integer"}
    )
    count: int = Field(default=1, ge=1, le=4, json_schema_extra={"kind": "integer"})
    model: Phrase = Field(default="", json_schema_extra={"kind": "choice", "choices": "models"})


def parse_size(size: str, card: ModelCard) -> tuple[int, int]:
    """Width and height in pixels of ``128x96`` or an aspect word.

    Raises ``BadInput``: ``size_invalid``, ``size_not_multiple`` or ``size_range``.
    """
    if not size:
        return card.width, card.height
    square, portrait, landscape = sizes_for(card.width)
    words = {"square": square, "portrait": portrait, "landscape": landscape}
    match = _SIZE.fullmatch(words.get(size.lower(), size).strip())
    if match is None:
        raise BadInput("size_invalid", example=square)
    width, height = int(match[1]), int(match[2])
    if not all(SHORTEST_SIDE <= side <= card.max_side for side in (width, height)):
        raise BadInput("size_range", minimum=SHORTEST_SIDE, maximum=card.max_side)
    if width % 8 or height % 8:
        near = f"{round(width / 8) * 8}x{round(height / 8) * 8}"
        raise BadInput("size_not_multiple", near=near)
    return width, height


def resolve(values: ImagineInput, registry: Registry) -> ImageSpec:
    """The complete spec: every default filled in, a random seed chosen when none was given.

    Raises ``NotFound`` for an unknown model or style and ``BadInput`` for sizes and steps.
    """
    card = registry.find(values.model or registry.default(JobKind.IMAGE).name, JobKind.IMAGE)
    if card.source == "hub" and card.name != registry.image_default:
        # Listed, but not what this studio runs: loading it would keep everybody waiting.
        raise NotFound("model_unknown", model=card.name, known=registry.image_default)
    if values.style:
        registry.style(values.style)
    width, height = parse_size(values.size, card)
    steps = values.steps if values.steps is not None else card.steps
    if steps > card.max_steps:
        raise BadInput("steps_range", maximum=card.max_steps)
    return ImageSpec(
        model=card.name,
        prompt=values.prompt,
        negative=values.negative,
        style=values.style,
        width=width,
        height=height,
        steps=steps,
        guidance=values.guidance if values.guidance is not None else card.guidance,
        scheduler=card.scheduler,
        # Short enough to read aloud; any 63-bit seed may be typed.
        seed=values.seed if values.seed is not None else secrets.randbelow(2**32),
        count=values.count,
    )


async def imagine(context: Context, values: ImagineInput) -> Reply:
    """Check the words, price the work, queue the job, show its card."""
    spec = resolve(values, context.services.registry)
    verdict = await judge_texts(
        context, {Surface.PROMPT: spec.prompt, Surface.NEGATIVE: spec.negative}
    )
    job_id = await submit_job(context, spec, verdict=verdict)
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


IMAGINE = Command(
    name="imagine", input=ImagineInput, handler=imagine, group="make",
    visibility=Visibility.PUBLIC,
)  # fmt: skip
