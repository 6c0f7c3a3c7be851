"""The seam of a platform: where replies that nobody is waiting for are put."""

from __future__ import annotations

from typing import Protocol

from bot.core.reply import Reply
from storage.schema import Address


class Notifier(Protocol):
    """One platform's way to say something that nobody has asked for just now."""

    async def notify(self, address: Address, reply: Reply) -> None:
        """Post a reply into a channel once: a case's card for the moderators.

        Called again only when it raised ``RetryLater``. A channel that is gone, or where we may
        not write, is the workspace's own affair: logged, and taken as done.
        """


class Presenter(Protocol):
    """One platform's way to show a reply at an address.

    Both may be called twice with the same reply (a restart in between): showing must replace
    the card of ``reply.job_id``, never add a second one.
    """

    async def present(self, address: Address, reply: Reply) -> None:
        """Show a finished job's card, exactly once, by whatever way is left.

        ``services.posts`` says where the card is and whether the event can still be answered
        (a token is used for 13 minutes). Raises ``RetryLater`` when the platform is unwell: tried
        again with growing pauses. Returns when the card is in place *or* when there is no place
        left for it (``posts.lost``): the result stays and `/job show` brings it back.
        """

    async def update(self, address: Address, reply: Reply) -> None:
        """Show progress, best effort: may drop or coalesce, must not raise."""
