"""One card on Slack: its message, its pictures' files, the messages that continue it."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack.calls import Closed, Gone, Refusal, asked
from bot.adapters.slack.pictures import Pictures
from bot.adapters.slack.render import (
    PREVIEW,
    Message,
    continuations,
    file_key,
    message,
    words_for,
)
from bot.core.quiet import for_all, for_one, is_delicate, mark_of
from bot.core.reply import Button, Document, Reply, Verb
from bot.core.texts import Texts
from storage.errors import AtelierError
from storage.posts import Placed, Posts
from storage.schema import TERMINAL_STATUSES, JobStatus, Platform

log = logging.getLogger(__name__)

_KNOWN_AND_GONE = frozenset({"duplicate_message_not_found", "duplicate_channel_not_found"})
"""Slack took this very message before, and somebody has deleted it since."""
_KEPT = 1_000
PREVIEW_S = 8.0
"""Shortest time between two previews of one job: each is an upload of its own."""


class Cards:
    """Draws cards and remembers what belongs to them. Not for two drawers of one job at a time.

    Everything raises what :func:`~bot.adapters.slack.calls.asked` raises.
    """

    def __init__(
        self,
        client: AsyncWebClient,
        posts: Posts,
        pictures: Pictures,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._posts = posts
        self._pictures = pictures
        self._clock = clock
        self._previewed: dict[str, float] = {}

    async def post(self, placed: Placed, first: Message, locale: str) -> Placed:
        """A job's new message, noted; in the member's direct messages when it may not be there.

        Raises ``Closed`` when there is nowhere to put it.
        """
        if await self._posts.begin(placed.job_id) is None:
            return placed
        channel, thread = placed.address.channel, placed.address.thread
        if placed.private and not is_direct(channel):
            channel, thread = await self.direct(placed.member), None
        try:
            ts = await self.send(channel, thread, first, once=once_of(placed, channel))
        except Closed:
            if is_direct(channel):
                raise
            channel, thread = await self.direct(placed.member), None
            ts = await self.send(channel, None, first, once=once_of(placed, channel))
            await self._posts.shown(placed.job_id, ts, channel=channel, thread=None)
            await self.send(channel, ts, Message(text=words_for(locale)("slack.elsewhere")))
            return await self._posts.get(placed.job_id) or placed
        await self._posts.shown(placed.job_id, ts, channel=channel, thread=thread)
        return await self._posts.get(placed.job_id) or placed

    async def place(self, placed: Placed, reply: Reply) -> Placed:
        """A message for a result that has none yet: a placeholder, to be redrawn at once."""
        texts = words_for(reply.locale)
        running = Reply(
            job_id=reply.job_id, kind=reply.kind, status=JobStatus.RUNNING, author=reply.author,
            prompt=reply.prompt, title=texts("status.running"), locale=reply.locale,
            buttons=(_show(reply, texts),),
        )  # fmt: skip
        placed = await self.post(placed, message(running, texts), reply.locale)
        if placed.address.message is None:
            raise Closed("the card is final already")
        return placed

    async def redraw(self, placed: Placed, reply: Reply) -> None:
        """The card as it is now, in place of what its message shows."""
        at = placed.address
        assert at.message is not None
        files = await self._files(placed, reply)
        outdated = await self._preview(placed, reply, files)
        texts = words_for(reply.locale)
        shown = reply if is_direct(at.channel) else for_all(reply, texts)
        await self.edit(at.channel, at.message, message(shown, texts, files))
        await self._pictures.forget(outdated)
        if reply.status in TERMINAL_STATUSES:
            self._previewed.pop(placed.job_id, None)
            await self._continue(placed, reply)
            await self._clean(placed, reply, files)

    async def copy(self, reply: Reply, channel: str, thread: str | None) -> None:
        """A card shown once more, elsewhere (`/job`, Favourite): its buttons work as well.

        It shows the card's own files, so that what is deleted or hidden later is gone there too.
        """
        files = await self._files(await self._card_of(reply), reply, note=False)
        texts = words_for(reply.locale)
        shown = reply if is_direct(channel) else for_all(reply, texts)
        ts = await self.send(channel, thread, message(shown, texts, files))
        for more in continuations(reply, texts):
            await self.send(channel, thread or ts, more)

    async def redraw_copy(self, placed: Placed, reply: Reply, channel: str, ts: str) -> None:
        """A copy as its card is now."""
        files = await self._files(placed, reply, note=False)
        texts = words_for(reply.locale)
        shown = reply if is_direct(channel) else for_all(reply, texts)
        await self.edit(channel, ts, message(shown, texts, files))

    async def tell(self, placed: Placed, reply: Reply) -> None:
        """Say to who asked, and to nobody else, why their card shows nothing; once."""
        channel, mark = placed.address.channel, mark_of(reply)
        if is_direct(channel) or not is_delicate(reply) or placed.extra.get("told") == mark:
            return
        note = message(for_one(reply), words_for(reply.locale))
        try:
            await asked(
                self._client.chat_postEphemeral(
                    channel=channel, user=placed.member, text=note.text,
                    blocks=note.blocks or None, thread_ts=placed.address.thread, link_names=False,
                )
            )  # fmt: skip
        except (Closed, Gone, Refusal) as error:
            log.info("no note beside the card: %s", error)
            await self.send(await self.direct(placed.member), None, note)
        await self._posts.note(placed.job_id, told=mark)

    # -- parts ---------------------------------------------------------------------------------

    async def _card_of(self, reply: Reply) -> Placed | None:
        """Where the card is whose pictures a reply shows once more; None when not on Slack."""
        job_id = reply.job_id or reply.data.get("kept_of")
        placed = await self._posts.get(str(job_id)) if job_id else None
        ours = placed is not None and placed.address.platform is Platform.SLACK
        return placed if ours else None

    async def _files(
        self, placed: Placed | None, reply: Reply, *, note: bool = True
    ) -> dict[str, str]:
        """The Slack file of each picture that may be shown, uploaded now where there is none.

        Every new one is noted at once: a restart shows it instead of uploading it again. A copy
        notes nothing (``note``): the card itself may be drawn at the same moment.
        """
        files: dict[str, str] = dict(placed.extra.get("files", {})) if placed is not None else {}
        shown = [picture for picture in reply.pictures if picture.blob is not None]
        for picture in shown:
            key = file_key(picture)
            if key not in files:
                file = await self._pictures.upload_picture(picture)
                if file is not None:
                    files[key] = file
                    if placed is not None and note:
                        await self._posts.note(placed.job_id, files=files)
        for picture in shown:
            if file_key(picture) in files:
                await self._pictures.ready(files[file_key(picture)])
        return files

    async def _preview(self, placed: Placed, reply: Reply, files: dict[str, str]) -> dict[str, str]:
        """Put the newest checked preview of a running job into ``files``; returns the one before.

        Uploaded now and then only, and best effort: one that cannot be shown is left out.
        """
        blob = reply.progress.preview if reply.progress is not None else None
        last, now = self._previewed.get(placed.job_id, float("-inf")), self._clock()
        if blob is None or reply.status is not JobStatus.RUNNING or now - last < PREVIEW_S:
            return {}
        if len(self._previewed) > _KEPT:  # jobs that ended without a last drawing
            self._previewed = {j: at for j, at in self._previewed.items() if now - at < PREVIEW_S}
        self._previewed[placed.job_id] = now
        name = f"atelier-preview-{placed.job_id[-6:].lower()}"
        alt = words_for(reply.locale)("slack.preview", prompt=reply.prompt[:300])
        try:
            file = await self._pictures.upload(blob, name=name, alt=alt)
            if file is None:
                return {}
            await self._pictures.ready(file)
        except AtelierError as error:
            log.info("no preview: %s", error)
            return {}
        before = {PREVIEW: files[PREVIEW]} if PREVIEW in files else {}
        files[PREVIEW] = file
        await self._posts.note(placed.job_id, files=files)
        return before

    async def _continue(self, placed: Placed, reply: Reply) -> None:
        """The messages that continue a long answer, in the card's thread."""
        at = placed.address
        parts = continuations(reply, words_for(reply.locale))
        posted = list(placed.extra.get("more", []))
        for index, part in enumerate(parts):
            if index == len(posted):
                waiting = Message(text=part.text[:40], blocks=part.blocks[-1:])
                once = once_of(placed, at.channel, index + 1)
                where = at.thread or at.message
                posted.append(await self.send(at.channel, where, waiting, once=once))
                await self._posts.note(placed.job_id, more=posted)
            await self.edit(at.channel, posted[index], part)
        for ts in posted[len(parts) :]:
            try:
                await asked(self._client.chat_delete(channel=at.channel, ts=ts))
            except (Gone, Refusal):
                log.debug("a continuation is gone already")
        if len(posted) > len(parts):
            await self._posts.note(placed.job_id, more=posted[: len(parts)])

    async def _clean(self, placed: Placed, reply: Reply, files: dict[str, str]) -> None:
        """Deleted is deleted: the bytes go from Slack too."""
        shown = {file_key(picture) for picture in reply.pictures if picture.blob is not None}
        gone = {key: file for key, file in files.items() if key not in shown}
        if gone:
            await self._pictures.forget(gone)
            kept = {key: file for key, file in files.items() if key in shown}
            await self._posts.note(placed.job_id, files=kept)

    # -- calls ---------------------------------------------------------------------------------

    async def direct(self, member: str) -> str:
        """The channel of somebody's direct messages with us. Raises ``Closed``."""
        answer = await asked(self._client.conversations_open(users=member))
        return str(answer["channel"]["id"])

    async def hand_over(self, document: Document, channel: str) -> None:
        """A file for one person, in their direct messages."""
        await asked(
            self._client.files_upload_v2(
                channel=channel, file=document.content, filename=document.name,
                title=document.name,
            )
        )  # fmt: skip

    async def send(
        self, channel: str, thread: str | None, what: Message, *, once: str | None = None
    ) -> str:
        """A new message; its id. ``once`` is the same for every try of one message (a UUID).

        ``client_msg_id`` is how Slack's own clients repeat a message whose answer was lost: the
        same id is the same message. It is documented by its two errors only, so nothing relies on
        it: where it is ignored, a lost first card stays behind until somebody presses it.
        """
        try:
            answer = await asked(
                self._client.chat_postMessage(
                    channel=channel, thread_ts=thread, text=what.text, blocks=what.blocks or None,
                    unfurl_links=False, unfurl_media=False, link_names=False, parse="none",
                    client_msg_id=once,
                )
            )  # fmt: skip
        except Refusal as error:
            if once is None or error.code not in _KNOWN_AND_GONE:
                raise
            return await self.send(channel, thread, what)
        return str(answer["ts"])

    async def edit(self, channel: str, ts: str, what: Message) -> None:
        """Put this in place of what a message shows."""
        await asked(
            self._client.chat_update(
                channel=channel, ts=ts, text=what.text, blocks=what.blocks,
                link_names=False, parse="none",
            )
        )  # fmt: skip


def _show(reply: Reply, texts: Texts) -> Button:
    """For a placeholder that stays behind: it brings the card into its place."""
    return Button(verb=Verb.SHOW, target=reply.job_id or "", label=texts("slack.home.show"))


def once_of(placed: Placed, channel: str, part: int = 0) -> str:
    """The same UUID for every try to post one message of a job in one channel. A card that was
    deleted there and is shown once more is another message."""
    what = f"{placed.nonce}:{channel}:{placed.address.message or ''}:{part}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, what))


def is_direct(channel: str) -> bool:
    """Whether a channel is somebody's direct messages with us."""
    return channel.startswith("D")
