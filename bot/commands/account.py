"""`/credits`, `/queue`, `/history`, `/job`, `/cancel`, `/help`: a member's own affairs."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic import Field as Option

from bot.commands.presses import cancel as press_cancel
from bot.commands.presses import show
from bot.core.cards import kept, timeline
from bot.core.command import Command, CommandInfo, Context
from bot.core.inputs import Input, Phrase
from bot.core.job_card import card
from bot.core.reply import Button, Reply, Verb, Visibility
from bot.core.texts import Texts
from storage import places, views
from storage.errors import NotFound
from storage.schema import OPEN_STATUSES, JobStatus, parse_spec, role_at_least
from storage.views import JobView


class NoInput(Input):
    """A command without options."""


def _bare_id(value: Any) -> Any:
    """The id in `/job show <id>`, however it was typed."""
    return re.sub(r"^\s*show\s+", "", value) if isinstance(value, str) else value


JobId = Annotated[Phrase, BeforeValidator(_bare_id)]


class JobInput(Input):
    """A job by its id."""

    job: JobId = Option(json_schema_extra={"kind": "text"})


class CancelInput(Input):
    """A job by its id; the member's newest open one when none is given."""

    job: Phrase = Option(default="", json_schema_extra={"kind": "text"})


class HistoryInput(Input):
    """Which jobs to list."""

    kept: bool = Option(default=False, json_schema_extra={"kind": "flag"})
    """Only those with something the member keeps."""


async def _mine(context: Context) -> list[JobView]:
    return await context.services.database.look(
        views.history,
        workspace_id=context.actor.workspace.id,
        member_id=context.actor.member.id,
        limit=50,
        now=context.services.clock(),
    )


async def queue(context: Context, _: NoInput) -> Reply:
    """The member's open jobs, each with its place among everything that shares the GPU and when
    it will probably be done, and how many wait in all."""
    services, texts, now = context.services, context.texts, context.services.clock()
    mine = [seen for seen in await _mine(context) if seen.job.status in OPEN_STATUSES]
    total = await services.database.look(views.open_jobs)
    share = await services.database.look(
        places.share_of, context.actor.workspace.id, since=now - HOUR_MS
    )
    longest = await services.database.look(places.work_ahead, now=now)
    facts = [texts("queue.all", total=total)]
    if total:
        facts.append(texts("queue.longest", wait=duration(longest, texts)))
    if share is not None:
        facts.append(texts("queue.share", percent=round(share * 100)))
    lines = []
    for seen in reversed(mine):
        prompt = one_line(parse_spec(seen.job.spec).prompt)
        key = "queue.running" if seen.job.status == JobStatus.RUNNING else "queue.waiting"
        place = seen.place
        lines.append("- " + texts(
            key, prompt=prompt, job=seen.job.id, place=place.place if place else 0,
            wait=duration(max(0, (place.eta_at if place else now) - now), texts),
        ))  # fmt: skip
    return Reply(
        title=texts("queue.title"),
        text="\n".join([" ".join(facts), *(lines or [texts("queue.none")])]),
        visibility=Visibility.PRIVATE,
        data={
            "total": total,
            "longest_ms": longest,
            "share_of_hour": share,
            "jobs": [
                {"job_id": seen.job.id, "status": str(seen.job.status),
                 "place": seen.place.place if seen.place else None,
                 "eta_at": seen.place.eta_at if seen.place else None}
                for seen in reversed(mine)
            ],
        },
    )  # fmt: skip


HOUR_MS = 3_600_000


def duration(ms: int, texts: Texts) -> str:
    """A wait in words, never more exact than we know it."""
    seconds = round(ms / 1000)
    if seconds < 90:
        return texts("wait.seconds", n=max(1, seconds))
    return texts("wait.minutes", n=round(seconds / 60))


def one_line(text: str, limit: int = 60) -> str:
    """The start of a text as one line without marks of Markdown."""
    line = re.sub(r"[*_`#>~|\[\]]", "", " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


async def history(context: Context, values: HistoryInput) -> Reply:
    """The member's last jobs, one line each, newest first, each with a button to bring it back."""
    services, texts = context.services, context.texts
    if values.kept:
        cards = await kept(services, context.actor, locale=texts.locale, limit=10)
    else:
        newest_last = await timeline(services, context.actor, locale=texts.locale, limit=10)
        cards = newest_last[::-1]
    lines = [
        f"{number}. **{one.title}** {one_line(one.prompt)} `{one.job_id}`"
        for number, one in enumerate(cards, 1)
    ]
    none = texts("favourite.none" if values.kept else "history.none")
    text, away = "\n".join(lines) or none, []
    if not values.kept and (away := await _elsewhere(context)):
        text += f"\n\n**{texts('history.elsewhere')}**\n" + "\n".join(
            f"- {one_line(place)}: **{one.title}** {one_line(one.prompt)} `{one.job_id}`"
            for place, one in away
        )
    return Reply(
        title=texts("history.kept" if values.kept else "history.title"),
        text=text,
        visibility=Visibility.PRIVATE,
        buttons=tuple(
            Button(verb=Verb.SHOW, target=one.job_id or "", label=str(number))
            for number, one in enumerate(cards, 1)
        ),
        data={
            "jobs": [one.data for one in cards],
            "elsewhere": [{"place": place, "job_id": one.job_id} for place, one in away],
        },
    )


async def _elsewhere(context: Context) -> list[tuple[str, Reply]]:
    """The person's last jobs where they are linked; their buttons are there, not here."""
    now = context.services.clock()
    found = await context.services.database.look(
        views.elsewhere, context.actor.member, limit=10, now=now
    )
    return [(place, card(seen, context.texts, now=now)) for place, seen in found]


async def job(context: Context, values: JobInput) -> Reply:
    """Bring a job's card and its buttons back."""
    return await show(context, values.job)


async def cancel(context: Context, values: CancelInput) -> Reply:
    """Stop a job: the named one, else the member's newest that is not over."""
    target = values.job
    if not target:
        mine = [seen for seen in await _mine(context) if seen.job.status in OPEN_STATUSES]
        if not mine:
            raise NotFound("nothing_open")
        target = mine[0].job.id
    return await press_cancel(context, target)


GROUPS = ("make", "mine", "review", "space", "more")
"""The headings of `/help`, in order."""


async def help_(context: Context, _: NoInput) -> Reply:
    """Every command this member may use, under its heading, with its options."""
    texts = context.texts
    usable = [
        info
        for info in context.catalog(texts.locale)
        if role_at_least(context.actor.member.role, info.role)
    ]
    parts = [texts("help.intro")]
    for group in GROUPS:
        infos = [
            info for info in usable if (info.group if info.group in GROUPS else "more") == group
        ]
        if infos:
            parts.append(f"**{texts(f'help.group.{group}')}**\n" + "\n".join(map(_usage, infos)))
    return Reply(
        title=texts("help.title"),
        text="\n\n".join(parts),
        visibility=Visibility.PRIVATE,
        data={"commands": [info.name for info in usable]},
    )


def _usage(info: CommandInfo) -> str:
    """One command: what it does, then what may be said with it."""
    options = " ".join(f"`{option.name}`" for option in info.options)
    return f"- **/{info.name}** {info.help}" + (f" ({options})" if options else "")


QUEUE = Command(name="queue", input=NoInput, handler=queue, group="mine")
HISTORY = Command(name="history", input=HistoryInput, handler=history, group="mine")
JOB = Command(name="job", input=JobInput, handler=job, group="mine", visibility=Visibility.PUBLIC)
CANCEL = Command(name="cancel", input=CancelInput, handler=cancel, group="mine")
HELP = Command(name="help", input=NoInput, handler=help_)
