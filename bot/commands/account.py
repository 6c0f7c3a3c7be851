"""`/credits`, `/queue`, `/history`, `/job`, `/cancel`, `/help`: a member's own affairs."""

from __future__ import annotations

from pydantic import Field as Option

from bot.commands.presses import cancel as press_cancel
from bot.commands.presses import show
from bot.core.cards import balance, timeline
from bot.core.command import Command, Context
from bot.core.inputs import Input, Phrase
from bot.core.reply import Field, Reply, Visibility
from storage import views


class NoInput(Input):
    """A command without options."""


class JobInput(Input):
    """A job by its id."""

    job: Phrase = Option(json_schema_extra={"kind": "text"})


async def credits(context: Context, _: NoInput) -> Reply:
    """The member's balance, what is reserved, and what the tier gives."""
    held = await balance(context.services, context.actor)
    texts, tier = context.texts, context.actor.tier
    return Reply(
        title=texts("credits.title"),
        text=texts("credits.text", available=held.available),
        visibility=Visibility.PRIVATE,
        fields=(
            Field(label=texts("credits.available"), value=str(held.available)),
            Field(label=texts("credits.reserved"), value=str(held.pending)),
            Field(label=texts("credits.tier"), value=tier.id),
            Field(label=texts("credits.monthly"), value=str(tier.monthly_credits)),
        ),
        data={"available": held.available, "pending": held.pending, "posted": held.posted},
    )


async def queue(context: Context, _: NoInput) -> Reply:
    """The member's open jobs and how many wait in all."""
    services, texts = context.services, context.texts
    mine = await services.database.look(
        views.history,
        workspace_id=context.actor.workspace.id,
        member_id=context.actor.member.id,
        limit=50,
        now=services.clock(),
    )
    places = [seen.place for seen in mine if seen.place is not None]
    waiting = sorted(place.place for place in places if place.place)
    total = max((place.total for place in places), default=0)
    text = texts("queue.none") if not waiting else texts(
        "queue.some", mine=len(waiting), first=waiting[0], total=total
    )  # fmt: skip
    return Reply(
        title=texts("queue.title"), text=text, visibility=Visibility.PRIVATE,
        data={"places": waiting, "total": total},
    )  # fmt: skip


async def history(context: Context, _: NoInput) -> Reply:
    """The member's last jobs, one line each, newest first."""
    texts = context.texts
    cards = await timeline(context.services, context.actor, locale=texts.locale, limit=10)
    lines = [f"- **{card.title}** {card.prompt[:80]} `{card.job_id}`" for card in reversed(cards)]
    return Reply(
        title=texts("history.title"),
        text="\n".join(lines) or texts("history.none"),
        visibility=Visibility.PRIVATE,
        data={"jobs": [card.data for card in reversed(cards)]},
    )


async def job(context: Context, values: JobInput) -> Reply:
    """Bring a job's card and its buttons back."""
    return await show(context, values.job)


async def cancel(context: Context, values: JobInput) -> Reply:
    """Stop a job by its id."""
    return await press_cancel(context, values.job)


async def help_(context: Context, _: NoInput) -> Reply:
    """Every command with its options, as this front end offers them."""
    texts = context.texts
    lines = []
    for info in context.catalog(texts.locale):
        names = " ".join(f"`{option.name}`" for option in info.options)
        lines.append(f"- **/{info.name}** {names}: {info.help}".replace("  ", " "))
    return Reply(
        title=texts("help.title"),
        text=texts("help.intro") + "\n\n" + "\n".join(lines),
        visibility=Visibility.PRIVATE,
    )


CREDITS = Command(name="credits", input=NoInput, handler=credits)
QUEUE = Command(name="queue", input=NoInput, handler=queue)
HISTORY = Command(name="history", input=NoInput, handler=history)
JOB = Command(name="job", input=JobInput, handler=job)
CANCEL = Command(name="cancel", input=JobInput, handler=cancel)
HELP = Command(name="help", input=NoInput, handler=help_)
