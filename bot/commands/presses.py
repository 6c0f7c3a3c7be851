"""Buttons: every press is checked again here, whatever the drawing said."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bot.commands.imagine import ImagineInput, parse_size
from bot.core.cards import job_reply
from bot.core.command import Context, PressHandler
from bot.core.guards import judge_texts, submit_job
from bot.core.inputs import explain, sizes_for
from bot.core.reply import Form, FormField, Reply, Tone, Verb, Visibility
from moderation.pipeline import Surface
from storage import cases, jobs
from storage.errors import BadInput, NotAllowed
from storage.models import Job
from storage.registry import Registry
from storage.schema import (
    ChatSpec,
    Event,
    EventType,
    ImageSpec,
    JobKind,
    JobStatus,
    Mode,
    Role,
    Turn,
    parse_spec,
    role_at_least,
)


async def _card(context: Context, job_id: str) -> Reply:
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


async def _job(context: Context, job_id: str) -> Job:
    return await context.services.database.look(
        jobs.find, job_id, workspace_id=context.actor.workspace.id
    )


async def _own(context: Context, job_id: str) -> Job:
    """The job, for who asked for it or a moderator. Raises ``NotFound`` or ``NotAllowed``."""
    job = await _job(context, job_id)
    member = context.actor.member
    if job.member_id != member.id and not role_at_least(member.role, Role.MODERATOR):
        raise NotAllowed("not_yours")
    return job


async def show(context: Context, target: str) -> Reply:
    """Bring a job's card back."""
    await _own(context, target)
    return await _card(context, target)


async def cancel(context: Context, target: str) -> Reply:
    """Stop a job: at once while queued, within one step while running."""
    status = await context.services.database.run(
        jobs.cancel, target, actor=context.actor, now=context.services.clock()
    )
    if status is JobStatus.RUNNING:
        # The worker reads the request with its next renewal; the nudge makes that now.
        await context.services.wire.wake()
    await context.services.wire.publish(Event(type=EventType.STATE, job_id=target))
    return await _card(context, target)


async def reroll(context: Context, target: str) -> Reply:
    """The same picture job with a new seed."""
    spec = parse_spec((await _own(context, target)).spec)
    if not isinstance(spec, ImageSpec):
        raise BadInput("button_unknown")
    verdict = await judge_texts(
        context, {Surface.PROMPT: spec.prompt, Surface.NEGATIVE: spec.negative}
    )
    again = spec.model_copy(update={"seed": secrets.randbelow(2**32)})
    return await _card(context, await submit_job(context, again, verdict=verdict, parent_id=target))


async def regenerate(context: Context, target: str) -> Reply:
    """The same question again with a new seed and the conversation as it was."""
    spec = parse_spec((await _own(context, target)).spec)
    if not isinstance(spec, ChatSpec):
        raise BadInput("button_unknown")
    verdict = await judge_texts(context, {Surface.PROMPT: spec.prompt})
    again = spec.model_copy(
        update={
            "seed": secrets.randbelow(2**32),
            # A cold, repeatable answer would only repeat itself.
            "temperature": max(spec.temperature, 0.7),
            "turns": tuple(Turn(role=t.role, text=t.text) for t in spec.turns),
        }
    )
    return await _card(context, await submit_job(context, again, verdict=verdict, parent_id=target))


async def edit(context: Context, target: str) -> Reply:
    """A form with the job's own words and seed; sent back, it is a new job that keeps the rest."""
    spec = parse_spec((await _own(context, target)).spec)
    if not isinstance(spec, ImageSpec):
        raise BadInput("button_unknown")
    if not context.values:
        return _edit_form(context, spec, target)
    changed = edited(spec, context.values, context.services.registry)
    verdict = await judge_texts(
        context, {Surface.PROMPT: changed.prompt, Surface.NEGATIVE: changed.negative}
    )
    job_id = await submit_job(context, changed, verdict=verdict, parent_id=target)
    return await _card(context, job_id)


EDITABLE = ("prompt", "negative", "style", "seed", "size")
"""What the form holds: five, because Discord's dialogues hold no more."""


def edited(spec: ImageSpec, values: Mapping[str, Any], registry: Registry) -> ImageSpec:
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
    if typed.style:
        registry.style(typed.style)
    card = registry.find(spec.model, JobKind.IMAGE)
    change: dict[str, Any] = {
        "prompt": typed.prompt,
        "negative": typed.negative,
        "style": typed.style,
        "seed": secrets.randbelow(2**32) if typed.seed is None else typed.seed,
    }
    if spec.mode is Mode.TEXT and typed.size:
        change["width"], change["height"] = parse_size(typed.size, card)
    return spec.model_copy(update=change)


def _edit_form(context: Context, spec: ImageSpec, target: str) -> Reply:
    registry, texts = context.services.registry, context.texts
    card = registry.find(spec.model, JobKind.IMAGE)
    size = f"{spec.width}x{spec.height}"
    sizes = sizes_for(card.width) if spec.mode is Mode.TEXT else (size,)

    def label(name: str) -> str:
        return texts(f"field.{name}")

    return Reply(
        visibility=Visibility.PRIVATE,
        title=texts("form.edit"),
        form=Form(
            title=texts("form.edit"),
            verb=Verb.EDIT,
            target=target,
            submit=texts("form.submit"),
            fields=(
                FormField(name="prompt", label=label("prompt"), kind="long", value=spec.prompt,
                          required=True),
                FormField(name="negative", label=label("negative"), kind="long",
                          value=spec.negative),
                FormField(name="style", label=label("style"), kind="choice", value=spec.style,
                          choices=("", *(s.name for s in registry.styles_for(card.name)))),
                FormField(name="seed", label=label("seed"), kind="integer", value=str(spec.seed),
                          minimum=0),
                FormField(name="size", label=label("size"), kind="choice", value=size,
                          choices=sizes if size in sizes else (size, *sizes)),
            ),
        ),
    )  # fmt: skip


async def delete(context: Context, target: str) -> Reply:
    """Take a generation away, for its owner or a moderator; its bytes go too."""
    services = context.services
    blob = await services.database.run(cases.remove, target, actor=context.actor)
    if blob is not None:
        services.blobs.delete(blob)
    made = await services.database.look(
        cases.generation, target, workspace_id=context.actor.workspace.id
    )
    await services.wire.publish(Event(type=EventType.STATE, job_id=made.job_id))
    return await _card(context, made.job_id)


async def report(context: Context, target: str) -> Reply:
    """Open a case about something visible; the same report twice is one case."""
    await context.services.database.run(
        cases.report, target, actor=context.actor, now=context.services.clock()
    )
    return Reply(text=context.texts("report.thanks"), tone=Tone.GOOD, visibility=Visibility.PRIVATE)


PRESSES: dict[Verb, PressHandler] = {
    Verb.SHOW: show,
    Verb.CANCEL: cancel,
    Verb.REROLL: reroll,
    Verb.REGENERATE: regenerate,
    Verb.EDIT: edit,
    Verb.DELETE: delete,
    Verb.REPORT: report,
}
