"""The Confirm button: what a member asked for and saw before, done once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from bot.core import config
from bot.core.command import Context
from bot.core.reply import Reply, Tone, Visibility
from storage import book, credits, disabled, intents, privacy, removal
from storage.book import Check
from storage.database import Session
from storage.errors import LimitReached
from storage.models import Member, SettingChange
from storage.schema import Millis
from storage.workspaces import Actor

Done = tuple[int, str] | list[SettingChange] | Member | str
"""A gift's amount and taker, what was changed, who was let make things again, or the kind of what
takes several transactions."""


def _take(session: Session, actor: Actor, intent_id: str, now: Millis, check: Check) -> Done:
    """Take the intent and do it in one transaction: a refusal leaves it to be tried again."""
    intent = intents.take(session, actor, intent_id, now=now)
    if intent.kind == "gift":
        target = session.get_one(Member, intent.data["member"])
        amount = int(intent.data["amount"])
        credits.gift(session, actor, target, amount, key=intent.id, now=now)
        return amount, target.name
    if intent.kind == "config":
        return _change(session, actor, intent.data, now, check)
    if intent.kind == "enable":
        return disabled.enable_as_owner(session, actor, str(intent.data["member"]), now=now)
    return intent.kind


def _change(
    session: Session, actor: Actor, data: Mapping[str, Any], now: Millis, check: Check
) -> list[SettingChange]:
    """What was tried out, on the settings it was tried with."""
    seen = data.get("seen")
    if "document" not in data:
        return book.change(session, actor, data["values"], check=check, now=now, seen=seen)
    whole = book.replace(session, actor, data["document"], check=check, now=now, seen=seen)
    return [whole] if whole is not None else []


async def confirm(context: Context, target: str) -> Reply:
    """Do it. Raises ``NotFound('intent_unknown')`` when it is not theirs, used, or too old."""
    services, texts = context.services, context.texts
    now = services.clock()
    check = await config.checker_for(services)
    done = await services.database.run(_take, context.actor, target, now, check)
    if isinstance(done, tuple):
        amount, name = done
        return Reply(
            text=texts("gift.done", n=amount, name=name), tone=Tone.GOOD,
            visibility=Visibility.PRIVATE,
        )  # fmt: skip
    if isinstance(done, list):
        whole = texts("config.whole")
        return Reply(
            title=texts("config.saved"),
            text="\n".join(f"- `{change.id}` **{change.path or whole}**" for change in done),
            tone=Tone.GOOD, visibility=Visibility.PRIVATE,
        )  # fmt: skip
    if isinstance(done, Member):
        return Reply(
            text=texts("disabled.enabled", name=done.name or done.external_id), tone=Tone.GOOD,
            visibility=Visibility.PRIVATE,
        )  # fmt: skip
    if done == "workspace":
        return await _remove_workspace(context, now)
    return await _forget(context, now)


async def _remove_workspace(context: Context, now: Millis) -> Reply:
    """Raises ``NotAllowed('owners_only')``, and ``LimitReached('workspace_busy')`` while jobs run:
    they were asked to stop."""
    services, texts = context.services, context.texts
    gone = await services.database.run(removal.remove_as_owner, context.actor, now=now)
    await services.wire.wake()
    if gone.open_jobs:
        raise LimitReached("workspace_busy", n=gone.open_jobs)
    for blob in gone.blobs:
        await asyncio.to_thread(services.blobs.delete, blob)
    return Reply(
        title=texts("privacy.title"),
        text=texts("privacy.workspace_gone", jobs=gone.jobs, made=gone.generations,
                   people=gone.members),
        tone=Tone.GOOD, visibility=Visibility.PRIVATE,
    )  # fmt: skip


async def _forget(context: Context, now: Millis) -> Reply:
    services, texts = context.services, context.texts
    gone = await services.database.run(privacy.forget, context.actor.member, now=now)
    if gone.open_jobs:
        raise LimitReached("forget_busy", n=gone.open_jobs)
    for blob in gone.blobs:
        await asyncio.to_thread(services.blobs.delete, blob)
    text = texts("privacy.forgotten", jobs=gone.jobs, made=gone.generations)
    if gone.kept_for_review:
        text += "\n\n" + texts("privacy.kept", n=gone.kept_for_review)
    return Reply(
        title=texts("privacy.title"), text=text, tone=Tone.GOOD, visibility=Visibility.PRIVATE,
        data={"forgotten": True},  # a front end may remember what was typed, too
    )  # fmt: skip
