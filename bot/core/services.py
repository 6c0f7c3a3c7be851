"""Everything a handler may use: one frozen, typed value, built at the root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.core.metrics import Metrics
from bot.core.texts import Texts, texts_for
from bot.core.uploads import Uploads
from moderation.pipeline import Pipeline
from moderation.record import Recorder
from storage.blobs import Blobs
from storage.clock import Clock, now_ms
from storage.database import Database
from storage.posts import Posts
from storage.queue import Wire
from storage.registry import Registry
from storage.schema import Address, Platform
from storage.workspaces import Actor, enrol, recall

if TYPE_CHECKING:
    from bot.core.command import Who

AutomodRules = Callable[[Address], Awaitable[Sequence[Mapping[str, Any]]]]
"""Raises ``NotAllowed('automod_forbidden')`` when the platform does not let us read them."""

Standing = Callable[[str, str], "Awaitable[Who | None]"]
"""A workspace and a member, by their platform's ids, to who that is there at this moment; ``None``
for one who has left. Raises ``NotFound('member_gone')`` where the platform does not let us ask any
more, ``RetryLater`` while it does not answer."""


@dataclass(frozen=True)
class Services:
    """The parts that commands, delivery and adapters share."""

    database: Database
    wire: Wire
    """Tickets, nudges and live events (Redis)."""
    blobs: Blobs
    registry: Registry
    prompt_gate: Pipeline
    """The text stages that judge what members type."""
    posts: Posts
    """Where each job's card is on its platform."""
    uploads: Uploads
    """The way in for members' pictures."""
    recorder: Recorder
    """Judges and keeps decision records."""
    authority: Callable[[], str | None] = lambda: None
    """This studio's signing authority (PEM), for reading marks; ``None`` before there is one."""
    remark: Callable[[bytes, bytes], bytes] = lambda _stored, copy: copy
    """Signs a smaller copy of a stored picture; the root gives the one with our identity."""
    automod: dict[Platform, AutomodRules] = field(default_factory=dict)
    """How a platform's own word rules are read, by adapters that can: address to API rows."""
    standings: dict[Platform, Standing] = field(default_factory=dict)
    """How a platform is asked what somebody is there now, by adapters that can."""
    clock: Clock = now_ms
    texts: Callable[[str], Texts] = texts_for
    monthly_credits: int | None = None
    """Overrides the tier's monthly grant for the local workspace."""
    metrics: Metrics = field(default_factory=Metrics)
    recipe_cache: bool = True
    """Whether the same wish asked again is answered from what was made before."""
    page_url: str = ""
    """The page's public address, for links in chats; empty when the operator named none."""
    page_is_local: bool = True
    """Whether the page listens on loopback only."""
    max_wait_ms: int = 600_000
    """A job that would wait longer is refused with the predicted time."""

    async def actor(self, who: Who) -> Actor:
        """The stored person: made on first sight, this month's credits granted.

        Raises ``NotFound('member_gone')`` for one who is only recalled and not there (any more).
        """
        if who.recalled:
            return await self.database.look(
                recall, platform=who.platform, workspace=who.workspace, member=who.member
            )
        return await self.database.run(
            enrol,
            platform=who.platform,
            workspace=who.workspace,
            workspace_name=who.workspace_name,
            member=who.member,
            member_name=who.member_name,
            role=who.role,
            roles=who.roles,
            entitlements=who.entitlements,
            account_created_at=who.account_created_at,
            now=self.clock(),
            monthly_credits=self.monthly_credits,
        )
