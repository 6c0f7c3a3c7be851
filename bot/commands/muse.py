"""`/enhance`, `/brainstorm`, `/describe`: from an idea or a picture to words that can be drawn."""

from __future__ import annotations

import secrets

from pydantic import Field

from bot.commands.chat import picture_of, queued, spec_for, thread_of, vision_card
from bot.commands.imagine import ImagineInput, resolve, submit_picture
from bot.core.attachment import Upload
from bot.core.cards import job_reply
from bot.core.command import Command, Context
from bot.core.forms import form_reply
from bot.core.guards import judge_texts, own_job, submit_job
from bot.core.inputs import PROMPT_MAX, Input, Phrase, Prompt
from bot.core.limits import check_rules
from bot.core.quotes import quote_reply, throw_away
from bot.core.reply import FormField, Reply, Verb, Visibility
from moderation.pipeline import Surface
from storage import cases, threads
from storage.errors import BadInput
from storage.models import Generation
from storage.schema import ChatSpec, GenerationStatus, JobKind, Turn, parse_spec

_DIRECTIONS_REMEMBERED = 600
"""Tokens of the session's earlier directions that go along."""
_SMALL_CONTEXT = 4096
"""A model with less context than this follows the examples only: more to read confuses it."""


class EnhanceInput(Input):
    """A short prompt, in English or Chinese."""

    prompt: Prompt = Field(json_schema_extra={"kind": "long"})
    dry_run: bool = Field(default=False, json_schema_extra={"kind": "flag"})


class BrainstormInput(Input):
    """An idea to take in four directions."""

    prompt: Prompt = Field(json_schema_extra={"kind": "long"})
    dry_run: bool = Field(default=False, json_schema_extra={"kind": "flag"})


class DescribeInput(Input):
    """A picture, and what to look for."""

    image: Upload = Field(default=None, json_schema_extra={"kind": "image"})
    prompt: Phrase = Field(default="", json_schema_extra={"kind": "long"})
    dry_run: bool = Field(default=False, json_schema_extra={"kind": "flag"})


async def enhance(context: Context, values: EnhanceInput) -> Reply:
    """Queue the rewriting of a prompt; its card offers to draw it."""
    card = context.services.registry.default(JobKind.CHAT)
    spec = spec_for(context, card, "enhance", values.prompt)
    return await _queued(context, spec, dry_run=values.dry_run)


async def _queued(context: Context, spec: ChatSpec, *, dry_run: bool) -> Reply:
    """Queue it, or only say what it would cost."""
    if dry_run:
        return await throw_away(context, await quote_reply(context, spec))
    return await queued(context, spec, also={})


async def brainstorm(context: Context, values: BrainstormInput) -> Reply:
    """Queue four directions for an idea; their buttons draw or go on from one."""
    spec = await _session(context, values.prompt)
    return await _queued(context, spec, dry_run=values.dry_run)


async def _session(context: Context, idea: str) -> ChatSpec:
    """The next round of this thread's creative session: what was tried before goes along."""
    card = context.services.registry.default(JobKind.CHAT)
    thread = thread_of(context)
    recalled = await context.services.database.look(
        threads.recall, workspace_id=context.actor.workspace.id, thread=thread,
        tokens=_DIRECTIONS_REMEMBERED if card.context_tokens >= _SMALL_CONTEXT else 0,
    )  # fmt: skip
    before = tuple(
        Turn(role="assistant" if m.role == "assistant" else "user", text=m.text)
        for m in recalled.messages
        if m.text != idea
    )
    return spec_for(context, card, "brainstorm", idea, thread=thread, before=before)


async def describe(context: Context, values: DescribeInput) -> Reply:
    """Queue the description of a picture by the model that reads pictures."""
    card = vision_card(context)
    if values.image is None:
        raise BadInput("describe_needs_image")
    wish = values.prompt or context.texts("describe.wish")
    images = await picture_of(context, values.image)
    spec = spec_for(context, card, "describe", wish, images=images, thread=thread_of(context))
    return await _queued(context, spec, dry_run=values.dry_run)


async def _written(context: Context, target: str) -> tuple[Generation, ChatSpec]:
    """Words of ours that may be drawn, for who asked for them or a moderator.

    Raises ``NotFound``, ``NotAllowed`` or ``BadInput``.
    """
    made = await context.services.database.look(
        cases.generation, target, workspace_id=context.actor.workspace.id
    )
    spec = parse_spec((await own_job(context, made.job_id)).spec)
    if not isinstance(spec, ChatSpec):
        raise BadInput("button_unknown")
    if made.status != GenerationStatus.VISIBLE or not made.text:
        raise BadInput("generation_hidden")
    return made, spec


async def _drawn(context: Context, prompt: str, parent_id: str) -> Reply:
    values = ImagineInput(prompt=prompt[:PROMPT_MAX])
    spec = resolve(values, context.services.registry, context.actor.workspace.settings)
    return await submit_picture(context, spec, parent_id=parent_id)


async def draw(context: Context, target: str) -> Reply:
    """Draw what was written."""
    made, _ = await _written(context, target)
    return await _drawn(context, made.text or "", made.job_id)


async def reword(context: Context, target: str) -> Reply:
    """A form with what was written; sent back, it is drawn."""
    made, _ = await _written(context, target)
    if context.values:
        values = ImagineInput.model_validate({"prompt": context.values.get("prompt", "")})
        return await _drawn(context, values.prompt, made.job_id)
    label = context.texts("field.prompt")
    field = FormField(name="prompt", label=label, kind="long", value=made.text or "", required=True)
    return form_reply(context.texts, Verb.REWORD, target, (field,))


async def pick(context: Context, target: str) -> Reply:
    """Go on from one direction: four new ones around it, in the same session."""
    await check_rules(context, "ask")
    made, _ = await _written(context, target)
    spec = await _session(context, made.text or "")
    spec = spec.model_copy(update={"seed": secrets.randbelow(2**32)})
    verdict = await judge_texts(context, {Surface.PROMPT: spec.prompt})
    job_id = await submit_job(context, spec, verdict=verdict, parent_id=made.job_id)
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


ENHANCE = Command(
    name="enhance", input=EnhanceInput, handler=enhance, group="make", visibility=Visibility.PUBLIC
)
BRAINSTORM = Command(
    name="brainstorm", input=BrainstormInput, handler=brainstorm, group="make",
    visibility=Visibility.PUBLIC,
)  # fmt: skip
DESCRIBE = Command(
    name="describe", input=DescribeInput, handler=describe, group="make",
    visibility=Visibility.PUBLIC,
)  # fmt: skip
