"""`/blend`: two to four pictures become one, by a model that reads reference pictures."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import Field

from bot.commands.imagine import ImagineInput, option, resolve, submit_picture
from bot.core.attachment import Upload
from bot.core.command import Command, Context
from bot.core.inputs import Input, Phrase
from bot.core.limits import check_private
from bot.core.quotes import quote_reply, throw_away
from bot.core.reply import Reply, Visibility
from storage.errors import BadInput, NotFound
from storage.registry import Registry
from storage.schema import MAX_SEED, JobKind

PICTURES = ("image", "image2", "image3", "image4")


class BlendInput(Input):
    """Pictures to blend, and words if there are any."""

    image: Upload = Field(default=None, json_schema_extra=option("image"))
    image2: Upload = Field(default=None, json_schema_extra=option("image"))
    image3: Upload = Field(default=None, json_schema_extra=option("image"))
    image4: Upload = Field(default=None, json_schema_extra=option("image"))
    prompt: Phrase = Field(default="", json_schema_extra=option("long"))
    size: Phrase = Field(default="", json_schema_extra=option("choice", choices="sizes"))
    seed: Annotated[int, Ge(0), Le(MAX_SEED)] | None = Field(
        default=None, ge=0, le=MAX_SEED, json_schema_extra=option("integer")
    )
    model: Phrase = Field(default="", json_schema_extra=option("choice", choices="models"))
    dry_run: bool = Field(default=False, json_schema_extra=option("flag"))
    private: bool = Field(default=False, json_schema_extra=option("flag"))


def blender(name: str, registry: Registry) -> str:
    """The model to blend with: the one named, else the default, else the first here that can.

    Raises ``NotFound('model_unknown')`` and ``BadInput('reference_absent')``.
    """
    if name:
        return registry.find(name, JobKind.IMAGE).name
    usual = registry.image_default
    able = [m for m in (usual, *sorted(registry.here)) if registry.references_of(m) > 1]
    if not able:
        raise BadInput("reference_absent")
    return able[0]


async def blend(context: Context, values: BlendInput) -> Reply:
    """Take the pictures in and queue the job. Raises ``MemberError``."""
    check_private(context, values.private)
    registry = context.services.registry
    model = blender(values.model, registry)
    given = [attached for name in PICTURES if (attached := getattr(values, name)) is not None]
    if len(given) < 2:
        raise BadInput("blend_needs_two")
    most = registry.references_of(model)
    if len(given) > most:
        raise BadInput("references_many" if most else "reference_absent", maximum=most)
    if not registry.draws(model):
        raise NotFound("model_unknown", model=model, known=registry.image_default)
    # English where the model reads nothing else; the word list need not guess at our own words.
    reads = context.texts.locale in registry.cards[model].languages
    usual = (context.texts if reads else context.services.texts("en"))("blend.prompt")
    wish = ImagineInput(
        prompt=values.prompt or usual, size=values.size, seed=values.seed, model=model
    )
    taken = [await context.services.uploads.take(context, attached) for attached in given]
    settings = context.actor.workspace.settings
    spec = resolve(wish, registry, settings, {"reference": taken[0]})
    spec = spec.model_copy(update={"blend": tuple(taken[1:])})
    if values.dry_run:
        return await throw_away(context, await quote_reply(context, spec))
    return await submit_picture(context, spec)


BLEND = Command(
    name="blend", input=BlendInput, handler=blend, visibility=Visibility.PUBLIC, group="make",
    needs="references",
)  # fmt: skip
