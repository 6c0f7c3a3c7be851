"""Buttons that make a new job from an old one: Reroll, Vary, Upscale, Finish, Edit, Regenerate.

Whoever presses is checked again: owner or moderator of the old job, its picture still shown, the
words judged by today's policy, the price reserved. Same event twice, one job.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from bot.commands.imagine import ImagineInput, submit_picture
from bot.core import derive
from bot.core.cards import job_reply
from bot.core.command import Context
from bot.core.forms import form_reply
from bot.core.guards import judge_texts, own_job, submit_job
from bot.core.inputs import explain
from bot.core.limits import check_rules
from bot.core.reply import FormField, Reply, Verb
from bot.core.sizes import parse_size, sizes_of
from bot.core.styles import dressed, styles_in
from moderation.pipeline import Surface
from storage import cases
from storage.errors import BadInput
from storage.models import Generation
from storage.registry import Registry
from storage.schema import (
    ChatSpec,
    GenerationStatus,
    ImageSpec,
    JobKind,
    Mode,
    Turn,
    parse_spec,
)


async def _queued(context: Context, spec: ImageSpec | ChatSpec, parent_id: str) -> Reply:
    """Judge the words again and queue the new job; its card."""
    if isinstance(spec, ImageSpec):
        return await submit_picture(context, spec, parent_id=parent_id)
    await check_rules(context, "ask")
    verdict = await judge_texts(context, {Surface.PROMPT: spec.prompt})
    job_id = await submit_job(context, spec, verdict=verdict, parent_id=parent_id)
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


async def _image_job(context: Context, job_id: str) -> ImageSpec:
    spec = parse_spec((await own_job(context, job_id)).spec)
    if not isinstance(spec, ImageSpec):
        raise BadInput("button_unknown")
    return spec


async def _from_picture(
    context: Context, target: str, wish: Callable[[ImageSpec, Generation], ImageSpec]
) -> Reply:
    """A new job that starts from one picture of a job the member owns, if it is still shown."""
    made = await context.services.database.look(
        cases.generation, target, workspace_id=context.actor.workspace.id
    )
    spec = await _image_job(context, made.job_id)
    if made.status not in (GenerationStatus.VISIBLE, GenerationStatus.BLURRED):
        raise BadInput("generation_hidden")
    return await _queued(context, wish(spec, made), made.job_id)


async def reroll(context: Context, target: str) -> Reply:
    """The same picture job with a new seed."""
    spec = await _image_job(context, target)
    again = spec.model_copy(update={"seed": secrets.randbelow(2**32), "bucket": None})
    return await _queued(context, again, target)


async def vary_subtle(context: Context, target: str) -> Reply:
    """The picture again, a little different."""
    seed = secrets.randbelow(2**32)
    return await _from_picture(
        context,
        target,
        lambda s, made: derive.varied(
            s, made, context.services.registry, strength=derive.SUBTLE, seed=seed
        ),
    )


async def vary_strong(context: Context, target: str) -> Reply:
    """The idea again, quite different."""
    seed = secrets.randbelow(2**32)
    return await _from_picture(
        context,
        target,
        lambda s, made: derive.varied(
            s, made, context.services.registry, strength=derive.STRONG, seed=seed
        ),
    )


async def upscale(context: Context, target: str) -> Reply:
    """The picture, larger."""
    registry = context.services.registry
    return await _from_picture(context, target, lambda s, made: derive.upscaled(s, made, registry))


async def finish(context: Context, target: str) -> Reply:
    """A draft, at full size."""
    registry = context.services.registry
    return await _from_picture(context, target, lambda s, made: derive.finished(s, made, registry))


async def regenerate(context: Context, target: str) -> Reply:
    """The same question again with a new seed and the conversation as it was."""
    spec = parse_spec((await own_job(context, target)).spec)
    if not isinstance(spec, ChatSpec):
        raise BadInput("button_unknown")
    again = spec.model_copy(
        update={
            "seed": secrets.randbelow(2**32),
            # A cold, repeatable answer would only repeat itself.
            "temperature": max(spec.temperature, 0.7),
            "turns": tuple(Turn(role=t.role, text=t.text) for t in spec.turns),
        }
    )
    return await _queued(context, again, target)


async def edit(context: Context, target: str) -> Reply:
    """A form with the job's own words and seed; sent back, it is a new job that keeps the rest."""
    spec = await _image_job(context, target)
    if not context.values:
        return _edit_form(context, spec, target)
    changed = edited(
        spec, context.values, context.services.registry, context.actor.workspace.settings
    )
    return await _queued(context, changed, target)


EDITABLE = ("prompt", "negative", "style", "seed", "size")
"""What the form holds: five, because Discord's dialogues hold no more."""


def edited(
    spec: ImageSpec,
    values: Mapping[str, Any],
    registry: Registry,
    settings: Mapping[str, Any],
) -> ImageSpec:
    """The spec with what the form changed, checked as `/imagine` checks it. Raises ``BadInput``."""
    given = {name: values[name] for name in EDITABLE if values.get(name) not in (None, "")}
    given.setdefault("prompt", "")
    for name in values:
        if name not in EDITABLE:
            raise BadInput("option_unknown", option=str(name)[:40])
    try:
        typed = ImagineInput.model_validate(given, context={"registry": registry})
    except ValidationError as error:
        raise explain(error, registry) from error
    card = registry.find(spec.model, JobKind.IMAGE)
    change: dict[str, Any] = {
        "prompt": typed.prompt,
        "negative": typed.negative,
        **dressed(typed.style, registry, settings),
        "seed": secrets.randbelow(2**32) if typed.seed is None else typed.seed,
        "bucket": None,
    }
    if spec.mode is Mode.TEXT and typed.size:
        change["width"], change["height"] = parse_size(typed.size, card)
    return spec.model_copy(update=change)


def _edit_form(context: Context, spec: ImageSpec, target: str) -> Reply:
    registry, texts = context.services.registry, context.texts
    card = registry.find(spec.model, JobKind.IMAGE)
    own = context.actor.workspace.settings
    styles = (style.name for style in styles_in(registry, own, card.name))
    size = f"{spec.width}x{spec.height}"
    sizes = sizes_of(card) if spec.mode is Mode.TEXT else (size,)

    def label(name: str) -> str:
        return texts(f"field.{name}")

    fields = (
        FormField(name="prompt", label=label("prompt"), kind="long", value=spec.prompt,
                  required=True),
        FormField(name="negative", label=label("negative"), kind="long", value=spec.negative),
        FormField(name="style", label=label("style"), kind="choice", value=spec.style,
                  choices=("", *styles)),
        FormField(name="seed", label=label("seed"), kind="integer", value=str(spec.seed),
                  minimum=0),
        FormField(name="size", label=label("size"), kind="choice", value=size,
                  choices=sizes if size in sizes else (size, *sizes)),
    )  # fmt: skip
    return form_reply(texts, Verb.EDIT, target, fields)
