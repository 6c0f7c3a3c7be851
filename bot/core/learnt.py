"""Keeps the bot's filters up to what workspaces have learnt (the worker learns, we only read)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from bot.core.command import Context
from bot.core.dates import date_of
from bot.core.reply import Field, Reply, Tone, Visibility
from bot.core.services import Services
from bot.core.texts import Texts
from moderation.learning.keep import refresh
from storage import learning
from storage.errors import AtelierError
from storage.rules import rules_of

log = logging.getLogger(__name__)

EVERY_S = 15.0
"""How soon a head that was promoted, or erased, is known here."""


async def keep_learnt(services: Services) -> None:
    """Read what is in force, again and again, until cancelled."""
    while True:
        try:
            await refresh(services.database, [services.prompt_gate])
        except AtelierError as error:
            log.warning("what workspaces learnt could not be read now: %s", error)
        await asyncio.sleep(EVERY_S)


async def learning_reply(context: Context) -> Reply:
    """Whether this workspace's filters learn, from how much, and what came of it."""
    services, texts, space = context.services, context.texts, context.actor.workspace
    on = rules_of(space.settings).learning.on
    count = await services.database.look(learning.count, workspace_id=space.id)
    active = await services.database.look(learning.active, workspace_id=space.id)
    last = await services.database.look(learning.last, workspace_id=space.id)
    fields = [Field(label=texts("learn.labels"), value=str(count))]
    fields.append(
        Field(
            label=texts("learn.in_force"),
            value=active.version if active is not None else texts("learn.shipped"),
        )
    )  # fmt: skip
    if last is not None:
        result = str(last.report.get("result", "few_labels"))
        when = date_of(last.created_at, rules_of(space.settings).credits.timezone)
        fields.append(
            Field(label=texts("learn.last"), value=f"{when}: {texts(f'learn.result_{result}')}")
        )
        for code, told in sorted(last.report.get("codes", {}).items()):
            fields.append(Field(label=f"{code} · {texts(f'category.{code}')}",
                                value=_code_line(told, texts)))  # fmt: skip
    return Reply(
        title=texts("learn.title"),
        text=texts("learn.on" if on else "learn.off"),
        tone=Tone.GOOD if active is not None else Tone.INFO,
        visibility=Visibility.PRIVATE,
        fields=tuple(fields),
        data={
            "on": on, "labels": count, "version": active.version if active is not None else None,
            "last": dict(last.report) if last is not None else None,
        },
    )  # fmt: skip


def _code_line(told: Mapping[str, Any], texts: Texts) -> str:
    """One code's share of an attempt, in words."""
    violating = told["learnt"][0] + told["measured"][0]
    fine = told["learnt"][1] + told["measured"][1]
    parts = [texts("learn.code", violating=violating, fine=fine)]
    if "mistakes_before" in told:
        parts.append(
            texts("learn.mistakes", before=told["mistakes_before"], after=told["mistakes_after"],
                  n=sum(told["measured"]))
        )  # fmt: skip
    parts.append(texts(f"learn.result_{told['result']}"))
    return "; ".join(parts)
