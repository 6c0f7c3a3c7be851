"""A platform that is two lists: what went in and what was shown. Proves the core needs no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.core.command import Core, Handle, Invocation, Press, Venue, Who
from bot.core.reply import Reply, Verb
from bot.core.services import Services
from bot.core.uploads import Uploads
from moderation.build import prompt_pipeline
from moderation.marks.identity import authority
from moderation.record import Recorder
from storage.blobs import Blobs
from storage.clock import now_ms
from storage.database import Database
from storage.errors import RetryLater
from storage.posts import Posts
from storage.queue import Wire
from storage.registry import load_registry
from storage.schema import Address, Platform, new_id
from storage.vault import Vault


def make_services(database: Database, wire: Wire, home: Path, **changes: Any) -> Services:
    """The real services over a test's database, Valkey and folder."""
    clock = changes.get("clock", now_ms)
    blobs = Blobs(home / "blobs")
    parts: dict[str, Any] = {
        "database": database, "wire": wire, "blobs": blobs, "registry": load_registry(),
        "prompt_gate": prompt_pipeline(), "posts": Posts(database, Vault.open(home), clock),
        "uploads": Uploads(blobs), "recorder": Recorder(database, clock, Vault.open(home)),
        "authority": lambda: authority(home),
    }  # fmt: skip
    return Services(**(parts | changes))


@dataclass
class FakeAdapter:
    """Translates nothing: sends plain values to the core and keeps every reply.

    As a presenter it keeps one card per job, as a chat does when a message is edited;
    ``failures`` makes the next so many calls fail, before or after the card was accepted.
    """

    core: Core | None = None
    workspace: str = "guild-1"
    channel: str = "general"
    platform: Platform = Platform.FAKE
    locale: str = "en"
    replies: list[Reply] = field(default_factory=list)
    posted: list[tuple[Address, Reply]] = field(default_factory=list)
    cards: dict[str, Reply] = field(default_factory=dict)
    notices: list[tuple[Address, Reply]] = field(default_factory=list)
    fail_before: int = 0
    fail_after: int = 0
    venue: Venue = field(default_factory=Venue)
    handle: Handle = field(default_factory=Handle)

    def who(self, name: str, role: str = "member") -> Who:
        """A person of this fake platform."""
        return Who(
            platform=self.platform, workspace=self.workspace, member=name, member_name=name,
            role=role,  # type: ignore[arg-type]
        )  # fmt: skip

    def address(self, thread: str | None = None) -> Address:
        """Where its replies go."""
        return Address(
            platform=self.platform, workspace=self.workspace, channel=self.channel, thread=thread
        )

    def invocation(
        self,
        command: str,
        name: str = "ann",
        *,
        role: str = "member",
        key: str | None = None,
        thread: str | None = None,
        **values: Any,
    ) -> Invocation:
        """What a member's use of a command is to the core."""
        return Invocation(
            command=command, values=values, who=self.who(name, role),
            address=self.address(thread), locale=self.locale, key=key or new_id(),
            venue=self.venue, handle=self.handle,
        )  # fmt: skip

    async def say(
        self,
        command: str,
        name: str = "ann",
        *,
        role: str = "member",
        key: str | None = None,
        thread: str | None = None,
        **values: Any,
    ) -> Reply:
        """A member uses a command."""
        assert self.core is not None
        reply = await self.core.dispatch(
            self.invocation(command, name, role=role, key=key, thread=thread, **values)
        )
        self.replies.append(reply)
        return reply

    async def press(
        self,
        verb: Verb | str,
        target: str,
        name: str = "ann",
        *,
        role: str = "member",
        **values: Any,
    ) -> Reply:
        """A member presses a button."""
        assert self.core is not None
        reply = await self.core.press(
            Press(
                verb=str(verb), target=target, who=self.who(name, role), address=self.address(),
                locale=self.locale, key=new_id(), values=values,
                venue=self.venue, handle=self.handle,
            )
        )  # fmt: skip
        self.replies.append(reply)
        return reply

    async def notify(self, address: Address, reply: Reply) -> None:
        """Say something nobody asked for."""
        if self.fail_before:
            self.fail_before -= 1
            raise RetryLater("the platform is unwell")
        self.notices.append((address, reply))

    async def present(self, address: Address, reply: Reply) -> None:
        """Show a finished card; may fail before or after the platform accepted it."""
        if self.fail_before:
            self.fail_before -= 1
            raise RetryLater("the platform is unwell")
        self.posted.append((address, reply))
        assert reply.job_id is not None
        self.cards[reply.job_id] = reply
        if self.fail_after:
            self.fail_after -= 1
            raise RetryLater("the platform accepted, then timed out")

    async def update(self, address: Address, reply: Reply) -> None:
        """Show progress."""
        assert reply.job_id is not None
        self.cards[reply.job_id] = reply
