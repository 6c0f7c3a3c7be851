"""Context menus on a message: Describe, Use as start image, Report. Three of Discord's five."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import locale_str

from bot.adapters.discord.catalog import attached
from bot.adapters.discord.desk import Desk
from bot.adapters.discord.forms import modal
from bot.adapters.discord.ids import FORM
from bot.adapters.discord.people import of_interaction
from bot.adapters.discord.render import pages, words_for
from bot.adapters.discord.wire import SILENT
from bot.core.attachment import Attachment
from bot.core.command import CommandInfo
from bot.core.reply import Form, FormField, Reply, Tone, Verb
from bot.core.texts import Texts, pick_locale
from storage.schema import Platform

_KEPT_S = 14 * 60.0
_MOST = 500


@dataclass
class Shelf:
    """Pictures chosen by a menu whose dialogue is still open: a dialogue cannot carry them."""

    _kept: OrderedDict[str, tuple[float, Attachment]] = field(default_factory=OrderedDict)

    def put(self, key: str, picture: Attachment) -> None:
        """Keep a picture for a quarter of an hour."""
        self._kept[key] = (time.monotonic() + _KEPT_S, picture)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def take(self, key: str) -> Attachment | None:
        """The picture, once; None when it was taken, is too old, or we were restarted."""
        until, picture = self._kept.pop(key, (0.0, None))
        return picture if until > time.monotonic() else None


def image_option(info: CommandInfo | None) -> str | None:
    """The first picture option of a command, if it has one."""
    if info is None:
        return None
    return next((o.name for o in info.options if o.kind == "image"), None)


def picture_of(message: discord.Message) -> Attachment | None:
    """The first picture on a message, attached or in a card of ours.

    What a layout shows is in its components only: ``attachments`` is empty there, on purpose
    (discord-api-docs#8277). A layout may show pictures of elsewhere too; those are not uploads.
    """
    for file in message.attachments:
        if (file.content_type or "").startswith("image/"):
            return attached(file)
    for media in _media(message.components):
        if media.attachment_id is not None and (media.content_type or "").startswith("image/"):
            return Attachment(
                platform=Platform.DISCORD,
                name=f"{media.attachment_id}",
                url=media.url,
                size=0,  # not told; what is read is counted
                content_type=media.content_type or "",
            )
    return None


def _media(components: Any) -> list[discord.UnfurledMediaItem]:
    """Every picture and film of a layout, in order, however deep."""
    found: list[discord.UnfurledMediaItem] = []
    for component in components:
        if isinstance(component, discord.MediaGalleryComponent):
            found += [item.media for item in component.items]
        found += _media(getattr(component, "children", ()))
    return found


class Menus:
    """The menus' callbacks; only those whose command exists are registered."""

    def __init__(self, desk: Desk, infos: dict[str, CommandInfo]) -> None:
        self._desk = desk
        self._infos = infos
        self.shelf = Shelf()

    def build(self) -> list[app_commands.ContextMenu]:
        """At most three menus."""
        made = []
        if image_option(self._infos.get("describe")):
            made.append(_menu("Describe", "menu.describe", self.describe))
        if image_option(self._infos.get("imagine")):
            made.append(_menu("Use as start image", "menu.start", self.start))
        made.append(_menu("Report", "menu.report", self.report))
        return made

    async def describe(
        self, interaction: discord.Interaction[Any], message: discord.Message
    ) -> None:
        """Put a picture into words."""
        picture = picture_of(message)
        option = image_option(self._infos["describe"])
        if picture is None or option is None:
            await _say(interaction, "menu.no_picture")
            return
        if not await self._desk.acknowledge(interaction):
            return
        scene = of_interaction(interaction)
        await self._desk.invoke(interaction, scene, "describe", {option: picture})

    async def start(self, interaction: discord.Interaction[Any], message: discord.Message) -> None:
        """Ask what to make of a picture; the answer is an `/imagine` that starts from it."""
        picture = picture_of(message)
        if picture is None:
            await _say(interaction, "menu.no_picture")
            return
        words = words_for(pick_locale(str(interaction.locale)))
        self.shelf.put(_shelved(interaction, str(interaction.id)), picture)
        form = Form(
            title=words("menu.start"),
            submit=words("form.submit"),
            fields=(
                FormField(name="prompt", label=words("field.prompt"), kind="long", required=True),
            ),
        )
        key = f"{FORM}start:imagine:{interaction.id}"
        await interaction.response.send_modal(modal(form, words, key))

    async def report(self, interaction: discord.Interaction[Any], message: discord.Message) -> None:
        """Report what one of our cards shows."""
        if not await self._desk.acknowledge(interaction):
            return
        scene = of_interaction(interaction)
        job = await self._desk.core.services.posts.at(
            Platform.DISCORD, str(message.channel.id), str(message.id)
        )
        if job is None:
            words = words_for(pick_locale(scene.locale))
            await self._desk.answer(
                interaction, scene, Reply(text=words("menu.not_ours"), tone=Tone.WARN)
            )
            return
        reply = await self._desk.press(interaction, scene, str(Verb.REPORT), job)
        await self._desk.answer(interaction, scene, reply)

    async def started(
        self, interaction: discord.Interaction[Any], key: str, values: dict[str, Any]
    ) -> None:
        """The dialogue of *Use as start image* came back."""
        if not await self._desk.acknowledge(interaction):
            return
        scene = of_interaction(interaction)
        picture = self.shelf.take(_shelved(interaction, key))
        option = image_option(self._infos.get("imagine"))
        if picture is None or option is None:
            words = words_for(pick_locale(scene.locale))
            await self._desk.answer(
                interaction, scene, Reply(text=words("menu.too_late"), tone=Tone.WARN)
            )
            return
        await self._desk.invoke(
            interaction, scene, "imagine", {"prompt": values.get("prompt", ""), option: picture}
        )


def _shelved(interaction: discord.Interaction[Any], key: str) -> str:
    """Under what a picture is kept: nobody takes another's by naming its event."""
    return f"{interaction.user.id}:{key}"


def _menu(name: str, key: str, callback: Any) -> app_commands.ContextMenu:
    async def run(interaction: discord.Interaction[Any], message: discord.Message) -> None:
        await callback(interaction, message)

    run.__annotations__ = {"interaction": discord.Interaction, "message": discord.Message}
    return app_commands.ContextMenu(
        name=locale_str(name, key=key),
        callback=run,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=True, private_channel=True
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )


async def _say(interaction: discord.Interaction[Any], key: str) -> None:
    words: Texts = words_for(pick_locale(str(interaction.locale)))
    page = pages(Reply(text=words(key), tone=Tone.WARN), words)[0]
    await interaction.response.send_message(view=page.view, ephemeral=True, allowed_mentions=SILENT)
