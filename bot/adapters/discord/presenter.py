"""Cards where they belong on Discord, each exactly once, whatever dies or refuses meanwhile.

A card is an ordinary message in its channel, so that it can be edited for ever and by any
process. Where we may not post (or only the asker may see it) it is the answer to the interaction,
for the 13 minutes that is possible, and after that a direct message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from weakref import WeakValueDictionary

import discord
from discord import ui

from bot.adapters.discord.editor import CHANNEL_GAP_S, GAP_S, Editor
from bot.adapters.discord.faults import EXPECTED, Fault, fault_of
from bot.adapters.discord.lookup import find_card
from bot.adapters.discord.placing import (
    ANSWERED,
    DIRECT,
    answer_of,
    away,
    is_fresh,
    nonce_of,
    reads_alone,
    reduced,
)
from bot.adapters.discord.render import Page, pages, words_for
from bot.adapters.discord.wire import Hands
from bot.core.quiet import for_all, for_one, is_delicate, mark_of
from bot.core.reply import Reply
from bot.core.services import Services
from storage.errors import RetryLater
from storage.posts import Placed, PostState
from storage.schema import TERMINAL_STATUSES, Address

log = logging.getLogger(__name__)

_SMALLER = (None, 4 * 2**20, 2**20)
"""File limits tried in turn when Discord says that a message is too large."""


class Way(StrEnum):
    """How a card reaches its reader."""

    EDIT = "edit"  # the message it is already
    SEND = "send"  # a new message in the channel
    TOKEN = "token"  # the answer to the interaction
    DIRECT = "direct"  # a new direct message


class DiscordPresenter:
    """Discord's :class:`~bot.core.presenter.Presenter`. Run :attr:`editor` beside the client."""

    def __init__(
        self,
        services: Services,
        client: discord.Client,
        *,
        gap_s: float = GAP_S,
        channel_gap_s: float = CHANNEL_GAP_S,
    ) -> None:
        self._posts = services.posts
        self.hands = Hands(client, services.blobs, services.remark)
        self.editor = Editor(self._refresh, gap_s, channel_gap_s)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._prints: dict[str, list[str]] = {}

    async def present(self, address: Address, reply: Reply) -> None:
        """Put a finished job's card in place. Raises ``RetryLater``."""
        job = _job(reply)
        self.editor.drop(job)
        async with self._lock(job):
            post = await self._posts.get(job)
            if post is None or post.state is PostState.LOST:
                return
            if await self._show(post, reply, final=True):
                self.editor.revive(job)
                await self._tell(job, reply)
                await self._posts.finished(job)
            else:
                log.info("the card of job %s has no place left", job)
                await self._posts.lost(job)
            self._prints.pop(job, None)

    async def update(self, address: Address, reply: Reply) -> None:
        """Show progress, coalesced."""
        self.editor.put(address.thread or address.channel, reply)

    async def publish(self, reply: Reply, *, reply_to: int | None = None) -> bool:
        """The first showing of a fresh job's card; False when it could not be put anywhere yet.

        Delivery tries again when the job is done. A card that is up already is left alone.
        """
        job = _job(reply)
        async with self._lock(job):
            post = await self._posts.get(job)
            if post is None or not is_fresh(post):
                return True
            try:
                return await self._show(post, reply, final=False, reply_to=reply_to)
            except RetryLater:
                return False

    async def notify(self, address: Address, reply: Reply) -> None:
        """See :class:`~bot.core.presenter.Notifier`: a new message in a channel."""
        try:
            for page in pages(reply, words_for(reply.locale)):
                await self.hands.send(int(address.channel), page)
        except ValueError:
            log.warning("%r is no channel of Discord's", address.channel[:40])
        except EXPECTED as error:
            if fault_of(error) is Fault.WAIT:
                raise RetryLater(f"Discord is unwell ({type(error).__name__})") from error
            log.warning("a notice was not taken (%s)", fault_of(error))

    async def update_now(self, reply: Reply) -> None:
        """Show what a press changed without waiting for the event; no harm when it fails."""
        with suppress(RetryLater):
            await self._refresh(reply)

    async def send_direct(self, member: str, reply: Reply) -> bool:
        """A copy for one person's direct messages; False when they take none."""
        try:
            channel = await self.hands.direct(member)
            for page in pages(reply, words_for(reply.locale)):
                await self.hands.send(channel, page)
        except EXPECTED as error:
            log.info("a direct message was not taken (%s)", fault_of(error))
            return False
        return True

    async def _refresh(self, reply: Reply) -> bool:
        """The editor's edit: only what is up is edited; nothing new is sent for progress."""
        job = _job(reply)
        async with self._lock(job):
            post = await self._posts.get(job)
            if post is None or post.state is PostState.LOST:
                return False
            if is_fresh(post):
                return True
            if post.state is PostState.FINAL and not _ended(reply):
                return True  # an older state that was on its way when the card became final
            return await self._show(post, reply, final=False)

    # -- One showing -------------------------------------------------------------------------

    async def _show(
        self, post: Placed, reply: Reply, *, final: bool, reply_to: int | None = None
    ) -> bool:
        """Try each way in turn. False when none is left. Raises ``RetryLater``."""
        blocked = False
        for way in self._ways(post, final):
            shown = reduced(reply) if blocked else reply
            fault = await self._attempt(way, post, shown, reply_to)
            if fault is Fault.BLOCKED and not blocked:
                blocked = True
                fault = await self._attempt(way, post, reduced(reply), reply_to)
            if fault is None:
                return True
            if fault is Fault.TOKEN:
                await self._posts.forget_token(post.job_id)
            log.info("job %s: %s refused (%s)", post.job_id, way, fault)
        return False

    def _ways(self, post: Placed, final: bool) -> Iterator[Way]:
        if (post.address.message or "").isdecimal():
            yield Way.EDIT
            if final:
                # Deleted by somebody, or we were shut out: not in the channel against their will.
                yield Way.DIRECT
            return
        answered = bool(post.extra.get(ANSWERED))
        if not post.private and not answered:
            yield Way.SEND
        if post.token is not None and answer_of(post) is not None:
            yield Way.TOKEN
        if final:
            if answered and not post.private:
                yield Way.SEND
            yield Way.DIRECT

    async def _attempt(
        self, way: Way, post: Placed, reply: Reply, reply_to: int | None
    ) -> Fault | None:
        """One way, with smaller and smaller files. None when it worked. Raises ``RetryLater``."""
        for limit in _SMALLER:
            try:
                await self._by(way, post, reply, reply_to, limit)
                return None
            except EXPECTED as error:
                fault = fault_of(error)
                if fault is Fault.WAIT:
                    raise RetryLater(f"Discord is unwell ({type(error).__name__})") from error
                if fault is Fault.BROKEN:
                    log.exception("Discord refused the card of job %s", post.job_id)
                if fault is not Fault.LARGE:
                    return fault
        return Fault.LARGE

    async def _by(
        self, way: Way, post: Placed, reply: Reply, reply_to: int | None, limit: int | None
    ) -> None:
        words = words_for(reply.locale)
        if way is Way.DIRECT or post.extra.get(DIRECT):
            reply = away(reply, post, words)
        elif way is not Way.TOKEN and not reads_alone(post):
            reply = for_all(reply, words)
        drawn = pages(reply, words)
        channel = int(post.address.thread or post.address.channel)
        if way is Way.EDIT:
            await self._edit(post, channel, drawn, limit)
        elif way is Way.TOKEN:
            message = answer_of(post)
            assert post.token is not None
            assert message is not None
            if not _ended(reply):
                drawn[0].view.add_item(ui.TextDisplay(f"-# {words('card.later')}"))
            if self._same(post.job_id, drawn[:1]):
                return
            await self.hands.answer(post.token, message, drawn, reply.text, limit=limit)
            self._drew(post.job_id, drawn[:1])
            if not post.extra.get(ANSWERED):
                await self._posts.note(post.job_id, **{ANSWERED: True})
        elif way is Way.SEND:
            await self._send(post, channel, drawn, reply_to, limit)
        else:
            theirs = await self.hands.direct(post.member)
            await self._send(post, theirs, drawn, None, limit, direct=True)
        self.editor.touched(post.job_id, str(channel))

    async def _send(
        self, post: Placed, channel: int, drawn: list[Page], reply_to: int | None,
        limit: int | None, *, direct: bool = False,
    ) -> None:  # fmt: skip
        before = await self._posts.begin(post.job_id)
        if before is None:
            return
        tried = before.tries > 0
        message = await find_card(self.hands.client, channel, post.job_id) if tried else None
        if message is None:
            message = await self.hands.send(
                channel, drawn[0], nonce=nonce_of(post, 0, direct), reply_to=reply_to, limit=limit
            )
        if tried:
            # Found again, or known to Discord by its nonce: then it shows what it showed.
            await self.hands.edit(channel, message, drawn[0], limit=limit)
        if direct:
            await self._posts.note(post.job_id, **{DIRECT: True})
        await self._posts.shown(post.job_id, str(message), channel=str(channel))
        await self._further(post, channel, drawn, (), limit, direct)
        self._drew(post.job_id, drawn)

    async def _edit(self, post: Placed, channel: int, drawn: list[Page], limit: int | None) -> None:
        assert post.address.message is not None
        if self._same(post.job_id, drawn):
            return
        if not self._same(post.job_id, drawn[:1]):
            await self.hands.edit(channel, int(post.address.message), drawn[0], limit=limit)
        known = tuple(post.extra.get("pages", ()))
        await self._further(post, channel, drawn, known, limit, bool(post.extra.get(DIRECT)))
        self._drew(post.job_id, drawn)

    async def _further(
        self, post: Placed, channel: int, drawn: list[Page], more: tuple[str, ...],
        limit: int | None, direct: bool,
    ) -> None:  # fmt: skip
        """The pages after the first, each a message of its own; those too many go."""
        known = list(more)
        before = self._prints.get(post.job_id, [])
        for index, page in enumerate(drawn[1:], start=1):
            if index <= len(known):
                if index >= len(before) or before[index] != page.print:
                    await self.hands.edit(channel, int(known[index - 1]), page, limit=limit)
                continue
            sent = await self.hands.send(
                channel, page, nonce=nonce_of(post, index, direct), limit=limit
            )
            known.append(str(sent))
            await self._posts.note(post.job_id, pages=known)
        for surplus in known[len(drawn) - 1 :]:
            with suppress(discord.NotFound):
                await self.hands.delete(channel, int(surplus))
        if len(known) > len(drawn) - 1:
            await self._posts.note(post.job_id, pages=known[: len(drawn) - 1])

    async def _tell(self, job: str, reply: Reply) -> None:
        """Say to who asked, and to nobody else, why their card shows nothing; once. The card is
        in place without it, so it may fail: `/job` tells it as well."""
        post = await self._posts.get(job)
        mark = mark_of(reply)
        if post is None or not is_delicate(reply) or post.extra.get("told") == mark:
            return
        if (post.address.message or "").isdecimal() and not reads_alone(post):
            note, words = for_one(reply), words_for(reply.locale)
            told = await self._beside(post, pages(note, words)[0])
            if not told and not await self.send_direct(post.member, away(note, post, words)):
                log.info("who asked for %s was not told why", job)
        await self._posts.note(job, told=mark)

    async def _beside(self, post: Placed, page: Page) -> bool:
        """A private note beside the card, while the interaction lives."""
        if post.token is None:
            return False
        try:
            await self.hands.whisper(post.token, page)
        except EXPECTED as error:
            log.info("a note beside a card was not taken (%s)", fault_of(error))
            return False
        return True

    # -- What is up --------------------------------------------------------------------------

    def _lock(self, job: str) -> asyncio.Lock:
        lock = self._locks.get(job)
        if lock is None:
            lock = self._locks[job] = asyncio.Lock()
        return lock

    def _same(self, job: str, drawn: list[Page]) -> bool:
        """Whether these pages are what this process put up last."""
        return self._prints.get(job, [])[: len(drawn)] == [page.print for page in drawn] and (
            len(drawn) == 1 or len(self._prints.get(job, [])) == len(drawn)
        )

    def _drew(self, job: str, drawn: list[Page]) -> None:
        if len(self._prints) > 2_000:
            self._prints.clear()
        self._prints[job] = [page.print for page in drawn]


def _job(reply: Reply) -> str:
    assert reply.job_id is not None
    return reply.job_id


def _ended(reply: Reply) -> bool:
    return reply.status in TERMINAL_STATUSES
