"""`/mod`: what moderators may ask of the filters, and what admins may give them."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import Field as Option

from bot.core import importing
from bot.core.attachment import Upload
from bot.core.command import Command, Context
from bot.core.inputs import Input
from bot.core.learnt import learning_reply
from bot.core.reply import Button, Field, Reply, Tone, Verb, Visibility
from moderation import tryout
from moderation.evaluation.report import severities
from moderation.lists import lists_of
from moderation.pipeline import Content, Surface
from moderation.settings import policy_of
from storage import book, decisions, intents
from storage.errors import BadInput, NotAllowed
from storage.schema import Category, Outcome, Role, role_at_least

MOST_SHOWN = 8
TRIED = 200
"""Judged texts an import is tried on before it is added."""
ACTIONS = ("try", "learn", "import")
_TONES = {
    Outcome.ALLOW: Tone.GOOD, Outcome.BLUR: Tone.INFO, Outcome.HOLD: Tone.WARN,
    Outcome.BLOCK: Tone.BAD,
}  # fmt: skip


class ModInput(Input):
    """What to ask: ``try`` needs a text; ``import`` takes a file, a text, or asks the platform."""

    action: Literal["try", "learn", "import"] = Option(
        default="try", json_schema_extra={"kind": "choice", "choices": list(ACTIONS)}
    )
    text: str = Option(
        default="", max_length=20_000, json_schema_extra={"kind": "long", "max_length": 4000}
    )
    file: Upload = Option(default=None, json_schema_extra={"kind": "image"})


async def mod(context: Context, values: ModInput) -> Reply:
    """Ask the filters. For moderators only: who sees the scores can walk around them."""
    if values.action == "learn":
        return await learning_reply(context)
    if values.action == "import":
        return await _import(context, values)
    return await _try(context, values.text)


async def _try(context: Context, text: str) -> Reply:
    """Every score of a text against this workspace's thresholds; nothing is kept or run."""
    if not text.strip():
        raise BadInput("option_missing", option="text")
    texts, settings = context.texts, context.actor.workspace.settings
    policy = policy_of(settings)
    content = Content(
        Surface.PROMPT, text=text, lists=lists_of(settings),
        workspace_id=context.actor.workspace.id,
    )  # fmt: skip
    judged = await context.services.prompt_gate.judge_fully(content, policy)
    scores = severities(judged, policy)

    def line(code: Category) -> Field:
        lines = policy.of(code)
        numbers = [texts("mod.score", score=f"{scores[code]:.2f}")]
        if lines.hold is not None:
            numbers.append(texts("mod.hold", line=lines.hold))
        if lines.block is not None:
            numbers.append(texts("mod.block", line=lines.block))
        rules = sorted(
            {
                f"{flag.stage} {flag.detail} {flag.score:.2f}"
                for flag in judged.verdict.flags
                if flag.category is code
            }
        )
        return Field(
            label=f"{code} · {texts(f'category.{code}')}", value="; ".join([*numbers, *rules])
        )

    worst = sorted(scores, key=lambda code: -scores[code])[:MOST_SHOWN]
    outcome = judged.verdict.outcome
    return Reply(
        title=texts("mod.title"),
        text=texts("mod.text", outcome=texts(f"mod.outcome_{outcome.word}"), ms=round(judged.ms)),
        tone=_TONES[outcome],
        visibility=Visibility.PRIVATE,
        fields=tuple(line(code) for code in worst),
        data={
            **judged.verdict.dump(),
            "severity": {str(code): round(score, 4) for code, score in scores.items()},
            "scores": judged.scores,
        },
    )


async def _import(context: Context, values: ModInput) -> Reply:
    """What AutoMod rules would add to this workspace's lists; the button adds it.

    The words themselves are shown to nobody: they are in the server's own settings.
    """
    if not role_at_least(context.actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    services, texts, space = context.services, context.texts, context.actor.workspace
    if values.file is not None:
        rules = importing.rules_in(await services.uploads.read(values.file))
    elif values.text.strip():
        rules = importing.rules_in(values.text)
    elif (read := services.automod.get(context.address.platform)) is not None:
        rules = list(await read(context.address))
    else:
        raise BadInput("automod_missing")
    plan = await asyncio.to_thread(importing.planned, space.settings, rules)
    fields = [
        Field(label=texts("import.words"), value=str(plan.words)),
        Field(label=texts("import.patterns"), value=str(plan.patterns)),
        Field(label=texts("import.allowed"), value=str(plan.allowed)),
    ]
    if plan.known:
        fields.append(Field(label=texts("import.known"), value=str(plan.known)))
    if plan.refused:
        told = "; ".join(f"`{pattern}` ({why})" for pattern, why in plan.refused[:5])
        fields.append(Field(label=texts("import.refused", n=len(plan.refused)), value=told))
    data = {
        "rules": plan.rules, "words": plan.words, "patterns": plan.patterns,
        "allowed": plan.allowed, "refused": len(plan.refused), "known": plan.known,
    }  # fmt: skip
    if not plan.adds:
        return Reply(
            title=texts("import.title"), text=texts("import.nothing", rules=plan.rules),
            fields=tuple(fields), visibility=Visibility.PRIVATE, data=data,
        )  # fmt: skip
    past = await services.database.look(decisions.last_decisions, workspace_id=space.id, most=TRIED)
    wanted = importing.values_of(plan)
    fresh: dict[str, Any] = dict(space.settings)
    for path, value in wanted.items():
        fresh = book.put(fresh, path, value)
    tried = await asyncio.to_thread(tryout.tried, past, space.settings, fresh)
    held = len(tried.newly_restricted)
    intent = await services.database.run(
        intents.ask, context.actor, "config",
        {"values": wanted, "seen": book.snapshot(space.settings, wanted)}, now=services.clock(),
    )  # fmt: skip
    return Reply(
        title=texts("import.title"),
        text=texts("import.text", rules=plan.rules, n=len(past), held=held),
        fields=tuple(fields),
        visibility=Visibility.PRIVATE,
        buttons=(
            Button(verb=Verb.CONFIRM, target=intent, label=texts("import.add"), style="primary"),
        ),
        data={**data, "would_hold": held, "of": len(past)},
    )


MOD = Command(name="mod", input=ModInput, handler=mod, role=Role.MODERATOR)
