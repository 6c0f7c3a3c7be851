"""`/config`: everything an admin runs the space with, from inside the chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field as Option

from bot.commands.money import date_of
from bot.core import config
from bot.core.command import Command, Context
from bot.core.inputs import Input, Phrase
from bot.core.limits import COMMAND_OF, rules_in, ruling
from bot.core.reply import Button, Document, Field, Reply, Tone, Verb, Visibility
from moderation import tryout
from storage import book, credits, decisions, document, intents
from storage.access import Ruling
from storage.errors import BadInput, NotAllowed, NotFound
from storage.models import Member, SettingChange
from storage.schema import Role, role_at_least

TRIED = 200
"""Judged contents a changed filter is tried on before it is saved."""
ACTIONS = ("show", "set", "why", "history", "undo", "export", "import", "preset")


class ConfigInput(Input):
    """What to do with the settings. Without a word: the groups, each with its button."""

    action: Literal["show", "set", "why", "history", "undo", "export", "import", "preset"] = Option(
        default="show", json_schema_extra={"kind": "choice", "choices": list(ACTIONS)}
    )
    path: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    value: str = Option(default="", max_length=20_000, json_schema_extra={"kind": "long"})
    member: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    channel: Phrase = Option(default="", json_schema_extra={"kind": "text"})
    what: Phrase = Option(default="", json_schema_extra={"kind": "text"})


async def config_(context: Context, values: ConfigInput) -> Reply:
    """One surface for every setting of this workspace."""
    handlers = {
        "show": _show, "set": _set, "why": _why, "history": _history, "undo": _undo,
        "export": _export, "import": _import, "preset": _preset,
    }  # fmt: skip
    return await handlers[values.action](context, values)


async def _show(context: Context, _: ConfigInput) -> Reply:
    """Every group with what differs from the defaults, and a button for each."""
    texts, settings = context.texts, context.actor.workspace.settings
    fields, buttons = [], []
    for group, members in config.GROUPS.items():
        changed = [
            f"{texts(f'setting.{s.key}')}: {config.shown(book.get(settings, s.path))}"
            for s in members
            if book.get(settings, s.path) is not None
        ]
        fields.append(
            Field(
                label=texts(f"group.{group}"), value="; ".join(changed) or texts("config.default")
            )
        )
        buttons.append(Button(verb=Verb.CONFIG, target=group, label=texts(f"group.{group}")))
    return Reply(
        title=texts("config.title"),
        text=texts("config.text"),
        visibility=Visibility.PRIVATE,
        fields=tuple(fields),
        buttons=tuple(buttons),
        data={"settings": settings},
    )


async def press_config(context: Context, target: str) -> Reply:
    """The button opens a group's dialogue; its values come back to the same verb and are saved."""
    if not role_at_least(context.actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    group, _, mark = target.partition(".")
    settings = context.actor.workspace.settings
    if group not in config.GROUPS:
        raise NotFound("button_unknown")
    if not context.values:
        form = config.form_of(group, settings, context.texts)
        return Reply(title=form.title, form=form, visibility=Visibility.PRIVATE)
    if mark and mark != config.mark_of(group, settings):
        raise BadInput("settings_moved")  # all fields come back: it would undo somebody's change
    known = {setting.path for setting in config.GROUPS[group]}
    given = {
        str(path): config.typed(str(path), str(raw))
        for path, raw in context.values.items()
        if path in known
    }
    # What still equals the default is not a choice: it follows the default when that changes.
    wanted = {
        path: None if value is not None and _same(value, config.default(path)) else value
        for path, value in given.items()
    }
    return await _save(context, wanted)


def _same(value: Any, default: Any) -> bool:
    return config.shown(value) == config.shown(default)


async def _set(context: Context, values: ConfigInput) -> Reply:
    if not values.path:
        raise BadInput("option_missing", option="path")
    return await _save(context, {values.path: config.typed(values.path, values.value)})


async def _save(context: Context, wanted: dict[str, Any]) -> Reply:
    services, settings = context.services, context.actor.workspace.settings
    check = await config.checker_for(services)
    fresh: dict[str, Any] = dict(settings)
    for path, value in wanted.items():
        fresh = book.put(fresh, path, value)
    check(fresh)
    seen = book.snapshot(settings, wanted)
    if tryout.differ(settings, fresh):
        return await _tried(context, fresh, {"values": wanted, "seen": seen})
    made = await services.database.run(
        book.change, context.actor, wanted, check=check, now=services.clock(), seen=seen
    )
    return _saved(context, made)


async def _tried(context: Context, fresh: dict[str, Any], data: dict[str, Any]) -> Reply:
    """What these settings' filters would have done to what was judged last; the button does what
    ``data`` says."""
    services, texts, space = context.services, context.texts, context.actor.workspace
    past = await services.database.look(decisions.last_decisions, workspace_id=space.id, most=TRIED)
    tried = await asyncio.to_thread(tryout.tried, past, space.settings, fresh)
    intent = await services.database.run(
        intents.ask, context.actor, "config", data, now=services.clock()
    )
    shown = {row.id: row for row in past}
    examples = [
        f"- {config.veiled(shown[i].text)}" for i in tried.newly_restricted[:3] if shown[i].text
    ]
    moves = ", ".join(
        f"{' → '.join(texts(f'mod.outcome_{word}') for word in move.split('>'))}: {count}"
        for move, count in sorted(tried.moves.items())
    )
    return Reply(
        title=texts("config.tried"),
        text="\n".join(
            [
                texts("config.would", n=tried.n, more=len(tried.newly_restricted),
                      fewer=len(tried.newly_allowed)),
                *examples,
            ]
        ),
        visibility=Visibility.PRIVATE,
        fields=(Field(label=texts("config.moves"), value=moves or texts("config.none")),),
        buttons=(
            Button(verb=Verb.CONFIRM, target=intent, label=texts("config.apply"), style="primary"),
        ),
        data={"n": tried.n, "changed": tried.changed, "moves": dict(tried.moves)},
    )  # fmt: skip


def _saved(context: Context, made: list[SettingChange]) -> Reply:
    texts = context.texts
    if not made:
        return Reply(text=texts("config.same"), visibility=Visibility.PRIVATE)
    return Reply(
        title=texts("config.saved"),
        text="\n".join(_line(change, context) for change in made),
        tone=Tone.GOOD,
        visibility=Visibility.PRIVATE,
        data={"changes": [change.id for change in made]},
    )


def _line(change: SettingChange, context: Context) -> str:
    texts = context.texts
    zone = rules_in(context).credits.timezone
    path = change.path or texts("config.whole")
    before, after = (
        config.shown(side.get("value")) or texts("config.default") if change.path else "…"
        for side in (change.before, change.after)
    )
    return f"- {date_of(change.created_at, zone)} `{change.id}` **{path}**: {before} → {after}"


async def _history(context: Context, _: ConfigInput) -> Reply:
    texts = context.texts
    made = await context.services.database.look(book.history, context.actor.workspace.id)
    return Reply(
        title=texts("config.history"),
        text="\n".join(_line(change, context) for change in made) or texts("config.no_history"),
        visibility=Visibility.PRIVATE,
        data={
            "changes": [
                {"id": c.id, "path": c.path, "before": c.before, "after": c.after,
                 "by": c.member_id, "at": c.created_at}
                for c in made
            ]
        },
    )  # fmt: skip


async def _undo(context: Context, values: ConfigInput) -> Reply:
    """Take back the change named in ``value``, or the last one."""
    services = context.services
    wanted = values.value.strip()
    if not wanted:
        last = await services.database.look(book.history, context.actor.workspace.id, limit=1)
        if not last:
            raise NotFound("change_unknown")
        wanted = last[0].id
    made = await services.database.run(
        book.undo, context.actor, wanted, check=await config.checker_for(services),
        now=services.clock(),
    )  # fmt: skip
    return _saved(context, [made])


async def _export(context: Context, _: ConfigInput) -> Reply:
    space = context.actor.workspace
    text = document.dump(space.settings, title=space.name or space.external_id)
    return Reply(
        title=context.texts("config.title"),
        text=f"```toml\n{text}```",
        visibility=Visibility.PRIVATE,
        document=Document(
            name="atelier-settings.toml", media_type="application/toml", content=text.encode()
        ),
        data={"toml": text},
    )


async def _import(context: Context, values: ConfigInput) -> Reply:
    """Put a whole file in place. A broken one names line and field and changes nothing."""
    text = values.value.removeprefix("```toml").strip("`")
    settings, now = document.load(text), context.actor.workspace.settings
    check = await config.checker_for(context.services, text)
    check(settings)
    if tryout.differ(now, settings):
        return await _tried(context, settings, {"document": settings, "seen": now})
    return await _replaced(context, lambda _: settings, check)


async def _preset(context: Context, values: ConfigInput) -> Reply:
    name = values.value.strip() or values.path
    if name not in config.PRESETS:
        raise NotFound("preset_unknown", name=name[:40], known=", ".join(config.PRESETS))
    now = context.actor.workspace.settings
    fresh = config.with_preset(now, name)
    check = await config.checker_for(context.services)
    check(fresh)
    if tryout.differ(now, fresh):
        return await _tried(context, fresh, {"document": fresh, "seen": now})
    return await _replaced(context, lambda settings: config.with_preset(settings, name), check)


async def _replaced(
    context: Context, make: Callable[[Mapping[str, Any]], Mapping[str, Any]], check: book.Check
) -> Reply:
    """Whole settings in place that change no filter."""
    services = context.services
    made = await services.database.run(
        book.rewrite, context.actor, make, check=check, now=services.clock()
    )
    return _saved(context, [made] if made is not None else [])


async def _why(context: Context, values: ConfigInput) -> Reply:
    """Which rule would let this member use this command in this channel, or refuse it."""
    services, texts = context.services, context.texts
    person: Member = context.actor.member
    if values.member:
        person = await services.database.look(
            credits.find_member, context.actor.workspace.id, values.member
        )
    command = values.what.strip().lstrip("/") or COMMAND_OF[next(iter(COMMAND_OF))]
    info = next((one for one in context.catalog(texts.locale) if one.name == command), None)
    if info is None:
        raise NotFound("command_unknown", command=command[:40])
    channel = "".join(config.ids_in(values.channel))
    if role_at_least(person.role, info.role):
        said = await ruling(context, command, person=person, channel=channel)
    else:  # asked before any rule, and no rule can lift it
        said = Ruling(allowed=False, code="role", trail=("role",))
    steps = "\n".join(f"{n}. {texts(f'trail.{code}')}" for n, code in enumerate(said.trail, 1))
    verdict = texts("why.yes" if said.allowed else "why.no", command=command,
                    name=person.name or person.external_id)  # fmt: skip
    return Reply(
        title=texts("why.title"),
        text=f"{verdict}\n\n{steps}",
        tone=Tone.GOOD if said.allowed else Tone.WARN,
        visibility=Visibility.PRIVATE,
        data={"allowed": said.allowed, "rule": said.code, "trail": list(said.trail)},
    )


CONFIG = Command(name="config", input=ConfigInput, handler=config_, role=Role.ADMIN, group="space")
