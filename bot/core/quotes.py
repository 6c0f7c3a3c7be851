"""What something would cost, before anything is queued or held."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bot.core.cards import balance
from bot.core.limits import check_rules, rules_in
from bot.core.reply import Field, Reply, Tone, Visibility
from storage import places, prices
from storage.schema import AnySpec, ImageSpec, JobKind
from storage.tiers import within

if TYPE_CHECKING:
    from bot.core.command import Context


async def quote_reply(context: Context, spec: AnySpec) -> Reply:
    """The price by the published function that also settles it, the balance, and the wait.

    Says what would refuse it: raises the same ``MemberError`` as the real thing for rules and
    tiers. Nothing is stored.
    """
    services, texts = context.services, context.texts
    await check_rules(context, "imagine" if isinstance(spec, ImageSpec) else "ask")
    within(spec, context.actor.tier, rules_in(context))
    card = services.registry.find(spec.model, JobKind(spec.kind))
    price = prices.quote(spec, card)
    held = await balance(services, context.actor)
    wait = await services.database.look(places.work_ahead, now=services.clock())
    wait += prices.estimate_ms(spec, card)
    enough = held.available >= price
    return Reply(
        title=texts("quote.title"),
        text=texts("quote.text" if enough else "quote.short", n=price),
        tone=Tone.INFO if enough else Tone.WARN,
        visibility=Visibility.PRIVATE,
        fields=(
            Field(label=texts("field.cost"), value=texts("amount.credits", n=price)),
            Field(label=texts("credits.available"), value=str(held.available)),
            Field(label=texts("quote.wait"), value=texts("quote.seconds", n=-(-wait // 1000))),
            Field(label=texts("field.model"), value=card.title),
        ),
        data={"price": price, "available": held.available, "wait_ms": wait, "dry_run": True},
    )


async def throw_away(context: Context, reply: Reply) -> Reply:
    """Forget pictures that were only taken in to reckon with."""
    for source in context.taken:
        await asyncio.to_thread(context.services.blobs.delete, source.blob)
    context.taken.clear()
    return reply
