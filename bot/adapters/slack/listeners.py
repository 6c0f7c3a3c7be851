"""What we listen to. Every listener acknowledges first and only then thinks (3 s, then it is lost).

An event that Slack sends again (it was slow, we were) is taken once: by its id while Redis
remembers, and by the job's key for ever.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from slack_bolt.app.async_app import AsyncApp
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.set_suggested_prompts.async_set_suggested_prompts import (
    AsyncSetSuggestedPrompts,
)

from bot.adapters.slack import events, views
from bot.adapters.slack.buttons import ACTION, pressed
from bot.adapters.slack.calls import asked
from bot.adapters.slack.desk import Desk, elsewhere
from bot.adapters.slack.home import show_home, suggested
from bot.adapters.slack.manifest import ROOT
from bot.adapters.slack.menus import describe, report, start_image
from bot.adapters.slack.render import words_for
from bot.adapters.slack.views import Ticket
from bot.core.reply import Verb
from storage import removal
from storage.errors import AtelierError
from storage.schema import Platform

log = logging.getLogger(__name__)

SHORTCUTS: dict[str, Callable[..., Awaitable[None]]] = {
    "describe": describe,
    "start_image": start_image,
    "report": report,
}
"""Message shortcuts by callback id."""
_SUBTYPES = (None, "file_share", "thread_broadcast")


def listen(app: AsyncApp, desk: Desk) -> None:
    """Register everything."""
    for name in (ROOT, *desk.core.commands):
        app.command(f"/{name}")(_safe(desk, _command(desk, name)))
    app.action(ACTION)(_safe(desk, _press(desk)))
    app.view(views.FORM)(_safe(desk, _submit(desk)))
    for callback_id, act in SHORTCUTS.items():
        entry: dict[str, str | re.Pattern[str]] = {
            "type": "message_action",
            "callback_id": callback_id,
        }
        app.shortcut(entry)(_safe(desk, _menu(desk, act)))
    app.event("app_mention")(_safe(desk, _mention(desk)))
    app.event("message")(_safe(desk, _message(desk)))
    app.event("app_home_opened")(_safe(desk, _home(desk)))
    app.event("agent_session_stopped")(_safe(desk, _stopped(desk)))
    app.event("app_uninstalled")(_safe(desk, _uninstalled(desk)))
    # Buttons of old cards whose verb we no longer know, and whatever else: acknowledged.
    app.action(re.compile(".*"))(_ignored)

    @app.error
    async def failed(error: Exception) -> None:
        log.error("bug before a Slack listener", exc_info=error)


def _safe(desk: Desk, listener: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """A listener whose errors end here. Bolt would take back an acknowledgement that is younger
    than its ten milliseconds when a listener raises, and Slack would say that nobody answered.
    Bolt gives what a signature names, so every listener has to name ``body``."""

    @wraps(listener)
    async def safe(**given: Any) -> None:
        try:
            await listener(**given)
        except Exception as error:
            ack = given.get("ack")
            if ack is not None and ack.response is None:
                await ack()
            await _failed(desk, error, given["body"])

    return safe


async def _failed(desk: Desk, error: Exception, body: dict[str, Any]) -> None:
    """Write it down, and tell who waits what is known."""
    if isinstance(error, AtelierError):
        log.warning("an answer did not reach Slack: %s", error)
    else:
        log.error("bug in a Slack listener", exc_info=error)
    scene = events.of_any(body)
    if scene is not None:
        try:
            await desk.sorry(scene, error)
        except AtelierError as again:
            log.info("nor did the reason: %s", again)


async def _ignored(ack: AsyncAck) -> None:
    await ack()


def _uninstalled(desk: Desk) -> Callable[..., Awaitable[None]]:
    async def on_uninstalled(body: dict[str, Any]) -> None:
        """A team took us out: noted, and nothing is deleted by it."""
        services = desk.core.services
        await services.database.run(
            removal.note_app, platform=Platform.SLACK, workspace=desk.workspace, there=False,
            now=services.clock(),
        )  # fmt: skip

    return on_uninstalled


def _command(desk: Desk, name: str) -> Callable[..., Awaitable[None]]:
    async def on_command(ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        scene = events.of_command(body)
        key = await desk.first_sight(desk.workspace, scene.trigger)
        if key is None:
            return
        text = str(body.get("text") or "").strip()
        line = f"/{name} {text}" if name != ROOT else f"/{text.removeprefix('/') or 'help'}"
        bare = line[1:].strip()
        locale = desk.people.locale(scene.member) or "en"
        info = desk.info(bare, locale)
        # A slash command carries no file: what takes one is asked for in a dialogue.
        asks = info is not None and any(o.required or o.kind == "file" for o in info.options)
        if info is not None and asks:
            ticket = Ticket(command=info.name, channel=scene.channel)
            view = views.command_form(info, words_for(locale), ticket)
            await desk.open(scene, view)
            return
        await desk.typed(scene, line, key, None)

    return on_command


def _press(desk: Desk) -> Callable[..., Awaitable[None]]:
    async def on_press(ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
        await ack()
        scene = events.of_interaction(body)
        found = pressed(action)
        key = await desk.first_sight(desk.workspace, scene.trigger)
        if found is not None and key is not None:
            await desk.press(scene, *found, key)

    return on_press


def _submit(desk: Desk) -> Callable[..., Awaitable[None]]:
    async def on_submit(ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]) -> None:
        wrong = _wrong(desk, body, view)
        if wrong is not None:
            await ack(response_action="errors", errors=wrong)
            return
        await ack()
        ticket = views.ticket_of(view)
        scene = elsewhere(events.of_interaction(body), ticket)
        key = await desk.first_sight(desk.workspace, str(view.get("id", "")), "submitted")
        if key is None:
            return
        values = views.values_of(view)
        person = await desk.people.find(scene.member, scene.name)
        if ticket.option:
            values[ticket.option] = {"id": ticket.file}
        for name, value in values.items():
            if isinstance(value, dict):
                values[name] = await desk.file(value)
        if ticket.verb:
            await desk.press(scene, ticket.verb, ticket.target, key, values)
            if ticket.verb == Verb.CONFIG and not scene.channel:  # it was opened from Home
                await show_home(desk, scene.member)
        else:
            await desk.invoke(scene, person, ticket.command, values, key)

    return on_submit


def _wrong(desk: Desk, body: dict[str, Any], view: dict[str, Any]) -> dict[str, str] | None:
    """What a command's dialogue can be told before it closes, by input; asks nobody anything."""
    ticket = views.ticket_of(view)
    if not ticket.command:
        return None
    typed = {k: v for k, v in views.values_of(view).items() if isinstance(v, str)}
    locale = desk.people.locale(events.of_interaction(body).member) or "en"
    found = desk.core.problem(ticket.command, typed, locale)
    inputs = [str(b["block_id"]) for b in view.get("blocks", []) if b.get("type") == "input"]
    if found is None or not inputs:
        return None
    wanted = views.block_id(found[0])
    return {wanted if wanted in inputs else inputs[0]: found[1]}


def _menu(desk: Desk, act: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def on_shortcut(ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        scene = events.of_interaction(body)
        key = await desk.first_sight(desk.workspace, scene.trigger)
        if key is not None:
            await act(desk, scene, body.get("message") or {}, key)

    return on_shortcut


def _mention(desk: Desk) -> Callable[..., Awaitable[None]]:
    async def on_mention(body: dict[str, Any], event: dict[str, Any]) -> None:
        if event.get("bot_id") or event.get("subtype") not in _SUBTYPES:
            return
        event_id = str(body.get("event_id", ""))
        key = await desk.first_sight(desk.workspace, event_id, message=True)
        if key is not None:
            line = events.typed(str(event.get("text") or ""))
            await desk.typed(events.of_message(event), line, key, event.get("files"))

    return on_mention


def _message(desk: Desk) -> Callable[..., Awaitable[None]]:
    async def on_message(body: dict[str, Any], event: dict[str, Any]) -> None:
        ours = event.get("bot_id") or not event.get("user")
        if ours or event.get("channel_type") != "im" or event.get("subtype") not in _SUBTYPES:
            return
        event_id = str(body.get("event_id", ""))
        key = await desk.first_sight(desk.workspace, event_id, message=True)
        if key is not None:
            line = events.typed(str(event.get("text") or ""))
            await desk.typed(events.of_message(event), line, key, event.get("files"))

    return on_message


def _home(desk: Desk) -> Callable[..., Awaitable[None]]:
    async def on_home(
        body: dict[str, Any],
        event: dict[str, Any],
        set_suggested_prompts: AsyncSetSuggestedPrompts | None = None,
    ) -> None:
        if await desk.first_sight(desk.workspace, str(body.get("event_id", ""))) is None:
            return
        member = str(event.get("user", ""))
        if event.get("tab") == "home":
            await show_home(desk, member)
        elif set_suggested_prompts is not None:
            person = await desk.people.find(member)
            title, prompts = suggested(person.locale)
            await asked(set_suggested_prompts(prompts=prompts, title=title))

    return on_home


def _stopped(desk: Desk) -> Callable[..., Awaitable[None]]:
    async def on_stop(body: dict[str, Any], event: dict[str, Any]) -> None:
        """Slack's own Stop button: cancels what is being made in that thread, if it is theirs."""
        key = await desk.first_sight(desk.workspace, str(body.get("event_id", "")))
        if key is None:
            return
        scene = events.of_message(event)
        posts = desk.core.services.posts
        jobs = []
        for ts in event.get("streaming_message_ts") or []:
            jobs.append(await posts.at(Platform.SLACK, scene.channel, str(ts)))
        if scene.thread is not None:
            jobs += await posts.open_in(Platform.SLACK, scene.channel, scene.thread)
        for index, job_id in enumerate(dict.fromkeys(job for job in jobs if job is not None)):
            await desk.press(scene, Verb.CANCEL, job_id, f"{key}-{index}")
        if scene.thread is not None:
            await desk.sessions.done(scene.channel, scene.thread)

    return on_stop
