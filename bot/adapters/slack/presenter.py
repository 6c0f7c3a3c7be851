"""Cards on Slack: posted once, redrawn from then on, finished exactly once.

A new message is the one step that may happen twice: a time-out can come after Slack accepted it.
So what is *posted* is never the result: it is the card in line, or a placeholder, and the result
is always put in place by editing a message we know. However often that is repeated, there is one.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakValueDictionary

from bot.adapters.slack.budget import Budget
from bot.adapters.slack.calls import Closed, Gone, Refusal
from bot.adapters.slack.cards import Cards, is_direct
from bot.adapters.slack.render import message, words_for
from bot.adapters.slack.sessions import Sessions
from bot.adapters.slack.streams import STREAMING, StreamOver, Streams
from bot.core.reply import Reply
from storage.errors import AtelierError, OperatorError, RetryLater
from storage.posts import Placed, Posts, PostState
from storage.schema import TERMINAL_STATUSES, Address, JobKind, JobStatus

log = logging.getLogger(__name__)

_AFTER_TROUBLE_S = 15.0
_UNSURE = "stream_begun"
"""Noted before a stream is opened: with no message known, the first try may have been accepted."""
_MOST_DEAF = 1_000
_ENDED = (PostState.FINAL, PostState.LOST)


class SlackPresenter:
    """Slack's :class:`~bot.core.presenter.Presenter`, for one workspace."""

    def __init__(
        self,
        cards: Cards,
        streams: Streams,
        sessions: Sessions,
        posts: Posts,
        budget: Budget | None = None,
    ) -> None:
        self._cards = cards
        self._streams = streams
        self._sessions = sessions
        self._posts = posts
        self._budget = budget or Budget()
        self._stream_budget = Budget(per_job_s=1.0, per_minute=90, burst=10)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._waiting: dict[str, Reply] = {}
        self._deaf: set[str] = set()
        self._woken = asyncio.Event()

    # -- what others call ----------------------------------------------------------------------

    async def show(self, reply: Reply) -> None:
        """A card that was just asked for: post it, or redraw it where it is already.

        Raises what :func:`~bot.adapters.slack.calls.asked` raises; the job goes on all the same.
        """
        assert reply.job_id is not None
        async with self._lock(reply.job_id):
            placed = await self._posts.get(reply.job_id)
            if placed is None or placed.state is PostState.LOST:
                return
            if placed.address.message is None and placed.state is PostState.WAITING:
                if not await self._quietly(placed, reply):
                    shown = message(reply, words_for(reply.locale))
                    await self._cards.post(placed, shown, reply.locale)
            elif placed.state is not PostState.FINAL or reply.status in TERMINAL_STATUSES:
                await self._redraw(placed, reply)

    async def redraw_copy(self, reply: Reply, channel: str, ts: str | None) -> None:
        """The card on another message than its own: one shown once more, or one whose time-out
        came after Slack had accepted it."""
        placed = await self._posts.get(reply.job_id or "")
        if placed is not None and ts and ts != placed.address.message:
            await self._cards.redraw_copy(placed, reply, channel, ts)

    async def present(self, address: Address, reply: Reply) -> None:
        """See :class:`~bot.core.presenter.Presenter`. Raises ``RetryLater``."""
        assert reply.job_id is not None
        async with self._lock(reply.job_id):
            placed = await self._posts.get(reply.job_id)
            if placed is None or placed.state in _ENDED:
                return
            self._waiting.pop(reply.job_id, None)
            try:
                await self._finish(placed, reply)
            except Closed as error:
                log.warning("job %s has nowhere to go: %s", reply.job_id, error)
                await self._posts.lost(reply.job_id)
            except (Gone, Refusal, OperatorError) as error:
                raise RetryLater(str(error)) from error
            else:
                await self._posts.finished(reply.job_id)
            self._budget.forget(reply.job_id)
            self._stream_budget.forget(reply.job_id)
            self._deaf.discard(reply.job_id)

    async def notify(self, address: Address, reply: Reply) -> None:
        """See :class:`~bot.core.presenter.Notifier`: a new message in a channel."""
        try:
            await self._cards.copy(reply, address.channel, None)
        except (Gone, Closed, Refusal) as error:
            log.warning("a notice was not taken: %s", error)

    async def update(self, address: Address, reply: Reply) -> None:
        """See :class:`~bot.core.presenter.Presenter`: the newest of each card, when its turn is."""
        if reply.job_id is not None and reply.job_id not in self._deaf:
            self._waiting[reply.job_id] = reply
            self._woken.set()

    async def run(self) -> None:
        """Redraw cards within the workspace's budget until cancelled."""
        while True:
            job_id, pause = self._next()
            if job_id is not None and pause <= 0:
                await self._turn(job_id)
                continue
            self._woken.clear()
            try:
                async with asyncio.timeout(pause if job_id is not None else None):
                    await self._woken.wait()
            except TimeoutError:
                pass

    # -- redrawing -----------------------------------------------------------------------------

    def _next(self) -> tuple[str | None, float]:
        """Whose turn it is, and in how many seconds."""
        streams = {
            job for job, r in self._waiting.items() if self._budget_of(r) is not self._budget
        }
        turns = [
            self._budget.turn(self._waiting.keys() - streams), self._stream_budget.turn(streams),
        ]  # fmt: skip
        found = [(pause, job) for job, pause in filter(None, turns)]
        return (min(found)[1], min(found)[0]) if found else (None, 0.0)

    def _budget_of(self, reply: Reply) -> Budget:
        streams = reply.streaming and self._streams.knows(reply.job_id or "")
        return self._stream_budget if streams else self._budget

    async def _turn(self, job_id: str) -> None:
        reply = self._waiting.pop(job_id)
        self._budget_of(reply).spend(job_id)
        try:
            async with self._lock(job_id):
                placed = await self._posts.get(job_id)
                if placed is None or placed.state is PostState.LOST:
                    return
                ended = reply.status in TERMINAL_STATUSES
                if ended is not (placed.state is PostState.FINAL):
                    return  # too late, or too early: the final card is present()'s
                await self._redraw(placed, reply)
        except (Gone, Closed) as error:
            log.info("no more edits of %s: %s", job_id, error)
            if len(self._deaf) >= _MOST_DEAF:
                self._deaf.clear()  # each is asked once more, and is deaf again
            self._deaf.add(job_id)
        except AtelierError as error:
            log.info("a redraw of %s was dropped: %s", job_id, error)
            if isinstance(error, RetryLater):
                self._budget.close(_AFTER_TROUBLE_S)
        except Exception:  # as in delivery: one bad card must not stop the others
            log.exception("bug while redrawing %s", job_id)

    async def _redraw(self, placed: Placed, reply: Reply) -> None:
        if reply.streaming and await self._stream(placed, reply):
            return
        if placed.address.message is None:
            return
        if placed.extra.get("stream"):
            await self._end_stream(placed)
        await self._edit(placed, reply)

    async def _stream(self, placed: Placed, reply: Reply) -> bool:
        """Show an answer being written as a native stream; False when it has to be edited."""
        at = placed.address
        if not reply.text or at.thread is None or not is_direct(at.channel):
            return False
        try:
            if at.message is None:
                if placed.extra.get(_UNSURE):
                    raise StreamOver
                # A lost answer may hide a stream that has begun: one is enough.
                await self._posts.note(placed.job_id, **{_UNSURE: True})
                ts = await self._streams.start(
                    placed.job_id, at.channel, at.thread, placed.member, reply.text
                )
                await self._posts.shown(placed.job_id, ts)
                await self._posts.note(placed.job_id, stream=ts)
                return True
            if placed.extra.get("stream") == at.message and self._streams.knows(placed.job_id):
                await self._streams.go_on(placed.job_id, at.channel, at.message, reply.text)
                return True
        except StreamOver:
            if at.message is None:
                shown = message(reply, words_for(reply.locale))
                await self._cards.post(placed, shown, reply.locale)
                return True
        return False

    async def _edit(self, placed: Placed, reply: Reply) -> None:
        """Redraw; a message that still streams (we died before noting that) is closed first."""
        try:
            await self._cards.redraw(placed, reply)
        except Refusal as error:
            at = placed.address
            if error.code != STREAMING or at.message is None:
                raise
            await self._streams.stop(placed.job_id, at.channel, at.message)
            await self._cards.redraw(placed, reply)

    async def _end_stream(self, placed: Placed) -> None:
        stream = placed.extra.get("stream")
        if stream and placed.address.message:
            await self._streams.stop(placed.job_id, placed.address.channel, str(stream))
            await self._posts.note(placed.job_id, stream=None)

    async def _quietly(self, placed: Placed, reply: Reply) -> bool:
        """In a direct message, an answer that is next needs no card: Slack shows that we work.

        When others are ahead, or Slack shows nothing, the card with the place in line is posted.
        """
        at = placed.address
        chat = reply.kind is JobKind.CHAT and is_direct(at.channel)
        if not chat or at.thread is None or (reply.place or 1) > 1:
            return False
        if reply.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
            return False
        if not await self._sessions.working(at.channel, at.thread):
            return False
        await self._posts.note(placed.job_id, session=True)
        return True

    # -- the final card ------------------------------------------------------------------------

    async def _finish(self, placed: Placed, reply: Reply) -> None:
        await self._end_stream(placed)
        if placed.address.message is None:
            placed = await self._cards.place(placed, reply)
        try:
            await self._edit(placed, reply)
        except Gone:
            # Somebody deleted the card: the result was paid for, so it is shown once more.
            placed = await self._cards.place(placed, reply)
            await self._cards.redraw(placed, reply)
        await self._tell(placed, reply)
        if placed.extra.get("session") and placed.address.thread is not None:
            await self._sessions.done(placed.address.channel, placed.address.thread)

    async def _tell(self, placed: Placed, reply: Reply) -> None:
        """The reason to one person; the card is in place without it, so it may fail."""
        try:
            await self._cards.tell(placed, reply)
        except RetryLater:
            raise
        except AtelierError as error:
            log.info("who asked for %s was not told why: %s", placed.job_id, error)

    def _lock(self, job_id: str) -> asyncio.Lock:
        return self._locks.setdefault(job_id, asyncio.Lock())
