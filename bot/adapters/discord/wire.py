"""The calls to Discord that put a page somewhere: a channel, an interaction's answer, a person.

Every one disables mentions, names every file, and raises what discord.py raises.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import discord
from discord import ui

from bot.adapters.discord.files import DEFAULT_LIMIT, Fitted, Remark, fit_all, unmarked
from bot.adapters.discord.render import Page
from storage.blobs import Blobs

SILENT = discord.AllowedMentions.none()
ANSWER = "@"
"""Before a message's id in a post: it is the private answer to an interaction, which only the
interaction's token can edit."""


class Hands:
    """Sends and edits pages."""

    def __init__(self, client: discord.Client, blobs: Blobs, remark: Remark = unmarked) -> None:
        self.client = client
        self._blobs = blobs
        self._remark = remark

    def limit_of(self, channel: int) -> int:
        """Largest file in bytes in a channel, as far as the cache knows."""
        found = self.client.get_channel(channel)
        guild = getattr(found, "guild", None)
        return int(guild.filesize_limit) if guild is not None else DEFAULT_LIMIT

    async def fit(self, page: Page, limit: int) -> list[Fitted]:
        """The page's pictures as uploads of at most ``limit`` bytes each."""
        return await fit_all(self._blobs, page.files, limit, self._remark)

    async def send(
        self,
        channel: int,
        page: Page,
        *,
        nonce: str | None = None,
        reply_to: int | None = None,
        limit: int | None = None,
    ) -> int:
        """A new message; its id. The same ``nonce`` within minutes is the same message."""
        fitted = await self.fit(page, limit or self.limit_of(channel))
        options: dict[str, Any] = {}
        if reply_to is not None:
            options["reference"] = discord.MessageReference(
                message_id=reply_to, channel_id=channel, fail_if_not_exists=False
            )
        target = self.client.get_partial_messageable(channel)
        if nonce is not None:
            options["nonce"] = nonce
        message = await target.send(
            view=laid_out(page, fitted),
            files=[one.upload() for one in fitted],
            allowed_mentions=SILENT,
            **options,
        )
        return message.id

    async def edit(
        self, channel: int, message: int, page: Page, *, limit: int | None = None
    ) -> None:
        """Make a message of ours show this page."""
        fitted = await self.fit(page, limit or self.limit_of(channel))
        partial = self.client.get_partial_messageable(channel).get_partial_message(message)
        await partial.edit(
            view=laid_out(page, fitted),
            attachments=[one.upload() for one in fitted],
            allowed_mentions=SILENT,
        )

    async def delete(self, channel: int, message: int) -> None:
        """Take a message of ours away."""
        await self.client.get_partial_messageable(channel).get_partial_message(message).delete()

    async def answer(
        self,
        token: str,
        message: int,
        pages: Sequence[Page],
        whole: str = "",
        *,
        limit: int | None = None,
    ) -> None:
        """Make the message that answers an interaction show these pages.

        It is one message and each further one could be sent twice, so a text that needs more
        pages goes along as a file: nothing is cut.
        """
        page = pages[0]
        fitted = await self.fit(page, limit or DEFAULT_LIMIT)
        view = laid_out(page, fitted)
        files = [one.upload() for one in fitted]
        if len(pages) > 1 and whole:
            view.add_item(ui.File[Any]("attachment://answer.md"))
            files.append(discord.File(io.BytesIO(whole.encode()), filename="answer.md"))
        await self._hook(token).edit_message(
            message,
            view=view,
            attachments=files,
            allowed_mentions=SILENT,
        )

    async def whisper(self, token: str, page: Page) -> None:
        """One more private message to who used the interaction. Without pictures."""
        hook = discord.Webhook.from_state(
            # Type 3 is an application's: only such a one may say something to one person.
            data={"id": self._application(), "type": 3, "token": token},
            state=self.client._connection,
        )
        await hook.send(view=page.view, ephemeral=True, allowed_mentions=SILENT, wait=True)

    async def direct(self, member: str) -> int:
        """The channel of a person's direct messages."""
        channel = await self.client.create_dm(discord.Object(int(member)))
        return channel.id

    def _hook(self, token: str) -> discord.Webhook:
        return discord.Webhook.partial(self._application(), token, client=self.client)

    def _application(self) -> int:
        application = self.client.application_id
        assert application is not None
        return application


def laid_out(page: Page, fitted: Sequence[Fitted]) -> ui.LayoutView:
    """The page's layout over the files as they are really called, without those that are gone."""
    have = [one.file for one in fitted]
    if list(page.files) == have:
        return page.view
    for item in list(page.view.walk_children()):
        if isinstance(item, ui.MediaGallery):
            if have:
                item.items = [
                    discord.MediaGalleryItem(
                        file.url, description=file.alt[:256] or None, spoiler=file.spoiler
                    )
                    for file in have
                ]
            elif isinstance(item.parent, ui.Container):
                item.parent.remove_item(item)
    return page.view
