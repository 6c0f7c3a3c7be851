"""Live updates: the presenter puts replies in, each open page takes the newest of each job out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bot.core.reply import Reply
from storage.schema import Address, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPACITY = 200
"""Jobs one subscriber may have waiting; beyond it the page reads everything anew."""


@dataclass(frozen=True)
class Change:
    """What a subscriber is told: a job's newest reply, or (``None``) to read everything anew."""

    id: str
    reply: Reply | None


@dataclass(eq=False)
class Subscription:
    """One open page's waiting replies: at most one per job, the newest wins."""

    waiting: dict[str, tuple[str, Reply]] = field(default_factory=dict)
    stale: str | None = None
    """The event id from which on this page must read everything anew."""
    closed: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, id: str, reply: Reply) -> None:
        """Keep this reply for the page in place of an older one of the same job."""
        if reply.job_id is None:
            return
        if reply.job_id not in self.waiting and len(self.waiting) >= CAPACITY:
            self.waiting.clear()
            self.stale = id
        self.waiting.pop(reply.job_id, None)
        self.waiting[reply.job_id] = (id, reply)
        self._wake.set()

    def close(self) -> None:
        """End the stream after what waits has been taken."""
        self.closed = True
        self._wake.set()

    async def changes(self) -> AsyncIterator[Change]:
        """Every change as it comes, until closed."""
        while True:
            if self.stale is not None:
                id, self.stale = self.stale, None
                yield Change(id, None)
            while self.waiting:
                job = next(iter(self.waiting))
                id, reply = self.waiting.pop(job)
                yield Change(id, reply)
            if self.closed:
                return
            self._wake.clear()
            await self._wake.wait()


class WebPresenter:
    """The web's :class:`~bot.core.presenter.Presenter`: fans replies out to every open page.

    Nothing is kept for pages that are not open: a page reads the whole timeline when it loads,
    and again when it reconnects and has missed anything, so a reload or a restart loses nothing.
    """

    def __init__(self) -> None:
        self._boot = new_id()
        self._count = 0
        self._pages: set[Subscription] = set()
        self._closed = False

    @property
    def cursor(self) -> str:
        """The id of the newest event; a page that has it has missed nothing."""
        return f"{self._boot}-{self._count}"

    async def present(self, address: Address, reply: Reply) -> None:
        """Show a finished job's card on every open page."""
        self._put(reply)

    async def update(self, address: Address, reply: Reply) -> None:
        """Show progress on every open page."""
        self._put(reply)

    def show(self, reply: Reply) -> None:
        """Put a card made here (just invoked) on the other open pages too."""
        self._put(reply)

    def _put(self, reply: Reply) -> None:
        self._count += 1
        for page in self._pages:
            page.put(self.cursor, reply)

    @contextmanager
    def subscribe(self, seen: str = "") -> Iterator[Subscription]:
        """Listen from now on; ``seen`` is the last event id the page had.

        When that is not the newest one, the first change tells the page to read everything anew.
        """
        page = Subscription(closed=self._closed)
        if seen != self.cursor:
            page.stale = self.cursor
            page._wake.set()
        self._pages.add(page)
        try:
            yield page
        finally:
            self._pages.discard(page)

    def close(self) -> None:
        """End every stream, and every new one, so that the server can stop at once."""
        self._closed = True
        for page in list(self._pages):
            page.close()

    @property
    def listeners(self) -> int:
        """How many pages are open."""
        return len(self._pages)


Encode = Callable[[Reply], str]
"""Makes a reply's event data: HTML for the page, JSON for programs."""


async def events(
    presenter: WebPresenter, seen: str, encode: Encode, wanted: str | None = None
) -> AsyncIterator[dict[str, str]]:
    """The server-sent events of one page: ``card`` and ``resync``, with ids to reconnect by."""
    with presenter.subscribe(seen) as page:
        async for change in page.changes():
            if change.reply is None:
                yield {"event": "resync", "id": change.id, "data": "{}"}
            elif wanted is None or change.reply.job_id == wanted:
                yield {"event": "card", "id": change.id, "data": encode(change.reply)}
