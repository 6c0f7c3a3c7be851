"""Reporting what others can see, by a button, a menu or `/report`; and what became of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Option

from bot.core.case_card import due_in_words
from bot.core.command import Command, Context, PressHandler
from bot.core.guards import may_see
from bot.core.inputs import Input, Phrase
from bot.core.reply import Button, Reply, Tone, Verb, Visibility
from storage import cases, reports
from storage.errors import NotFound
from storage.reports import NCII, Answered, Reported
from storage.review_words import AGAINST
from storage.schema import JobKind, is_id


class ReportInput(Input):
    """What is reported, and as what; without an id it lists one's own reports."""

    about: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    kind: Literal["rules", "ncii"] = Option(
        default="rules", json_schema_extra={"kind": "choice", "choices": ["rules", "ncii"]}
    )


async def report_(context: Context, values: ReportInput) -> Reply:
    """Report a picture, an answer or all of a job by its id; `/report ncii ID` works as typed."""
    about, kind = values.about.strip(), values.kind
    first, _, rest = about.partition(" ")
    if first.casefold() == NCII:
        about, kind = rest.strip(), "ncii"
    about = about.strip("`#<> ")
    if not about:
        return await _own(context, ncii=kind == NCII)
    if not is_id(about):
        raise NotFound("report_unknown")
    return await (report_ncii if kind == NCII else report)(context, about)


async def report(context: Context, target: str) -> Reply:
    """Open a case about something visible, or about each picture of a job; the same report twice
    is one case. Offers to say that it is an intimate picture."""
    made, _ = await _file(context, target, "")
    texts = context.texts
    offer: tuple[Button, ...] = ()
    if any(kind == JobKind.IMAGE for kind in made):
        offer = (
            Button(
                verb=Verb.REPORT_NCII, target=target, label=texts("button.report_ncii"),
                style="danger", confirm=texts("confirm.report_ncii"),
            ),
        )  # fmt: skip
    return Reply(
        text=texts("report.thanks"), tone=Tone.GOOD, visibility=Visibility.PRIVATE, buttons=offer
    )


async def report_ncii(context: Context, target: str) -> Reply:
    """An intimate picture of somebody who did not agree: hidden at once, first in the queue."""
    _, found = await _file(context, target, NCII)
    texts, now = context.texts, context.services.clock()
    due = min((one.due_at for one in found if one.due_at is not None), default=None)
    if due is None:
        return Reply(
            text=texts("report.ncii_stands"), tone=Tone.INFO, visibility=Visibility.PRIVATE
        )
    hidden = all(one.hidden for one in found)
    said = [
        texts("report.ncii_hidden") if hidden else texts("report.ncii_first"),
        texts("report.ncii_late")
        if due <= now
        else texts("report.ncii_due", due=due_in_words(due, texts, now)),
        texts("report.ncii_private"),
        texts("report.ncii_more"),
    ]
    return Reply(
        title=texts("report.ncii_title"), text="\n\n".join(said), tone=Tone.GOOD,
        visibility=Visibility.PRIVATE, data={"due_at": due, "hidden": hidden},
    )  # fmt: skip


async def _file(context: Context, target: str, kind: str) -> tuple[list[str], list[Reported]]:
    """Report a generation, or every one of a job that can be; their kinds and what came of it."""
    services, workspace_id = context.services, context.actor.workspace.id
    try:
        made = [await services.database.look(cases.generation, target, workspace_id=workspace_id)]
    except NotFound:
        made = await services.database.look(cases.generations, target, workspace_id=workspace_id)
        if not made:
            raise
    await may_see(context, made[0].job_id)
    kinds, found = [], []
    for one in made:
        try:
            done = await services.database.run(
                reports.report, one.id, actor=context.actor, now=services.clock(), kind=kind
            )
        except NotFound:
            continue  # of several pictures, one that is not shown
        kinds.append(str(one.kind))
        found.append(done)
    if not found:
        raise NotFound("generation_unknown")
    await services.wire.wake()
    return kinds, found


async def _own(context: Context, *, ncii: bool) -> Reply:
    """How to report, and what came of one's own reports."""
    texts, services = context.texts, context.services
    mine = await services.database.look(reports.own, context.actor)
    now = services.clock()
    lines = [_line(one, context, now) for one in mine]
    how = texts("report.how_ncii") if ncii else texts("report.how")
    return Reply(
        title=texts("report.title"),
        text="\n\n".join([how, "\n".join(lines) or texts("report.none")]),
        visibility=Visibility.PRIVATE,
        data={"reports": len(mine)},
    )


def _line(one: Answered, context: Context, now: int) -> str:
    texts = context.texts
    kind = texts("report.kind_ncii") if one.kind == NCII else texts("report.kind_rules")
    ago = due_in_words(one.at, texts, now) if one.at < now else texts("report.just_now")
    if one.action:
        said = texts("report.acted" if one.action in AGAINST else "report.stays")
    elif one.due_at is None or one.due_at <= now:
        said = texts("report.waits_late")
    else:
        said = texts("report.waits", due=due_in_words(one.due_at, texts, now))
    return f"- {kind}, {ago}: {said}"


REPORT = Command(name="report", input=ReportInput, handler=report_)

REPORT_PRESSES: dict[Verb, PressHandler] = {
    Verb.REPORT: report,
    Verb.REPORT_NCII: report_ncii,
}
