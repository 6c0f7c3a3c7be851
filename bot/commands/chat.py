"""`/ask`, `/reset`, `/persona`: conversations that remember, and who answers in them."""

from __future__ import annotations

import secrets
from typing import Any

from pydantic import Field

from bot.core import config
from bot.core.attachment import Upload
from bot.core.cards import job_reply
from bot.core.command import Command, Context
from bot.core.guards import judge_texts, submit_job
from bot.core.inputs import QUESTION_MAX, Input, Phrase, Question
from bot.core.limits import check_private
from bot.core.quotes import quote_reply, throw_away
from bot.core.reply import Reply, Tone, Visibility
from moderation.pipeline import Surface
from storage import book, documents, threads
from storage.errors import BadInput, NotAllowed, NotFound
from storage.registry import ModelCard
from storage.rules import rules_of
from storage.schema import MAX_SEED, ChatSpec, JobKind, Role, Source, Turn, role_at_least
from storage.templates import Persona, persona_in, personas, template

_RESETS = frozenset({"reset", "/reset", "重置", "清空"})
"""What typed alone into `/ask` begins afresh."""
_LEAST_MEMORY = 128
"""Tokens of conversation that always go along, however long the answer may be."""
EARLIER = "Earlier in this conversation: "


class AskInput(Input):
    """A question, and where its conversation is kept."""

    prompt: Question = Field(json_schema_extra={"kind": "long", "max_length": QUESTION_MAX})
    image: Upload = Field(default=None, json_schema_extra={"kind": "image"})
    thread: Phrase = Field(default="", json_schema_extra={"kind": "text"})
    dry_run: bool = Field(default=False, json_schema_extra={"kind": "flag"})
    private: bool = Field(default=False, json_schema_extra={"kind": "flag"})
    max_tokens: int | None = Field(
        default=None, ge=1, le=1024, json_schema_extra={"kind": "integer"}
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, allow_inf_nan=False,
        json_schema_extra={"kind": "number", "step": 0.1},
    )  # fmt: skip
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, json_schema_extra={"kind": "integer"})


class ResetInput(Input):
    """Which conversation to begin afresh."""

    thread: Phrase = Field(default="", json_schema_extra={"kind": "text"})


class PersonaInput(Input):
    """Who should answer here; empty asks who does."""

    persona: Phrase = Field(default="", json_schema_extra={"kind": "text"})


def thread_of(context: Context, wanted: str = "") -> str:
    """The conversation an invocation belongs to: named, the platform's thread, or the channel.

    A named conversation is its member's own, and no name can be typed that is a place: nobody
    reads along in a channel by calling their conversation like it.
    """
    address = context.address
    if wanted:
        return f"named:{context.actor.member.id}:{wanted}"[:200]
    return f"at:{address.platform}:{address.channel}:{address.thread or ''}"[:200]


def vision_card(context: Context) -> ModelCard:
    """The model that reads pictures. Raises ``BadInput('vision_none')`` when there is none."""
    registry = context.services.registry
    if not registry.vision_default:
        raise BadInput("vision_none")
    return registry.find(registry.vision_default, JobKind.CHAT)


async def picture_of(context: Context, image: Upload) -> tuple[Source, ...]:
    """An attached picture, stored; nothing when none was attached."""
    if image is None:
        return ()
    return (await context.services.uploads.take(context, image),)


async def queued(context: Context, spec: ChatSpec, *, also: dict[Surface, str]) -> Reply:
    """Judge the words, queue the job, show its card."""
    verdict = await judge_texts(context, {Surface.PROMPT: spec.prompt, **also})
    job_id = await submit_job(context, spec, verdict=verdict)
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


def spec_for(context: Context, card: ModelCard, name: str, prompt: str, **more: Any) -> ChatSpec:
    """The spec of one wish through a template: its limits and heat, the member's own words."""
    used = template(name)
    room = card.context_tokens // 2
    return ChatSpec(
        model=card.name,
        template=name,
        turns=(*more.pop("before", ()), Turn(role="user", text=prompt)),
        max_tokens=more.pop("max_tokens", None) or min(used.max_tokens or card.max_tokens, room),
        temperature=card.temperature if used.temperature is None else used.temperature,
        seed=secrets.randbelow(2**32),
        stop=used.stop,
        output_schema=used.output_schema,
        **{"thread": "", **more},
    )


async def ask(context: Context, values: AskInput) -> Reply:
    """Check the words, remember the thread, queue the job, show its card."""
    resets = values.prompt.strip().lower() in _RESETS and values.image is None
    if resets and not values.dry_run:
        return await reset(context, ResetInput(thread=values.thread))
    check_private(context, values.private)
    services, settings = context.services, context.actor.workspace.settings
    card = services.registry.default(JobKind.CHAT)
    if values.image is not None:
        card = vision_card(context)
    persona = persona_in(settings, context.address.channel)
    images = await picture_of(context, values.image)
    used, rules = template(persona.template), rules_of(settings).chat
    limit = min(values.max_tokens or card.max_tokens, card.context_tokens // 2)
    thread = thread_of(context, values.thread)
    spoken = threads.tokens_of(persona.system) + threads.tokens_of(values.prompt)
    if rules.retrieval:
        spoken += documents.room_for(card.context_tokens)
    room = max(_LEAST_MEMORY, card.context_tokens - limit - spoken)
    recalled = await services.database.look(
        threads.recall, workspace_id=context.actor.workspace.id, thread=thread,
        tokens=min(room, rules.memory_tokens or room),
    )  # fmt: skip
    system = persona.system
    if recalled.summary:
        system += f"\n\n{EARLIER}{recalled.summary}"
    turns = [Turn(role="system", text=system)]
    turns += [
        Turn(role="assistant" if message.role == "assistant" else "user", text=message.text)
        for message in recalled.messages
    ]
    temperature = _first(
        values.temperature, persona.temperature, used.temperature, rules.temperature
    )
    spec = ChatSpec(
        model=card.name,
        thread=thread,
        turns=(*turns, Turn(role="user", text=values.prompt)),
        max_tokens=limit,
        temperature=card.temperature if temperature is None else temperature,
        seed=secrets.randbelow(2**32) if values.seed is None else values.seed,
        repetition_penalty=card.repetition_penalty,
        persona=persona.name,
        template="" if persona.template == "plain" else persona.template,
        stop=used.stop,
        output_schema=used.output_schema,
        tools=tuple(t for t in persona.tools if t != "documents" or context.venue.installed),
        images=images,
        # What a workspace wrote for itself stays there while we are only a person's guest in it.
        retrieval=rules.retrieval and context.venue.installed,
    )
    if values.dry_run:
        return await throw_away(context, await quote_reply(context, spec))
    # What an admin wrote is judged like anything else that reaches a model.
    return await queued(context, spec, also={Surface.NAME: persona.system})


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


async def reset(context: Context, values: ResetInput) -> Reply:
    """Begin a conversation afresh: what was said stays on its cards, and is not remembered."""
    begun = await context.services.database.run(
        threads.reset, workspace_id=context.actor.workspace.id,
        thread=thread_of(context, values.thread), now=context.services.clock(),
    )  # fmt: skip
    return Reply(
        text=context.texts("reset.done" if begun else "reset.empty"),
        tone=Tone.GOOD if begun else Tone.INFO,
        visibility=Visibility.PRIVATE,
        data={"reset": begun},
    )


async def persona(context: Context, values: PersonaInput) -> Reply:
    """Say who answers in this channel, or (admins) choose somebody else."""
    texts, settings = context.texts, context.actor.workspace.settings
    channel = context.address.channel
    known = personas(settings)
    if not values.persona:
        return _who_answers(context, persona_in(settings, channel), known)
    if not role_at_least(context.actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    if values.persona not in known:
        raise NotFound("persona_unknown", persona=values.persona[:40], known=", ".join(known))
    # One channel's entry: what another admin chose elsewhere meanwhile stays.
    await context.services.database.run(
        book.change, context.actor, {f"channel_personas.{channel}": values.persona},
        check=config.check, now=context.services.clock(),
    )  # fmt: skip
    return Reply(
        text=texts("persona.set", persona=values.persona), tone=Tone.GOOD,
        visibility=Visibility.PRIVATE, data={"persona": values.persona},
    )  # fmt: skip


def _who_answers(context: Context, here: Persona, known: dict[str, Persona]) -> Reply:
    texts = context.texts
    lines = [
        f"- **{name}**{' ←' if name == here.name else ''}: {one.system[:120]}"
        for name, one in known.items()
    ]
    return Reply(
        title=texts("persona.title"),
        text=texts("persona.here", persona=here.name) + "\n\n" + "\n".join(lines),
        visibility=Visibility.PRIVATE,
        data={"persona": here.name, "known": list(known)},
    )


ASK = Command(name="ask", input=AskInput, handler=ask, group="make", visibility=Visibility.PUBLIC)
RESET = Command(name="reset", input=ResetInput, handler=reset)
PERSONA = Command(name="persona", input=PersonaInput, handler=persona)
