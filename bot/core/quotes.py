"""What something would cost, before anything is queued or held."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.core.cards import balance
from bot.core.limits import check_rules, rules_in
from bot.core.reply import Field, Reply, Tone, Visibility
from bot.core.texts import credits_in_words
from storage import places, prices
from storage.cache import keys_of
from storage.foresight import foresight
from storage.schema import AnySpec, ImageSpec, JobKind, Millis
from storage.tiers import within

if TYPE_CHECKING:
    from bot.core.command import Context


@dataclass(frozen=True)
class Quote:
    """What a job is held for, the rate it is settled by, and what is foreseen of it."""

    price: int
    """Credits, the most it can cost; 0 for what the recipe cache holds."""
    rate: int
    estimate_ms: Millis
    cached: bool


async def quote(context: Context, spec: AnySpec, *, again: bool = False) -> Quote:
    """The one function that the dry run, the page and the reservation ask.

    By the prices of this workspace; in a place that has not installed us, by the published ones.
    ``again`` makes something anew for comparison, which the cache never answers.
    """
    services = context.services
    card = services.registry.find(spec.model, JobKind(spec.kind))
    keys = keys_of(spec, services.registry) if services.recipe_cache and not again else None
    seen = await services.database.look(
        foresight, spec, card, workspace_id=context.actor.workspace.id, keys=keys
    )
    rate = prices.rate_of(spec, card, rules_in(context).prices)
    price = 0 if seen.cached else prices.quote(spec, card, rate)
    return Quote(price, rate, seen.estimate_ms, seen.cached)


async def quote_reply(context: Context, spec: AnySpec, *, again: bool = False) -> Reply:
    """The price by the published function that also settles it, the balance, and the wait.

    Says what would refuse it: raises the same ``MemberError`` as the real thing for rules and
    tiers. Nothing is stored.
    """
    services, texts = context.services, context.texts
    await check_rules(context, "imagine" if isinstance(spec, ImageSpec) else "ask")
    within(spec, context.actor.tier, rules_in(context))
    card = services.registry.find(spec.model, JobKind(spec.kind))
    asked = await quote(context, spec, again=again)
    price = asked.price
    held = await balance(services, context.actor)
    wait = asked.estimate_ms
    if not asked.cached:
        wait += await services.database.look(places.work_ahead, now=services.clock())
    enough = held.available >= price
    said = "quote.text" if enough else "quote.short"
    return Reply(
        title=texts("quote.title"),
        text=texts("quote.cached") if asked.cached else texts(said, n=price),
        tone=Tone.INFO if enough else Tone.WARN,
        visibility=Visibility.PRIVATE,
        fields=(
            Field(label=texts("field.cost"), value=credits_in_words(price, texts)),
            Field(label=texts("credits.available"), value=str(held.available)),
            Field(label=texts("quote.left"), value=str(held.available - price)),
            Field(label=texts("quote.wait"), value=texts("quote.seconds", n=-(-wait // 1000))),
            Field(label=texts("field.model"), value=card.title),
        ),
        data={
            "price": price, "available": held.available, "wait_ms": wait, "cached": asked.cached,
            "dry_run": True,
        },
    )  # fmt: skip


async def throw_away(context: Context, reply: Reply) -> Reply:
    """Forget pictures that were only taken in to reckon with."""
    for source in context.taken:
        await asyncio.to_thread(context.services.blobs.delete, source.blob)
    context.taken.clear()
    return reply
