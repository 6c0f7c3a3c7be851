"""`/credits`, `/gift`, `/redeem`, `/link`; for admins `/grant`, `/tier`, `/code`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field as Option

from bot.core.command import Command, Context
from bot.core.dates import date_of as date_of
from bot.core.inputs import Input, Phrase
from bot.core.limits import check_pace, rules_in
from bot.core.reply import Button, Field, Reply, Tone, Verb, Visibility
from bot.core.texts import Texts
from storage import credits, intents, linking
from storage.allowance import DAY_MS
from storage.models import Entry
from storage.prices import READ_AS_ONE, READ_FREE, TOKENS_PER_CREDIT
from storage.registry import Registry
from storage.rules import Prices
from storage.schema import JobKind, Role

LISTED = 20
"""Ledger lines on the credits card; the web page and its CSV have them all."""


class NoInput(Input):
    """A command without options."""


class GiftInput(Input):
    """To whom, and how much."""

    member: Phrase = Option(json_schema_extra={"kind": "text"})
    amount: int = Option(ge=1, le=1_000_000, json_schema_extra={"kind": "integer"})


class RedeemInput(Input):
    """A code somebody gave out."""

    code: Phrase = Option(json_schema_extra={"kind": "text"})


class GrantInput(Input):
    """An admin's correction: more, or with a minus less."""

    member: Phrase = Option(json_schema_extra={"kind": "text"})
    amount: int = Option(ge=-1_000_000, le=1_000_000, json_schema_extra={"kind": "integer"})
    reason: Phrase = Option(json_schema_extra={"kind": "text"})


class TierInput(Input):
    """A member's tier by an admin's hand; an empty tier takes the last grant back."""

    member: Phrase = Option(json_schema_extra={"kind": "text"})
    tier: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    days: int | None = Option(default=None, ge=1, le=3650, json_schema_extra={"kind": "integer"})
    reason: Phrase = Option(default="", json_schema_extra={"kind": "text"})


class CodeInput(Input):
    """A new promotional code."""

    code: Phrase = Option(json_schema_extra={"kind": "text"})
    amount: int = Option(ge=1, le=1_000_000, json_schema_extra={"kind": "integer"})
    uses: int = Option(default=1, ge=1, le=1_000_000, json_schema_extra={"kind": "integer"})
    days: int | None = Option(default=None, ge=1, le=3650, json_schema_extra={"kind": "integer"})


class LinkInput(Input):
    """Without a code: get one. With one: join this account to where the code came from."""

    code: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    undo: bool = Option(default=False, json_schema_extra={"kind": "flag"})


def price_list(registry: Registry, prices: Prices, texts: Texts) -> str:
    """What things cost here, in words, from the same cards and rates the quote uses."""
    return "\n".join(f"- {line}" for line in _priced(registry, prices, texts))


def _priced(registry: Registry, prices: Prices, texts: Texts) -> Iterator[str]:
    usual = (registry.image_default, registry.chat_default, registry.vision_default)
    for card in registry.cards.values():
        enlarges = card.kind is JobKind.IMAGE and card.purpose == "enlarge"
        if card.name not in usual and not enlarges and card.name not in prices.models:
            continue
        own = card.factor * prices.models.get(card.name, 100) / 10_000
        size, name = f"{card.width}x{card.height}", card.title
        if enlarges:
            n = f"{own * prices.upscale:g}"
            yield texts("credits.price_upscale", n=n, size=size)
        elif card.kind is JobKind.IMAGE:
            n = f"{own * prices.picture:g}"
            yield texts("credits.price_image", n=n, size=size, steps=card.steps, model=name)
        else:
            about = card.name == registry.vision_default and card.name != registry.chat_default
            n = f"{own * (prices.vision if about else prices.answer):g}"
            key = "credits.price_vision" if about else "credits.price_chat"
            yield texts(key, n=n, tokens=TOKENS_PER_CREDIT, free=READ_FREE, read=READ_AS_ONE,
                        model=name)  # fmt: skip
    yield texts("credits.price_least")


def entry_line(entry: Entry, account: str, texts: Texts, zone: str) -> str:
    """One ledger line in words: day, signed credits, what for, and the job it belongs to."""
    signed = entry.amount if entry.credit == account else -entry.amount
    job = f" `{entry.job_id}`" if entry.job_id else ""
    return f"- {date_of(entry.at, zone)} **{signed:+d}** {texts(f'entry.{entry.kind}')}{job}"


async def show_credits(context: Context, _: NoInput) -> Reply:
    """Balance, what it is made of, when more comes, the price list, the last entries."""
    services, texts, tier = context.services, context.texts, context.actor.tier
    seen = await services.database.look(
        credits.statement, context.actor, now=services.clock(), last=LISTED
    )
    rules = rules_in(context)
    zone = rules.credits.timezone
    made_of = texts(
        "credits.pots", daily=seen.pots.daily, monthly=seen.pots.monthly, lasting=seen.pots.lasting
    )
    lines = [entry_line(entry, seen.account, texts, zone) for entry in seen.entries]
    text = texts("credits.text", available=seen.balance.available)
    if lines:
        text += f"\n\n**{texts('credits.last')}**\n\n" + "\n".join(lines)
    text += f"\n\n**{texts('credits.prices')}**\n\n" + price_list(
        services.registry, rules.prices, texts
    )
    return Reply(
        title=texts("credits.title"),
        text=text,
        visibility=Visibility.PRIVATE,
        fields=(
            Field(label=texts("credits.available"), value=str(seen.balance.available)),
            Field(label=texts("credits.reserved"), value=str(seen.balance.pending)),
            Field(label=texts("credits.made_of"), value=made_of),
            Field(label=texts("credits.tier"), value=tier.id),
            Field(label=texts("credits.monthly"), value=str(seen.monthly)),
            Field(label=texts("credits.next"), value=date_of(seen.next_grant_at, zone)),
        ),
        data={
            "available": seen.balance.available, "pending": seen.balance.pending,
            "posted": seen.balance.posted, "tier": tier.id,
            "pots": {"daily": seen.pots.daily, "monthly": seen.pots.monthly,
                     "lasting": seen.pots.lasting},
            "next_grant_at": seen.next_grant_at,
            "entries": [entry_data(entry, seen.account) for entry in seen.entries],
        },
    )  # fmt: skip


def entry_data(entry: Entry, account: str) -> dict[str, Any]:
    """One ledger line for programs and for the CSV."""
    return {
        "id": entry.id, "at": entry.at, "kind": entry.kind,
        "credits": entry.amount if entry.credit == account else -entry.amount,
        "job": entry.job_id, "reason": "" if entry.kind == "gift" else entry.reason,
    }  # fmt: skip


async def gift(context: Context, values: GiftInput) -> Reply:
    """Show what would be given to whom; the button does it."""
    services, texts = context.services, context.texts
    target = await services.database.look(
        credits.find_member, context.actor.workspace.id, values.member
    )
    intent = await services.database.run(
        intents.ask, context.actor, "gift", {"member": target.id, "amount": values.amount},
        now=services.clock(),
    )  # fmt: skip
    return Reply(
        title=texts("gift.title"),
        text=texts("gift.ask", n=values.amount, name=target.name),
        visibility=Visibility.PRIVATE,
        buttons=(
            Button(verb=Verb.CONFIRM, target=intent, label=texts("gift.button"), style="primary"),
        ),
    )


async def redeem(context: Context, values: RedeemInput) -> Reply:
    """Credits for a code. Tries count in the member's pace: short codes could be guessed."""
    await check_pace(context)
    got = await context.services.database.run(
        credits.redeem, context.actor, values.code, now=context.services.clock()
    )
    return _done(context, "redeem.done", n=got)


async def grant(context: Context, values: GrantInput) -> Reply:
    """An admin gives or takes credits, with a reason that stays."""
    services = context.services
    target = await services.database.look(
        credits.find_member, context.actor.workspace.id, values.member
    )
    await services.database.run(
        credits.adjust, context.actor, target, values.amount, reason=values.reason,
        key=context.key, now=services.clock(),
    )  # fmt: skip
    return _done(context, "grant.done", n=f"{values.amount:+d}", name=target.name)


async def tier(context: Context, values: TierInput) -> Reply:
    """An admin gives a tier, or takes the grant back."""
    services = context.services
    now = services.clock()
    target = await services.database.look(
        credits.find_member, context.actor.workspace.id, values.member
    )
    await services.database.run(
        credits.give_tier, context.actor, target, values.tier, reason=values.reason, now=now,
        until=now + values.days * DAY_MS if values.days else None,
    )  # fmt: skip
    if not values.tier:
        return _done(context, "tier.taken", name=target.name)
    return _done(context, "tier.done", name=target.name, tier=values.tier)


async def code(context: Context, values: CodeInput) -> Reply:
    """An admin makes a promotional code."""
    services = context.services
    now = services.clock()
    made = await services.database.run(
        credits.make_code, context.actor, values.code, values.amount, uses=values.uses, now=now,
        expires_at=now + values.days * DAY_MS if values.days else None,
    )  # fmt: skip
    return _done(context, "code.done", code=made.code, n=made.credits, uses=made.max_uses)


async def link(context: Context, values: LinkInput) -> Reply:
    """A code to take to the other platform, or the joining of two accounts by one."""
    services, texts = context.services, context.texts
    if values.undo:
        if await services.database.run(linking.unlink, context.actor):
            return _done(context, "link.undone")
        return _done(context, "link.none")
    if values.code:
        await check_pace(context)
        await services.database.run(
            linking.enter_code, context.actor, values.code, now=services.clock()
        )
        return _done(context, "link.done")
    fresh = await services.database.run(linking.ask_code, context.actor, now=services.clock())
    return Reply(
        title=texts("link.title"),
        text=texts("link.code", code=fresh),
        visibility=Visibility.PRIVATE,
        fields=(Field(label=texts("link.field"), value=fresh, code=True),),
        data={"code": fresh},
    )


def _done(context: Context, key: str, **blanks: str | int) -> Reply:
    return Reply(text=context.texts(key, **blanks), tone=Tone.GOOD, visibility=Visibility.PRIVATE)


CREDITS = Command(name="credits", input=NoInput, handler=show_credits, group="mine")
GIFT = Command(name="gift", input=GiftInput, handler=gift, group="mine")
REDEEM = Command(name="redeem", input=RedeemInput, handler=redeem, group="mine")
LINK = Command(name="link", input=LinkInput, handler=link, group="mine")
GRANT = Command(name="grant", input=GrantInput, handler=grant, role=Role.ADMIN, group="space")
TIER = Command(name="tier", input=TierInput, handler=tier, role=Role.ADMIN, group="space")
CODE = Command(name="code", input=CodeInput, handler=code, role=Role.ADMIN, group="space")
