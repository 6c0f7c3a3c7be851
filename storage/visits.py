"""Links into the page and the visits they begin, for moderators who have only their chat.

Both are random 256-bit words; Redis keeps their SHA-256 and whom they are for, never the word.
They live there and in no table on purpose: losing them must end them, and a link is used up by one
atomic ``GETDEL``, whoever else posts it in the same instant. That a link was used is a line of the
audit log as well, because a Redis that crashed comes back as it was a while ago.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Awaitable
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlmodel import Session, select

from storage import audit
from storage.errors import NotFound, RetryLater
from storage.models import Act
from storage.queue import Wire
from storage.schema import Frozen, Millis, Platform
from storage.workspaces import Actor

log = logging.getLogger(__name__)

LINK_MS = 10 * 60_000
"""How long a link can be used."""
VISIT_MS = 8 * 3_600_000
"""The longest visit."""
ASK_MS = 5 * 60_000
"""How long a platform's word on a visitor's role is taken without asking again."""
ROLE_MS = 10 * 60_000
"""How long it counts at most while the platform does not answer: a role that was taken away gives
no power for longer."""
_LINK, _VISIT, _TURN = "atelier:page-link:", "atelier:page-visit:", "atelier:page-turn:"
_ROLE = "atelier:page-role:"
_WORD = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PATIENCE_S = 2.0


class Visitor(Frozen):
    """Who may come in, by their platform's ids, and until when."""

    platform: Platform
    workspace: str
    member: str
    until: Millis
    turn: int = 0
    """Of the member's counter, which goes up when they end all their visits."""


async def make_link(
    wire: Wire, *, platform: Platform, workspace: str, member: str, now: Millis
) -> str:
    """The secret of a new link. Raises ``RetryLater`` while Redis is away, like all of these."""
    known = Visitor(platform=platform, workspace=workspace, member=member, until=now + LINK_MS)
    return await _keep(wire, _LINK, known.model_copy(update={"turn": await _turn(wire, known)}))


async def use_link(wire: Wire, secret: str, *, now: Millis) -> Visitor | None:
    """Whom a link is for, once; None when it was used, is over, ended or was never made."""
    return await _valid(wire, _LINK, secret, now, take=True)


def note_use(session: Session, actor: Actor, secret: str, *, verb: str, now: Millis) -> None:
    """The audit log's line of a used link, which outlives Redis: one that a crash of Redis brought
    back is refused here.

    Raises ``NotFound('door_used')``; then nothing is written.
    """
    space, link = actor.workspace.id, _hash(secret)
    # The line first: it locks the workspace, so that of two at once the second sees both.
    audit.write(session, space, actor_id=actor.member.id, verb=verb, target=link, now=now)
    uses = select(Act.id).where(
        Act.workspace_id == space, Act.verb == verb, Act.target == link, Act.at > now - LINK_MS
    )
    if len(session.exec(uses).all()) > 1:
        raise NotFound("door_used")


async def begin(wire: Wire, visitor: Visitor, *, now: Millis) -> str:
    """Begin the visit that a used link allows; its secret, for a cookie."""
    return await _keep(wire, _VISIT, visitor.model_copy(update={"until": now + VISIT_MS}))


async def find(wire: Wire, secret: str, *, now: Millis) -> Visitor | None:
    """Whose visit this is; None when it is over or was none."""
    return await _valid(wire, _VISIT, secret, now)


async def end(wire: Wire, secret: str) -> None:
    """End one visit; ending none is no error."""
    if _WORD.fullmatch(secret):
        await _asked(wire.pool.delete(_name(_VISIT, secret)))


async def end_all(wire: Wire, *, platform: Platform, workspace: str, member: str) -> None:
    """End every visit of a member, and every link they have not used."""
    name = _turn_name(platform, workspace, member)
    async with wire.pool.pipeline(transaction=True) as both:
        both.incr(name)
        both.pexpire(name, VISIT_MS + LINK_MS)  # then nothing of the turns before is left
        await _asked(both.execute())


async def role_known_at(
    wire: Wire, *, platform: Platform, workspace: str, member: str
) -> Millis | None:
    """When the platform last said what a visitor's role is; None when it has to be asked."""
    raw = await _asked(wire.pool.get(_of_member(_ROLE, platform, workspace, member)))
    return int(raw) if raw is not None and raw.isdigit() else None


async def note_role(
    wire: Wire, *, platform: Platform, workspace: str, member: str, now: Millis
) -> None:
    """The platform has just said what a visitor's role is."""
    name = _of_member(_ROLE, platform, workspace, member)
    await _asked(wire.pool.set(name, str(now), px=ROLE_MS))


async def _keep(wire: Wire, kind: str, visitor: Visitor) -> str:
    secret = secrets.token_hex(32)
    lives = LINK_MS if kind == _LINK else VISIT_MS
    await _asked(wire.pool.set(_name(kind, secret), visitor.model_dump_json(), px=lives))
    return secret


async def _valid(
    wire: Wire, kind: str, secret: str, now: Millis, *, take: bool = False
) -> Visitor | None:
    if not _WORD.fullmatch(secret):
        return None
    name = _name(kind, secret)
    raw = await _asked(wire.pool.getdel(name) if take else wire.pool.get(name))
    if raw is None:
        return None
    try:
        found = Visitor.model_validate_json(raw)
    except ValidationError:
        log.warning("junk where a visit should be")
        return None
    return found if now < found.until and found.turn == await _turn(wire, found) else None


async def _turn(wire: Wire, of: Visitor) -> int:
    return int(await _asked(wire.pool.get(_turn_name(of.platform, of.workspace, of.member))) or 0)


def _turn_name(platform: Platform, workspace: str, member: str) -> str:
    return _of_member(_TURN, platform, workspace, member)


def _of_member(kind: str, platform: Platform, workspace: str, member: str) -> str:
    """Hashed, so that no id can be read as another's."""
    return kind + _hash("\0".join((platform, workspace, member)))


def _name(kind: str, secret: str) -> str:
    return kind + _hash(secret)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def _asked(answer: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await answer
    except (RedisError, OSError, TimeoutError) as error:
        raise RetryLater("Redis does not answer") from error
