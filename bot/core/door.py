"""The door from a chat into the review room's page: a link good once, and the visit it begins.

Only a moderator gets a link, and who they are is read from their row again for each request. The
row is what their platform said last, so a visit asks it every few minutes: nobody keeps a role by
staying away from the chat. What a visit may do there is what the same person may do in chat; the
page adds no right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.core.command import Who
from bot.core.review_room import may_review
from bot.core.services import Services
from storage import visits
from storage.errors import MemberError, NotAllowed, NotFound, RetryLater
from storage.schema import Platform, Role
from storage.visits import Visitor
from storage.workspaces import Actor, reassess

PATH = "/review/door"
OPENED = "open_page"
"""The audit log's word for a visit that began."""


@dataclass(frozen=True)
class Guest:
    """A moderator of some workspace who visits the page, as their row says at this moment."""

    who: Who
    actor: Actor


async def link_for(services: Services, actor: Actor) -> str:
    """The address of the page for this moderator, good once and for ten minutes.

    The secret is behind the ``#``: browsers send that part to nobody, so that no proxy writes it
    down and nothing that fetches addresses out of chats can use it up.
    Raises ``NotAllowed('moderators_only')``, ``MemberError`` where there is no page to open, and
    ``RetryLater``.
    """
    may_review(actor)
    space = actor.workspace
    if space.platform == Platform.LOCAL:
        raise MemberError("door_local")
    if not services.page_url:
        if services.page_is_local:
            raise MemberError("door_loopback")
        raise MemberError("door_unnamed")
    platform, member = Platform(space.platform), actor.member.external_id
    if platform not in services.standings:
        # Nobody here can ask later: what this very command said counts for as long as it may.
        await visits.note_role(
            services.wire, platform=platform, workspace=space.external_id, member=member,
            now=services.clock(),
        )  # fmt: skip
    secret = await visits.make_link(
        services.wire, platform=platform, workspace=space.external_id, member=member,
        now=services.clock(),
    )  # fmt: skip
    return f"{services.page_url}{PATH}#{secret}"


async def enter(services: Services, secret: str) -> str:
    """Use a link up and begin the visit: its secret, for a cookie. A line in the audit log.

    Raises ``NotFound('door_used')`` and ``NotAllowed('moderators_only')``; the link is gone then
    as well.
    """
    visitor = await visits.use_link(services.wire, secret, now=services.clock())
    if visitor is None:
        raise NotFound("door_used")
    actor = (await _guest(services, visitor)).actor
    await services.database.run(visits.note_use, actor, secret, verb=OPENED, now=services.clock())
    return await visits.begin(services.wire, visitor, now=services.clock())


async def guest(services: Services, secret: str) -> Guest | None:
    """Who visits; None when the visit is over, also because they are no moderator any more."""
    visitor = await visits.find(services.wire, secret, now=services.clock())
    if visitor is None:
        return None
    try:
        return await _guest(services, visitor)
    except (NotAllowed, NotFound):
        # A promotion later on is a new matter: it takes a new link.
        await visits.end(services.wire, secret)
        return None


async def leave_all(services: Services, actor: Actor) -> None:
    """End every visit of a member and the links they have not used."""
    await visits.end_all(
        services.wire, platform=Platform(actor.workspace.platform),
        workspace=actor.workspace.external_id, member=actor.member.external_id,
    )  # fmt: skip


async def _ask_platform(services: Services, visitor: Visitor) -> None:
    """Have the role in the visitor's row be what their platform says, ten minutes old at most.

    Raises ``NotFound`` where that cannot be known any more, and ``RetryLater`` while the platform
    does not answer.
    """
    who: dict[str, Any] = {
        "platform": visitor.platform, "workspace": visitor.workspace, "member": visitor.member,
    }  # fmt: skip
    now, known = services.clock(), await visits.role_known_at(services.wire, **who)
    age = now - known if known is not None else visits.ROLE_MS
    read = services.standings.get(visitor.platform)
    if age < (visits.ASK_MS if read is not None else visits.ROLE_MS):
        return
    if read is None:
        raise NotFound("door_over")
    try:
        found = await read(visitor.workspace, visitor.member)
    except RetryLater:
        if age < visits.ROLE_MS:
            return
        raise
    role, roles = (found.role, found.roles) if found is not None else (Role.MEMBER, ())
    await services.database.run(reassess, role=str(role), roles=roles, **who)
    await visits.note_role(services.wire, now=now, **who)


async def _guest(services: Services, visitor: Visitor) -> Guest:
    await _ask_platform(services, visitor)
    who = Who(
        platform=visitor.platform, workspace=visitor.workspace, member=visitor.member,
        recalled=True,
    )  # fmt: skip
    actor = await services.actor(who)
    may_review(actor)
    known = {"member_name": actor.member.name, "role": Role(actor.member.role)}
    return Guest(who=who.model_copy(update=known), actor=actor)
