"""The wire: arq tickets that wake, nudges that wake at once, live events that show progress.

Nothing of value lives here. Redis may lose everything at any moment: the rows are the truth,
:func:`reconcile` re-issues tickets for claimable rows, and every listener also looks at the
database by itself. So every send is best effort and no send may fail a command.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlmodel import Session

from storage import jobs, outbox
from storage.clock import now_ms
from storage.database import Database
from storage.errors import OperatorError
from storage.schema import Event, EventType, Millis, new_id

log = logging.getLogger(__name__)

TICKET = "ticket"
"""Name of the arq function that wakes a worker; it carries no work."""
QUEUE = "atelier:tickets"
_EVENTS = "atelier:events"
_NUDGES = "atelier:nudges"
_LIVE = "atelier:live:"
_PREVIEW = "atelier:preview:"
_TRACE = "atelier:trace:"
_TRACE_TTL_S = 600
_SEEN = "atelier:seen:"
_SERVING = "atelier:serving"
SERVING_S = 60.0
"""How long what a worker said of its models counts; it says so again every few seconds."""
_LIVE_TTL_S = 900
_DOWN = (RedisError, OSError, asyncio.TimeoutError)
_PATIENCE_S = 0.8
"""Longest a best-effort send may take: a command is acknowledged within 3 s, Redis or not."""
_TICKET_EVERY_MS = 5_000
"""One ticket per this long from all reconcilers: nudges wake, tickets must not pile up."""
_KEEP_SENT_MS = 3_600_000


def dump_json(data: dict[str, Any]) -> bytes:
    """arq pickles by default, in both directions: whoever writes to Redis would run our code."""
    return json.dumps(data, default=str).encode()


def load_json(data: bytes) -> dict[str, Any]:
    """The inverse; raises ``ValueError`` on a forged pickle instead of running it."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def redis_settings(url: str) -> RedisSettings:
    """For a worker: survive a Redis restart; arq's own settings exit on the first lost packet."""
    settings = RedisSettings.from_dsn(url)
    settings.retry = Retry(ExponentialBackoff(cap=2, base=0.1), 6)
    settings.retry_on_timeout = True
    settings.retry_on_error = [RedisConnectionError, RedisTimeoutError, OSError]
    settings.conn_timeout = 2
    settings.conn_retries = 2
    return settings


def hasty_settings(url: str) -> RedisSettings:
    """For whoever answers a person: one quick second try, then do without Redis."""
    settings = redis_settings(url)
    settings.retry = Retry(ExponentialBackoff(cap=0.1, base=0.05), 1)
    settings.conn_timeout = 1
    return settings


class Wire:
    """Redis as this project uses it. Build with :meth:`connect`; close when done."""

    def __init__(self, pool: ArqRedis, url: str) -> None:
        self.pool = pool
        self.url = url

    @classmethod
    async def connect(cls, url: str) -> Wire:
        """Open a pool. Raises ``OperatorError`` when nothing answers."""
        try:
            pool = await create_pool(
                hasty_settings(url),
                job_serializer=dump_json,
                job_deserializer=load_json,
                default_queue_name=QUEUE,
            )
        except _DOWN as error:
            raise OperatorError(
                "Redis does not answer", "start it, or unset ATELIER_REDIS_URL to use our own"
            ) from error
        return cls(pool, url)

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.aclose()

    async def ping(self) -> bool:
        """Whether Redis answers."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return bool(await self.pool.ping())
        except _DOWN:
            return False

    async def nudge(self) -> bool:
        """Every worker that listens looks for work now. False when Redis is down."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self.pool.publish(_NUDGES, b"1")
        except _DOWN:
            log.debug("no nudge sent: Redis is down")
            return False
        return True

    async def wake(self, ticket: str | None = None, *, nudged: bool = False) -> bool:
        """A nudge and a durable ticket: some worker looks for work now. False when Redis is down.

        The ticket id makes the same wake-up sent twice one ticket. ``nudged``: that was done.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if not nudged:
                    # First: writing the ticket takes several times as long, and nobody waits.
                    await self.pool.publish(_NUDGES, b"1")
                await self.pool.enqueue_job(TICKET, _job_id=f"ticket-{ticket or new_id()}")
        except _DOWN:
            log.warning("no ticket sent: Redis is down; the reconciler will send it")
            return False
        return True

    async def publish(self, event: Event) -> bool:
        """Tell every listener, and keep the newest progress for those who come later.

        False when Redis is down and nobody was told.
        """
        data = event.model_dump_json(exclude_none=True).encode()
        try:
            async with asyncio.timeout(_PATIENCE_S), self.pool.pipeline(transaction=False) as pipe:
                pipe.publish(_EVENTS, data)
                if event.type is EventType.STATE:
                    pipe.delete(_LIVE + event.job_id)
                else:
                    pipe.set(_LIVE + event.job_id, data, ex=_LIVE_TTL_S)
                await pipe.execute()
        except _DOWN:
            log.debug("event lost: Redis is down")
            return False
        return True

    async def live(self, job_id: str) -> Event | None:
        """The newest progress of a running job, if any."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                data = await self.pool.get(_LIVE + job_id)
            return Event.model_validate_json(data) if data else None
        except _DOWN:
            return None
        except ValueError:
            log.warning("junk in a live key ignored")
            return None

    async def note(self, job_id: str, moments: Sequence[Mapping[str, Any]]) -> None:
        """Keep moments of a job's life for a while, for whoever wants to draw it."""
        if not moments:
            return
        lines = [json.dumps(dict(moment)) for moment in moments]
        try:
            async with asyncio.timeout(_PATIENCE_S), self.pool.pipeline(transaction=False) as pipe:
                pipe.rpush(_TRACE + job_id, *lines)
                pipe.expire(_TRACE + job_id, _TRACE_TTL_S)
                await pipe.execute()
        except _DOWN:
            log.debug("trace lost: Redis is down")

    async def trace(self, job_id: str) -> list[dict[str, Any]]:
        """The moments kept of a job, in order of time; none when they are gone."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                lines: list[bytes] = await self.pool.lrange(_TRACE + job_id, 0, -1)  # type: ignore[misc]
            found = [load_json(line) for line in lines]
            return sorted(found, key=lambda moment: float(moment["at"]))
        except _DOWN:
            return []
        except (ValueError, KeyError, TypeError):
            log.warning("junk in a trace ignored")
            return []

    async def allow_preview(self, key: str, workspace_id: str) -> None:
        """Note that a preview was judged and may be shown in one workspace for a while."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self.pool.set(_PREVIEW + key, workspace_id, ex=_LIVE_TTL_S)
        except _DOWN:
            log.debug("preview not shown: Redis is down")

    async def preview_allowed(self, key: str, workspace_id: str) -> bool:
        """Whether this preview may be shown in this workspace."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                owner = await self.pool.get(_PREVIEW + key)
        except _DOWN:
            return False
        return bool(owner == workspace_id.encode())

    async def serves(self, worker: str, models: Collection[str], *, now: Millis) -> None:
        """Say which models a worker can run; forgotten :data:`SERVING_S` after the last time."""
        said = {"until": now + int(SERVING_S * 1000), "models": sorted(models)}
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self.pool.hset(_SERVING, worker, json.dumps(said))  # type: ignore[misc]
        except _DOWN:
            log.debug("models not announced: Redis is down")

    async def served(self, *, now: Millis) -> dict[str, frozenset[str]] | None:
        """What each living worker can run; None when nobody said, or Redis is down."""
        found, gone = {}, []
        try:
            async with asyncio.timeout(_PATIENCE_S):
                lines: dict[bytes, bytes] = await self.pool.hgetall(_SERVING)  # type: ignore[misc]
                for worker, line in lines.items():
                    said = load_json(line)
                    if int(said["until"]) > now:
                        found[worker.decode()] = frozenset(map(str, said["models"]))
                    else:
                        gone.append(worker.decode())
                if gone:
                    await self.pool.hdel(_SERVING, *gone)  # type: ignore[misc]
        except _DOWN:
            return None
        except (ValueError, KeyError, TypeError):
            log.warning("junk in what workers say they run")
            return None
        return found or None

    async def first_sight(self, key: str, ttl_s: int = 3600) -> bool:
        """Whether this event is seen for the first time, by any process, also before a restart.

        True while Redis is down: what must not happen twice has a key of its own in the database.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return bool(await self.pool.set(_SEEN + key, b"1", ex=ttl_s, nx=True))
        except _DOWN:
            return True

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Every job's events from now on, across reconnects (some may be lost in between)."""
        async with self._subscribe(_EVENTS) as messages:

            async def events() -> AsyncIterator[Event]:
                async for data in messages:
                    try:
                        yield Event.model_validate_json(data)
                    except ValueError:
                        log.warning("junk on the event channel ignored")

            yield events()

    @asynccontextmanager
    async def nudges(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """One item per wake-up; a worker looks at the database at each."""
        async with self._subscribe(_NUDGES) as messages:
            yield messages

    @asynccontextmanager
    async def _subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        # A dead peer (no packet, no FIN) is noticed by the health check, not by silence.
        client: Redis = Redis.from_url(
            self.url, socket_connect_timeout=1, health_check_interval=15, socket_keepalive=True
        )
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        subscribed = asyncio.Event()

        async def messages() -> AsyncIterator[bytes]:
            while True:
                try:
                    if not subscribed.is_set():
                        await pubsub.subscribe(channel)
                        subscribed.set()
                    message = await pubsub.get_message(timeout=30.0)
                except _DOWN:
                    subscribed.clear()
                    await asyncio.sleep(0.3)
                    continue
                if message is not None and message["type"] == "message":
                    yield message["data"]

        try:
            # Subscribed before the caller goes on, so that nothing sent after is missed.
            try:
                await pubsub.subscribe(channel)
                subscribed.set()
            except _DOWN:
                log.warning("not listening yet: Redis is down")
            yield messages()
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await client.aclose()


async def flush_outbox(
    database: Database, wire: Wire, *, now: Millis | None = None, queued: bool = False
) -> int:
    """Send what was written but not sent (a crash between commit and send); returns how many.

    ``queued`` says that the caller has just queued a job: the nudge goes out before anything else.
    """
    moment = now if now is not None else now_ms()
    nudged = queued and await wire.nudge()
    rows = await database.look(outbox.unsent)
    sent = []
    for row in rows:
        if row.topic == "ticket":
            if not await wire.wake(row.id, nudged=nudged):
                break
        elif not await wire.publish(Event(type=EventType.STATE, job_id=row.job_id)):
            break
        sent.append(row.id)
    if sent:
        # Undone by a power loss, it is sent again: harmless.
        await database.run_unsynced(_note_sent, sent, moment)
    return len(sent)


def _note_sent(session: Session, ids: list[str], now: Millis) -> None:
    outbox.mark_sent(session, ids, now=now)
    outbox.prune(session, before=now - _KEEP_SENT_MS)


async def reconcile(database: Database, wire: Wire, *, now: Millis | None = None) -> list[str]:
    """End what nobody will end, send what was not sent, wake a worker if a row is claimable.

    Run every second or so by every worker; safe at any time. Returns the jobs it ended.
    """
    moment = now if now is not None else now_ms()
    ended = await database.run(jobs.sweep, now=moment)
    await flush_outbox(database, wire, now=moment)
    if await database.look(jobs.claimable, now=moment):
        await wire.wake(f"again-{moment // _TICKET_EVERY_MS}")
    return ended
