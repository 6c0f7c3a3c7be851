"""`/ask`: a question in a thread becomes an answer job."""

from __future__ import annotations

import secrets

from pydantic import Field

from bot.core.cards import job_reply
from bot.core.command import Command, Context
from bot.core.guards import judge_texts, submit_job
from bot.core.inputs import Input, Phrase, Question
from bot.core.reply import Reply, Visibility
from moderation.pipeline import Surface
from storage import jobs
from storage.schema import MAX_SEED, ChatSpec, JobKind, Turn

PERSONA = "You are a helpful AI assistant named Atelier."
"""Short on purpose: a model of 135 million parameters answers worse the more it is told."""
REMEMBERED = 20
"""Messages of the thread that go along; the model's runner drops the oldest that do not fit."""


class AskInput(Input):
    """A question, and where its conversation is kept."""

    prompt: Question = Field(json_schema_extra={"kind": "long"})
    thread: Phrase = Field(default="", json_schema_extra={"kind": "text"})
    max_tokens: int | None = Field(
        default=None, ge=1, le=1024, json_schema_extra={"kind": "integer"}
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, allow_inf_nan=False,
        json_schema_extra={"kind": "number", "step": 0.1},
    )  # fmt: skip
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, json_schema_extra={"kind": "integer"})


def thread_of(context: Context, wanted: str = "") -> str:
    """The conversation an invocation belongs to: named, the platform's thread, or the channel.

    A named conversation is its member's own, and no name can be typed that is a place: nobody
    reads along in a channel by calling their conversation like it.
    """
    address = context.address
    if wanted:
        return f"named:{context.actor.member.id}:{wanted}"[:200]
    return f"at:{address.platform}:{address.channel}:{address.thread or ''}"[:200]


async def ask(context: Context, values: AskInput) -> Reply:
    """Check the words, collect the thread, queue the job, show its card."""
    services = context.services
    card = services.registry.default(JobKind.CHAT)
    verdict = await judge_texts(context, {Surface.PROMPT: values.prompt})
    thread = thread_of(context, values.thread)
    before = await services.database.look(
        jobs.conversation, workspace_id=context.actor.workspace.id, thread=thread, limit=REMEMBERED
    )
    turns = [Turn(role="system", text=PERSONA)]
    turns += [
        Turn(role="assistant" if message.role == "assistant" else "user", text=message.text)
        for message in before
    ]
    spec = ChatSpec(
        model=card.name,
        thread=thread,
        turns=(*turns, Turn(role="user", text=values.prompt)),
        max_tokens=min(values.max_tokens or card.max_tokens, card.context_tokens // 2),
        temperature=card.temperature if values.temperature is None else values.temperature,
        seed=secrets.randbelow(2**32) if values.seed is None else values.seed,
        repetition_penalty=card.repetition_penalty,
    )
    job_id = await submit_job(context, spec, verdict=verdict)
    return await job_reply(
        services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


ASK = Command(name="ask", input=AskInput, handler=ask, group="make", visibility=Visibility.PUBLIC)
