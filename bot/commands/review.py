"""The review room in chat: `/review`, `/strikes`, and the buttons of a case."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field as Option

from bot.core import door, review_room
from bot.core.case_card import (
    BLIND_RULING,
    NEEDS_WORDS,
    RULING_OF,
    due_in_words,
    ruling_form,
    steal_button,
)
from bot.core.command import Command, Context, PressHandler, error_reply
from bot.core.inputs import Input, Phrase
from bot.core.reply import Button, Field, Form, FormField, Link, Reply, Tone, Verb, Visibility
from storage import (
    credits,
    disabled,
    duty,
    intents,
    review,
    review_appeals,
    review_blind,
    review_undo,
    strikes,
)
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.review_queue import Waiting, filter_of
from storage.review_words import DISABLED, FINAL, FIRST
from storage.rules import rules_of
from storage.schema import Millis, Role, Verdict, role_at_least

LISTED = 10


ONLY = ("late", "free", "reported", "appealed", "pictures", "answers")


class ReviewInput(Input):
    """Which case, or which part of the queue; without a word the whole of it."""

    case: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    code: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    only: Literal["", "late", "free", "reported", "appealed", "pictures", "answers"] = Option(
        default="", json_schema_extra={"kind": "choice", "choices": list(ONLY)}
    )
    page: Literal["", "open", "leave"] = Option(
        default="", json_schema_extra={"kind": "choice", "choices": ["open", "leave"]}
    )


class StrikesInput(Input):
    """Whose standing; one's own when nobody is named."""

    member: Phrase = Option(default="", json_schema_extra={"kind": "text"})


async def review_(context: Context, values: ReviewInput) -> Reply:
    """The queue, most urgent first, with what the law asks of admins until one took note."""
    services, texts, actor = context.services, context.texts, context.actor
    if values.page:
        return await _page(context, values.page == "open")
    if values.case:
        return await press_case(context, values.case)
    wanted = filter_of({"code": values.code.upper()} | _PARTS.get(values.only, {}))
    waiting = await review_room.waiting(services, actor, wanted=wanted, limit=LISTED)
    again = await review_room.second_looks(services, actor)
    now = services.clock()
    lines = [_line(one, context, now) for one in waiting]
    if again:
        lines.append("\n" + texts("review.second_looks", n=len(again)))
    buttons = [
        Button(verb=Verb.CASE, target=one.case.id, label=texts("review.open", n=number))
        for number, one in enumerate(waiting[:5], 1)
    ]
    if again:
        buttons.append(
            Button(verb=Verb.SECOND_LOOK, target=again[0].id, label=texts("button.second_look"))
        )
    text = "\n".join(lines) or texts("review.empty")
    if await services.database.look(duty.acknowledged, actor.workspace.id) is None:
        text = f"**{texts('duty.title')}** {texts('duty.text')}\n\n{text}"
        label = texts("button.duty")
        buttons.append(Button(verb=Verb.DUTY, target=actor.workspace.id, label=label))
    return Reply(
        title=texts("review.title"),
        text=text,
        visibility=Visibility.PRIVATE,
        buttons=tuple(buttons),
        data={"cases": [one.case.id for one in waiting], "second": [case.id for case in again]},
    )


async def _page(context: Context, wanted: bool) -> Reply:
    """The way into the room's page, for this moderator alone; or an end to all their visits."""
    texts = context.texts
    if not wanted:
        await door.leave_all(context.services, context.actor)
        return _said(context, "door.left")
    url = await door.link_for(context.services, context.actor)
    return Reply(
        title=texts("door.title"),
        text=texts("door.link"),
        link=Link(url=url, label=texts("door.open")),
        visibility=Visibility.PRIVATE,
    )


_PARTS: dict[str, dict[str, object]] = {
    "late": {"late": True}, "free": {"free": True}, "reported": {"origin": "reported"},
    "appealed": {"origin": "appealed"}, "pictures": {"kind": "image"}, "answers": {"kind": "chat"},
}  # fmt: skip


def _line(one: Waiting, context: Context, now: Millis) -> str:
    case, texts = one.case, context.texts
    codes = Verdict.parse(case.verdict).categories()
    code = codes[0] if codes else texts("case.reported_only")
    if case.severity >= FIRST:
        code = texts("case.ncii_short")
    status = texts(f"case_status.{case.status}")
    if one.holder:
        status = texts("review.held_by", name=one.holder)
    due = due_in_words(case.due_at, texts, now) if case.due_at is not None else ""
    return texts(
        "review.line", code=code, severity=min(case.severity, 4), status=status, case=case.id,
        due=due,
    )  # fmt: skip


async def show_case(context: Context, case_id: str) -> Reply:
    """A case's card as it is now."""
    return await review_room.show_case(context.services, context.actor, case_id, context.texts)


async def press_case(context: Context, target: str) -> Reply:
    """Claim a case and show it; somebody else's claim is named, and an admin may take it over."""
    try:
        await context.services.database.run(
            review.claim, context.actor, target[:64], now=context.services.clock()
        )
    except LimitReached as held:
        refused = error_reply(held, context.texts)
        if not review_room.may_steal(context.actor):
            return refused
        return refused.model_copy(update={"buttons": (steal_button(target[:64], context.texts),)})
    return await show_case(context, target[:64])


async def press_steal(context: Context, target: str) -> Reply:
    """Take somebody else's lock over: admins only, and a line in the audit log."""
    if not review_room.may_steal(context.actor):
        raise NotAllowed("admins_only")
    await context.services.database.run(
        review.claim, context.actor, target, now=context.services.clock(), steal=True
    )
    return await show_case(context, target)


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
    workspace_id = context.actor.workspace.id
    made = await services.database.run(
        review.decide, context.actor, target, RULING_OF[verb], now=services.clock(),
        file_sha256=await review_room.digest_of_file(services, workspace_id, target),
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


async def press_second_look(context: Context, target: str) -> Reply:
    """A decided case as if nobody had decided it."""
    actor = context.actor
    waiting = await review_room.second_looks(context.services, actor)
    if target not in {case.id for case in waiting}:
        raise NotFound("case_over")
    return await review_room.show_case(context.services, actor, target, context.texts, blind=True)


async def look(verb: Verb, context: Context, target: str) -> Reply:
    """The second look's own ruling: nothing changes but a figure."""
    services, texts = context.services, context.texts
    if verb in NEEDS_WORDS and not context.values:
        case = await services.database.look(
            review.find, target, workspace_id=context.actor.workspace.id
        )
        review_room.may_review(context.actor)
        form = ruling_form(verb, case, texts)
        return Reply(title=form.title, form=form, visibility=Visibility.PRIVATE)
    await services.database.run(
        review_blind.decide_blind, context.actor, target, BLIND_RULING[verb],
        code=str(context.values.get("code") or ""), now=services.clock(),
    )  # fmt: skip
    return _said(context, "review.looked")


async def press_duty(context: Context, target: str) -> Reply:
    """An admin takes note of what the law asks of whoever runs this."""
    done = await context.services.database.run(
        duty.acknowledge, context.actor, now=context.services.clock()
    )
    return Reply(
        text=context.texts("duty.done", name=done.name), tone=Tone.GOOD,
        visibility=Visibility.PRIVATE,
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
        review_undo.undo, context.actor, target, now=context.services.clock()
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
        review_appeals.appeal, context.actor, target, str(context.values.get("text") or ""),
        now=services.clock(),
    )  # fmt: skip
    return _said(context, "appeal.done")


async def close_appeal(upheld: bool, context: Context, target: str) -> Reply:
    """Decide an appeal."""
    await context.services.database.run(
        review_appeals.decide_appeal, context.actor, target, upheld=upheld,
        file_sha256=await review_room.digest_of_file(
            context.services, context.actor.workspace.id, target
        ),
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
    kept_out = person.banned_until == DISABLED
    hours = 0 if kept_out else review.banned_hours(person, now)
    fields = [Field(label=texts("strikes.weight"), value=str(seen.weight))]
    if hours:
        fields.append(Field(label=texts("strikes.timed_out"), value=f"{hours} h"))
    if kept_out:
        fields.append(Field(label=texts("disabled.label"), value=texts("disabled.until")))
    owner = context.actor.member.role == Role.OWNER
    if owner and not values.member:
        others = await services.database.look(disabled.listed, context.actor.workspace.id)
        if others:
            names = ", ".join(one["name"] or one["member"] for one in others)
            fields.append(Field(label=texts("disabled.who"), value=names))
    buttons: tuple[Button, ...] = ()
    if person.id == context.actor.member.id:
        buttons = await _appeals(context)
    if owner and kept_out and person.id != context.actor.member.id:
        buttons = (await _may_enable(context, person.id),)
    return Reply(
        title=texts("strikes.title"),
        text="\n".join(lines) or texts("strikes.none"),
        visibility=Visibility.PRIVATE,
        fields=tuple(fields),
        buttons=buttons,
        data={"weight": seen.weight, "hours": hours, "disabled": kept_out},
    )


async def _appeals(context: Context) -> tuple[Button, ...]:
    """A button for each of one's own strikes that can still be appealed, the newest five."""
    open_ones = await context.services.database.look(
        strikes.appealable, context.actor.member, now=context.services.clock()
    )
    label, newest = context.texts("button.appeal"), open_ones[-5:]

    def named(code: str) -> str:
        return label if len(newest) == 1 else f"{label}: {context.texts(f'category.{code}')}"

    return tuple(
        Button(verb=Verb.APPEAL, target=one.case_id or "", label=named(one.code)) for one in newest
    )


async def _may_enable(context: Context, member_id: str) -> Button:
    """The owner's button that lets a disabled member make things again."""
    services = context.services
    intent = await services.database.run(
        intents.ask, context.actor, "enable", {"member": member_id}, now=services.clock()
    )
    label = context.texts("disabled.enable")
    return Button(verb=Verb.CONFIRM, target=intent, label=label, style="danger")


async def press_reveal(context: Context, target: str) -> Reply:
    """The held picture, clear, for the moderator who asked; that they looked is written down."""
    services, actor = context.services, context.actor
    blob = await review_room.reveal(services, actor, target)
    blind = target in {case.id for case in await review_room.second_looks(services, actor)}
    card = await review_room.show_case(services, actor, target, context.texts, blind=blind)
    if blob is None or not card.pictures:
        return card
    clear = card.pictures[0].model_copy(update={"blurred": False})
    seen = await review_room.exposure(services, actor)
    text = card.text
    if seen.rest:
        rest = context.texts("review.rest", hour=seen.hour, day=seen.day)
        text = f"**{rest}**\n\n{text}"
    return card.model_copy(update={"pictures": (clear,), "text": text})


REVIEW = Command(
    name="review", input=ReviewInput, handler=review_, role=Role.MODERATOR, group="review"
)
STRIKES = Command(name="strikes", input=StrikesInput, handler=strikes_, group="mine")

REVIEW_PRESSES: dict[Verb, PressHandler] = {
    Verb.CASE: press_case,
    Verb.STEAL: press_steal,
    Verb.REVEAL: press_reveal,
    **{verb: partial(rule, verb) for verb in RULING_OF},
    Verb.SECOND_LOOK: press_second_look,
    **{verb: partial(look, verb) for verb in BLIND_RULING},
    Verb.DUTY: press_duty,
    Verb.AGREE: press_agree,
    Verb.UNDO: press_undo,
    Verb.APPEAL: press_appeal,
    Verb.UPHOLD: partial(close_appeal, True),
    Verb.OVERTURN: partial(close_appeal, False),
}
