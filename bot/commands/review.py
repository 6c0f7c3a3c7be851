"""The review room in chat: `/review`, `/strikes`, and the buttons of a case."""

from __future__ import annotations

from functools import partial

from pydantic import Field as Option

from bot.core import review_room
from bot.core.case_card import NEEDS_WORDS, RULING_OF, ruling_form
from bot.core.command import Command, Context, PressHandler
from bot.core.inputs import Input, Phrase
from bot.core.reply import Button, Field, Form, FormField, Reply, Tone, Verb, Visibility
from storage import credits, review, review_views, strikes
from storage.errors import BadInput, NotAllowed
from storage.models import Case
from storage.review_words import FINAL
from storage.rules import rules_of
from storage.schema import Role, Verdict, role_at_least

LISTED = 10


class ReviewInput(Input):
    """Which case, or which code's; without a word the most urgent one."""

    case: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    code: Phrase = Option(default="", json_schema_extra={"kind": "text"})


class StrikesInput(Input):
    """Whose standing; one's own when nobody is named."""

    member: Phrase = Option(default="", json_schema_extra={"kind": "text"})


async def review_(context: Context, values: ReviewInput) -> Reply:
    """The queue, most urgent first, with the first case open."""
    services, texts = context.services, context.texts
    workspace_id = context.actor.workspace.id
    if values.case:
        return await press_case(context, values.case)
    waiting = await services.database.look(
        review_views.queue, workspace_id, code=values.code.upper(), limit=LISTED
    )
    lines = [_line(case, context) for case in waiting]
    return Reply(
        title=texts("review.title"),
        text="\n".join(lines) or texts("review.empty"),
        visibility=Visibility.PRIVATE,
        buttons=tuple(
            Button(verb=Verb.CASE, target=case.id, label=texts("review.open", n=number))
            for number, case in enumerate(waiting[:5], 1)
        ),
        data={"cases": [case.id for case in waiting]},
    )


def _line(case: Case, context: Context) -> str:
    codes = Verdict.parse(case.verdict).categories()
    code = codes[0] if codes else "-"
    return context.texts(
        "review.line", code=code, severity=case.severity,
        status=context.texts(f"case_status.{case.status}"), case=case.id,
    )  # fmt: skip


async def show_case(context: Context, case_id: str) -> Reply:
    """A case's card as it is now."""
    return await review_room.show_case(context.services, context.actor, case_id, context.texts)


async def press_case(context: Context, target: str) -> Reply:
    """Claim a case and show it; somebody else's claim is named."""
    await context.services.database.run(
        review.claim, context.actor, target[:64], now=context.services.clock()
    )
    return await show_case(context, target[:64])


async def rule(verb: Verb, context: Context, target: str) -> Reply:
    """Decide a case. A ruling that needs words opens its dialogue first."""
    services, texts = context.services, context.texts
    if verb in NEEDS_WORDS and not context.values:
        case = await services.database.run(
            review.claim, context.actor, target, now=services.clock()
        )
        form = ruling_form(verb, case, texts)
        return Reply(title=form.title, form=form, visibility=Visibility.PRIVATE)
    hours = str(context.values.get("hours") or 24)
    if not hours.isdigit() or not 1 <= int(hours) <= 24 * 365:
        raise BadInput("ruling_hours")
    made = await services.database.run(
        review.decide, context.actor, target, RULING_OF[verb], now=services.clock(),
        file_sha256=await review_room.digest_of_file(services, context.actor, target),
        code=str(context.values.get("code") or ""), note=str(context.values.get("note") or ""),
        hours=int(hours),
    )  # fmt: skip
    await services.wire.wake()
    said = texts(f"ruled.{made.action}")
    if made.proposed:
        said = texts("ruled.proposed", what=said)
    undo = made.action in FINAL and not made.proposed
    return Reply(
        title=said,
        text=texts("review.done") if undo else texts("review.noted"),
        tone=Tone.GOOD,
        visibility=Visibility.PRIVATE,
        buttons=(Button(verb=Verb.UNDO, target=made.id, label=texts("button.undo")),)
        if undo else (),
        data={"decision_id": made.id, "case_id": target},
    )  # fmt: skip


async def press_agree(context: Context, target: str) -> Reply:
    """The second pair of eyes confirms a ban."""
    made = await context.services.database.run(
        review.confirm, context.actor, target, now=context.services.clock()
    )
    return _said(context, f"ruled.{made.action}")


async def press_undo(context: Context, target: str) -> Reply:
    """Take one's own ruling back."""
    case = await context.services.database.run(
        review.undo, context.actor, target, now=context.services.clock()
    )
    return await show_case(context, case.id)


async def press_appeal(context: Context, target: str) -> Reply:
    """Ask the owner why, then appeal."""
    services, texts = context.services, context.texts
    case = await services.database.look(
        review.find, target, workspace_id=context.actor.workspace.id
    )
    if case.member_id != context.actor.member.id:
        raise NotAllowed("not_yours")
    if not context.values:
        form = Form(
            title=texts("button.appeal"), submit=texts("button.appeal"), verb=Verb.APPEAL,
            target=target,
            fields=(
                FormField(name="text", label=texts("appeal.why"), kind="long", required=True),
            ),
        )  # fmt: skip
        return Reply(title=form.title, form=form, visibility=Visibility.PRIVATE)
    await services.database.run(
        review.appeal, context.actor, target, str(context.values.get("text") or ""),
        now=services.clock(),
    )  # fmt: skip
    return _said(context, "appeal.done")


async def close_appeal(upheld: bool, context: Context, target: str) -> Reply:
    """Decide an appeal."""
    await context.services.database.run(
        review.decide_appeal, context.actor, target, upheld=upheld,
        file_sha256=await review_room.digest_of_file(context.services, context.actor, target),
        note=str(context.values.get("note") or ""), now=context.services.clock(),
    )  # fmt: skip
    return _said(context, "appeal.upheld" if upheld else "appeal.overturned")


def _said(context: Context, key: str) -> Reply:
    return Reply(text=context.texts(key), tone=Tone.GOOD, visibility=Visibility.PRIVATE)


async def strikes_(context: Context, values: StrikesInput) -> Reply:
    """A member's standing: their own, or for moderators anybody's."""
    services, texts = context.services, context.texts
    person = context.actor.member
    if values.member:
        if not role_at_least(person.role, Role.MODERATOR):
            raise NotAllowed("moderators_only")
        person = await services.database.look(
            credits.find_member, context.actor.workspace.id, values.member
        )
    now = services.clock()
    rules = rules_of(context.actor.workspace.settings).review
    seen = await services.database.look(strikes.standing, person.id, rules, now=now)
    lines = [
        texts("strikes.line", code=texts(f"category.{s.code}"), weight=s.weight,
              days=max(0, (s.expires_at - now) // 86_400_000))
        for s in seen.strikes
    ]  # fmt: skip
    hours = review.banned_hours(person, now)
    fields = [Field(label=texts("strikes.weight"), value=str(seen.weight))]
    if hours:
        fields.append(Field(label=texts("strikes.timed_out"), value=f"{hours} h"))
    return Reply(
        title=texts("strikes.title"),
        text="\n".join(lines) or texts("strikes.none"),
        visibility=Visibility.PRIVATE,
        fields=tuple(fields),
        data={"weight": seen.weight, "hours": hours},
    )


async def press_reveal(context: Context, target: str) -> Reply:
    """The held picture, clear, for the moderator who asked; that they looked is written down."""
    blob = await review_room.reveal(context.services, context.actor, target, context.texts)
    card = await show_case(context, target)
    if blob is None or not card.pictures:
        return card
    clear = card.pictures[0].model_copy(update={"blurred": False})
    return card.model_copy(update={"pictures": (clear,)})


REVIEW = Command(
    name="review", input=ReviewInput, handler=review_, role=Role.MODERATOR, group="review"
)
STRIKES = Command(name="strikes", input=StrikesInput, handler=strikes_, group="mine")

REVIEW_PRESSES: dict[Verb, PressHandler] = {
    Verb.CASE: press_case,
    Verb.REVEAL: press_reveal,
    **{verb: partial(rule, verb) for verb in RULING_OF},
    Verb.AGREE: press_agree,
    Verb.UNDO: press_undo,
    Verb.APPEAL: press_appeal,
    Verb.UPHOLD: partial(close_appeal, True),
    Verb.OVERTURN: partial(close_appeal, False),
}
