"""What the page reads: cards, the timeline, the balance, pictures; as the one local person."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from bot.core import cards
from bot.core.command import Core, Who
from bot.core.reply import Reply
from storage.errors import NotFound
from storage.schema import Platform

OWNER = Who(
    platform=Platform.LOCAL,
    workspace="local",
    workspace_name="Local studio",
    member="owner",
    member_name="You",
    role="admin",
)
"""The person in front of this machine."""


class Credits(Protocol):
    """The part of a balance that the page shows."""

    @property
    def available(self) -> int:
        """Credits that can be spent now."""

    @property
    def pending(self) -> int:
        """Credits held by jobs that are not finished."""


class Reader(Protocol):
    """The page's view of the studio; tests have their own."""

    async def card(self, job_id: str, locale: str) -> Reply:
        """A job's current card. Raises ``NotFound``."""

    async def timeline(self, locale: str, limit: int, before: str | None = None) -> list[Reply]:
        """The newest cards before a job, newest last."""

    async def kept(self, locale: str, limit: int) -> list[Reply]:
        """The cards of what the member keeps, the newest kept first."""

    async def balance(self) -> Credits:
        """The member's credits."""

    async def picture(self, key: str) -> bytes | None:
        """A stored picture, or None when it may not be shown now."""


@dataclass
class CoreReader:
    """The reader over the real core."""

    core: Core
    who: Who = OWNER
    _workspace: str = field(default="", init=False)

    async def _workspace_id(self) -> str:
        if not self._workspace:
            actor = await self.core.services.actor(self.who)
            self._workspace = actor.workspace.id
        return self._workspace

    async def card(self, job_id: str, locale: str) -> Reply:
        """See :meth:`Reader.card`."""
        return await cards.job_reply(
            self.core.services, job_id, locale, workspace_id=await self._workspace_id()
        )

    async def timeline(self, locale: str, limit: int, before: str | None = None) -> list[Reply]:
        """See :meth:`Reader.timeline`."""
        actor = await self.core.services.actor(self.who)
        return await cards.timeline(
            self.core.services, actor, locale=locale, limit=limit, before=before
        )

    async def kept(self, locale: str, limit: int) -> list[Reply]:
        """See :meth:`Reader.kept`."""
        actor = await self.core.services.actor(self.who)
        return await cards.kept(self.core.services, actor, locale=locale, limit=limit)

    async def balance(self) -> Credits:
        """See :meth:`Reader.balance`."""
        actor = await self.core.services.actor(self.who)
        return await cards.balance(self.core.services, actor)

    async def picture(self, key: str) -> bytes | None:
        """See :meth:`Reader.picture`."""
        workspace = await self._workspace_id()
        if not await cards.visible_blob(self.core.services, workspace, key):
            return None
        try:
            return await asyncio.to_thread(self.core.services.blobs.get, key)
        except NotFound:  # a preview that was thrown away between the two looks
            return None
