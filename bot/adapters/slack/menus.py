"""The entries in a message's own menu: Describe, Use as start image, Report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.adapters.slack import events, views
from bot.adapters.slack.desk import Desk, image_option
from bot.adapters.slack.events import Scene
from bot.adapters.slack.render import words_for
from bot.adapters.slack.views import Ticket
from bot.core.reply import Reply, Tone, Verb
from storage.schema import Platform


def file_of(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first picture of a message: a file somebody shared, or one that a card of ours shows."""
    shared = events.first_picture(message.get("files"))
    if shared is not None:
        return shared
    for block in message.get("blocks") or []:
        file = block.get("slack_file") if block.get("type") == "image" else None
        if isinstance(file, dict) and file.get("id"):
            return {"id": file["id"]}
    return None


async def describe(desk: Desk, scene: Scene, message: Mapping[str, Any], key: str) -> None:
    """`/describe` of the message's picture."""
    file = file_of(message)
    person = await desk.people.find(scene.member, scene.name)
    info = desk.info("describe", person.locale)
    option = image_option(info)
    if file is None or info is None or option is None:
        await _no(desk, scene, "slack.no_picture")
        return
    await desk.invoke(scene, person, info.name, {option: await desk.file(file)}, key)


async def start_image(desk: Desk, scene: Scene, message: Mapping[str, Any], key: str) -> None:
    """`/imagine` with the message's picture chosen as what it starts from."""
    file = file_of(message)
    locale = desk.people.locale(scene.member) or "en"
    info = desk.info("imagine", locale)
    option = image_option(info)
    if file is None or info is None or option is None or not file.get("id"):
        await _no(desk, scene, "slack.no_picture")
        return
    ticket = Ticket(
        command=info.name, channel=scene.channel, thread=scene.thread, option=option,
        file=str(file["id"])[:40],
    )  # fmt: skip
    view = views.command_form(info, words_for(locale), ticket)
    await desk.open(scene, view)


async def report(desk: Desk, scene: Scene, message: Mapping[str, Any], key: str) -> None:
    """Report a card of ours to the moderators."""
    ts = str(message.get("ts", ""))
    job_id = await desk.core.services.posts.at(Platform.SLACK, scene.channel, ts)
    if job_id is None:
        await _no(desk, scene, "slack.not_ours")
        return
    await desk.press(scene, Verb.REPORT, job_id, key)


async def _no(desk: Desk, scene: Scene, words: str) -> None:
    person = await desk.people.find(scene.member, scene.name)
    text = words_for(person.locale)(words)
    await desk.whisper(scene, person, Reply(text=text, tone=Tone.WARN))
