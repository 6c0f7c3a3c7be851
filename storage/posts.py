"""Where a job's card is on its platform, so that any process can edit it and end it exactly once.

A post is written in the transaction that stores its job: whatever dies afterwards, the row says
where the answer belongs. Its life: ``waiting`` (acknowledged, no card yet) -> ``shown`` (a message
that can be edited) -> ``final`` (the finished card is in place) or ``lost`` (nowhere to put it).

Sending a *new* message is the one step that cannot be undone or repeated, so :meth:`Posts.begin`
is called before it: it says whether an earlier try may have been accepted, and gives the same
``nonce`` each time. An edit needs no such care.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage.clock import Clock, now_ms
from storage.database import Database
from storage.ledger import changed
from storage.models import Job, Member, Post
from storage.schema import Address, Millis, Platform
from storage.vault import Vault

MARGIN_MS = 120_000
"""A token counts as gone so long before its end: Discord's 15 minutes are used for 13."""


WriteWithJob = Callable[[Session, Job], None]
"""Writes something that belongs to a fresh job, in the job's own transaction."""


class PostState(StrEnum):
    """How far a job's card is."""

    WAITING = "waiting"
    SHOWN = "shown"
    FINAL = "final"
    LOST = "lost"


@dataclass(frozen=True)
class Draft:
    """What an adapter knows when it acknowledges: becomes the job's post."""

    private: bool = False
    message: str | None = None
    token: str | None = None
    until: Millis = 0


@dataclass(frozen=True)
class Placed:
    """A job's post as an adapter uses it."""

    job_id: str
    address: Address
    """``address.message`` is the card's message, once there is one."""
    member: str
    """The platform's id of who asked: where a private card goes when there is no other way."""
    private: bool
    state: PostState
    token: str | None
    """Usable now, with :data:`MARGIN_MS` to spare; None when it is not, or there was none."""
    tries: int
    """How often sending a new message was begun. More than zero with no message known: an
    earlier one may have been accepted; look for it before sending again."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the adapter noted (:meth:`Posts.note`): uploaded files, further messages."""

    @property
    def nonce(self) -> str:
        """The same for every try: 25 letters and digits (Discord's limit), unique per job."""
        return hashlib.blake2b(f"post:{self.job_id}".encode(), digest_size=12).hexdigest()


class Posts:
    """Every adapter's memory. All calls are single transactions and may be repeated."""

    def __init__(self, database: Database, vault: Vault, clock: Clock = now_ms) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    def writer(self, draft: Draft) -> WriteWithJob:
        """Writes the post in the transaction that submits its job (``jobs.submit(also=...)``)."""

        def write(session: Session, job: Job) -> None:
            address = Address.model_validate(job.address)
            sealed = self._vault.seal(draft.token, job.id) if draft.token else None
            message = draft.message or address.message
            session.add(
                Post(
                    job_id=job.id, platform=address.platform, workspace=address.workspace,
                    channel=address.channel, thread=address.thread, message=message,
                    private=draft.private, token=sealed,
                    token_until=draft.until if sealed else None,
                    state=PostState.SHOWN if message else PostState.WAITING,
                    updated_at=self._clock(),
                )
            )  # fmt: skip

        return write

    async def get(self, job_id: str) -> Placed | None:
        """A job's post; None for jobs that have none (the web's)."""
        found = await self._database.look(_find, job_id)
        return self._placed(*found) if found is not None else None

    async def at(self, platform: Platform, channel: str, message: str) -> str | None:
        """The job whose card a message is; None when it is none of ours."""
        return await self._database.look(_at, platform, channel, message)

    async def shown(
        self, job_id: str, message: str, *, channel: str | None = None, thread: str | None = None
    ) -> None:
        """The card is up as this message; ``channel`` when it had to go elsewhere (a DM)."""
        values: dict[str, object] = {"message": message}
        if channel is not None:
            values |= {"channel": channel, "thread": thread}
        await self._database.run(_shown, job_id, values, self._clock())

    async def open_in(self, platform: Platform, channel: str, thread: str) -> list[str]:
        """The jobs whose cards belong to a thread and are not final, oldest first."""
        return await self._database.look(_open_in, platform, channel, thread)

    async def note(self, job_id: str, **facts: Any) -> None:
        """Keep what the adapter will need again, by name; None forgets it. JSON values only."""
        await self._database.run(_note, job_id, facts, self._clock())

    async def begin(self, job_id: str) -> Placed | None:
        """Call before sending a new message for a job: counts the try, and returns the post as it
        was before. None when the final card is in place already, or was given up."""
        found = await self._database.run(_begin, job_id, self._clock())
        return self._placed(*found) if found is not None else None

    async def finished(self, job_id: str) -> bool:
        """The finished card is in place; wipes the token. True for the one call that did it."""
        return await self._database.run(_end, job_id, PostState.FINAL, self._clock())

    async def lost(self, job_id: str) -> bool:
        """There is nowhere to put the card (the channel is gone, say); wipes the token."""
        return await self._database.run(_end, job_id, PostState.LOST, self._clock())

    async def forget_token(self, job_id: str) -> None:
        """The platform refuses the token: use the next way from now on."""
        await self._database.run(_forget_token, job_id)

    async def wipe(self) -> int:
        """Forget every token that ended; returns how many. Delivery calls it now and then."""
        return await self._database.run(_wipe, self._clock())

    def _placed(self, post: Post, member: str) -> Placed:
        token = None
        if post.token and post.token_until and self._clock() < post.token_until - MARGIN_MS:
            token = self._vault.unseal(post.token, post.job_id)
        return Placed(
            job_id=post.job_id,
            address=Address(
                platform=Platform(post.platform), workspace=post.workspace, channel=post.channel,
                thread=post.thread, message=post.message,
            ),
            member=member, private=post.private, state=PostState(post.state), token=token,
            tries=post.tries, extra=dict(post.extra or {}),
        )  # fmt: skip


def _find(session: Session, job_id: str) -> tuple[Post, str] | None:
    return session.exec(
        select(Post, Member.external_id)
        .join(Job, col(Job.id) == col(Post.job_id))
        .join(Member, col(Member.id) == col(Job.member_id))
        .where(col(Post.job_id) == job_id)
    ).first()


def _open_in(session: Session, platform: Platform, channel: str, thread: str) -> list[str]:
    return list(
        session.exec(
            select(Post.job_id)
            .where(
                Post.platform == platform, Post.channel == channel, Post.thread == thread,
                col(Post.state).in_((PostState.WAITING, PostState.SHOWN)),
            )
            .order_by(col(Post.job_id))
        )
    )  # fmt: skip


def _note(session: Session, job_id: str, facts: dict[str, Any], now: Millis) -> None:
    post = session.exec(select(Post).where(Post.job_id == job_id).with_for_update()).first()
    if post is None:
        return
    kept = {**(post.extra or {}), **facts}
    post.extra = {name: fact for name, fact in kept.items() if fact is not None}
    post.updated_at = now
    session.add(post)


def _at(session: Session, platform: Platform, channel: str, message: str) -> str | None:
    return session.exec(
        select(Post.job_id).where(
            Post.platform == platform, Post.channel == channel, Post.message == message
        )
    ).first()


def _shown(session: Session, job_id: str, values: dict[str, object], now: Millis) -> None:
    session.execute(
        update(Post)
        .where(col(Post.job_id) == job_id)
        .values(**values, updated_at=now)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Post)
        .where(col(Post.job_id) == job_id, col(Post.state) == PostState.WAITING)
        .values(state=PostState.SHOWN)
        .execution_options(synchronize_session=False)
    )


def _begin(session: Session, job_id: str, now: Millis) -> tuple[Post, str] | None:
    before = _find(session, job_id)
    open_states = (PostState.WAITING, PostState.SHOWN)
    if before is None or before[0].state not in open_states:
        return None
    post = before[0].model_copy()
    session.execute(
        update(Post)
        .where(col(Post.job_id) == job_id)
        .values(tries=col(Post.tries) + 1, updated_at=now)
        .execution_options(synchronize_session=False)
    )
    return post, before[1]


def _end(session: Session, job_id: str, state: PostState, now: Millis) -> bool:
    return changed(
        session,
        update(Post)
        .where(
            col(Post.job_id) == job_id, col(Post.state).in_((PostState.WAITING, PostState.SHOWN))
        )
        .values(state=state, token=None, token_until=None, updated_at=now)
        .execution_options(synchronize_session=False),
    ) > 0  # fmt: skip


def _forget_token(session: Session, job_id: str) -> None:
    session.execute(
        update(Post)
        .where(col(Post.job_id) == job_id)
        .values(token=None, token_until=None)
        .execution_options(synchronize_session=False)
    )


def _wipe(session: Session, now: Millis) -> int:
    return int(
        changed(
            session,
            update(Post)
            .where(col(Post.token_until) <= now)
            .values(token=None, token_until=None)
            .execution_options(synchronize_session=False),
        )
    )
