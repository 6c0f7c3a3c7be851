"""Slack as a part of the studio: connects, listens, delivers, and comes back when it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack.calls import PATIENCE_S, asked, make_client
from bot.adapters.slack.cards import Cards
from bot.adapters.slack.desk import Desk
from bot.adapters.slack.listeners import listen
from bot.adapters.slack.logs import bolt_logger
from bot.adapters.slack.people import People
from bot.adapters.slack.pictures import Pictures
from bot.adapters.slack.presenter import SlackPresenter
from bot.adapters.slack.sessions import Sessions
from bot.adapters.slack.streams import Streams
from bot.adapters.slack.transport import over_http, over_socket
from bot.core.command import Core
from bot.core.reply import Reply
from storage import removal
from storage.errors import AtelierError, OperatorError, RetryLater
from storage.schema import Address, Platform

log = logging.getLogger(__name__)

API = "https://slack.com/api/"
_LONGEST_PAUSE_S = 60.0
_MOMENT_S = 3.0
"""How long delivery waits for one card before it turns to others."""


@dataclass(frozen=True)
class Keys:
    """How we reach one workspace, and how it reaches us."""

    bot_token: SecretStr
    app_token: SecretStr | None = None
    """Opens the socket (Socket Mode)."""
    signing_secret: SecretStr | None = None
    """Checks what comes over HTTP; when it is set, HTTP is used instead of the socket."""
    host: str = "127.0.0.1"
    port: int = 3000
    api: str = API


@dataclass(frozen=True)
class Face:
    """A connected workspace."""

    app: AsyncApp
    desk: Desk
    presenter: SlackPresenter
    client: AsyncWebClient


@asynccontextmanager
async def connected(core: Core, keys: Keys) -> AsyncIterator[Face]:
    """The parts for one workspace, without a transport.

    Raises ``OperatorError`` for a token that Slack refuses, ``RetryLater`` when it does not answer,
    and ``Refusal`` for a no that we do not know.
    """
    logger = bolt_logger()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        token = keys.bot_token.get_secret_value()
        client = make_client(token, session, keys.api)
        me = await asked(client.auth_test())
        workspace = str(me["team_id"])
        services = core.services
        # We are there, whatever was noted when the app was taken out.
        await services.database.run(
            removal.note_app, platform=Platform.SLACK, workspace=workspace, there=True,
            now=services.clock(),
        )  # fmt: skip
        services.uploads.authorise(
            Platform.SLACK, lambda host: {"Authorization": f"Bearer {token}"}
        )
        cards = Cards(client, services.posts, Pictures(client, services.blobs))
        sessions = Sessions(client)
        presenter = SlackPresenter(cards, Streams(client, workspace), sessions, services.posts)
        people = People(client, workspace, str(me.get("team", "")))
        services.standings[Platform.SLACK] = people.standing
        desk = Desk(
            core=core, client=client, people=people,
            cards=cards, presenter=presenter, sessions=sessions, workspace=workspace,
        )  # fmt: skip

        async def authorize() -> AuthorizeResult:
            # Known since the start: no call may stand between an event and its acknowledgement.
            return AuthorizeResult(
                enterprise_id=me.get("enterprise_id"), team_id=workspace, bot_token=token,
                bot_id=me.get("bot_id"), bot_user_id=me.get("user_id"),
            )  # fmt: skip

        app = AsyncApp(
            name="atelier",
            logger=logger,
            client=_tokenless(client),
            authorize=authorize,
            signing_secret="",
            request_verification_enabled=False,  # transport.py does it, on the raw bytes
            ssl_check_enabled=False,
            attaching_function_token_enabled=False,
        )
        listen(app, desk)
        yield Face(app, desk, presenter, client)


def _tokenless(client: AsyncWebClient) -> AsyncWebClient:
    """What Bolt copies for each event; it adds the token that ``authorize`` gives."""
    return AsyncWebClient(
        base_url=client.base_url, session=client.session, logger=client.logger,
        retry_handlers=client.retry_handlers,
    )  # fmt: skip


class SlackPart:
    """Slack in `atelier up`: a presenter from the start, connected as soon as Slack answers."""

    def __init__(self, core: Core, keys: Keys, say: Callable[[str], None]) -> None:
        self._core = core
        self._keys = keys
        self._say = say
        self._presenter: SlackPresenter | None = None
        self._desk: Desk | None = None
        self._delivering: dict[str, asyncio.Task[None]] = {}
        self.port: int | None = None
        """Where HTTP is listened to, once it is."""

    async def run(self) -> None:
        """Connect, serve and reconnect until cancelled. Nothing of Slack's ends the studio."""
        pause = 1.0
        while True:
            try:
                async with self._serving() as face:
                    pause = 1.0
                    self._say(f"Slack: connected to {face.desk.people.workspace_name}.")
                    await face.presenter.run()
            except OperatorError as error:
                self._say(f"Slack: {error.problem}. {error.cure}")
                pause = _LONGEST_PAUSE_S
            except AtelierError as error:  # away, or a no that nobody has met yet
                log.warning("Slack is not connected: %s", error)
            finally:
                self._presenter = None
                for going in list(self._delivering.values()):
                    going.cancel()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[Face]:
        keys = self._keys
        async with AsyncExitStack() as stack:
            face = await stack.enter_async_context(connected(self._core, keys))
            self._presenter, self._desk = face.presenter, face.desk
            if keys.signing_secret is not None:
                secret = keys.signing_secret.get_secret_value()
                self.port = await stack.enter_async_context(
                    over_http(face.app, secret, keys.host, keys.port)
                )
            elif keys.app_token is not None:
                token = keys.app_token.get_secret_value()
                await stack.enter_async_context(
                    over_socket(face.app, token, face.client, face.app.logger)
                )
            else:
                raise OperatorError(
                    "there is no way in", "set ATELIER_SLACK_APP_TOKEN or _SIGNING_SECRET"
                )
            yield face

    async def present(self, address: Address, reply: Reply) -> None:
        """See :class:`~bot.core.presenter.Presenter`.

        Uploads and Slack's pauses (429) may take long, and delivery serves other platforms too:
        after a moment this raises ``RetryLater`` while the card is still being put in place, and
        the next try finds it done or waits for the same one.
        """
        if self._presenter is None:
            raise RetryLater("Slack is not connected")
        job_id = reply.job_id or ""
        going = self._delivering.get(job_id)
        if going is None:
            going = asyncio.create_task(self._presenter.present(address, reply))
            self._delivering[job_id] = going
            going.add_done_callback(lambda done: self._delivered(job_id, done))
        await asyncio.wait([going], timeout=_MOMENT_S)
        if not going.done():
            raise RetryLater("Slack is slow; the card is on its way")
        if going.cancelled():
            raise RetryLater("Slack was disconnected")
        going.result()

    def _delivered(self, job_id: str, done: asyncio.Task[None]) -> None:
        self._delivering.pop(job_id, None)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, AtelierError):
            log.info("a card is not in place yet: %s", error)
        elif error is not None:
            log.error("bug while putting the card of %s in place", job_id, exc_info=error)

    async def notify(self, address: Address, reply: Reply) -> None:
        """See :class:`~bot.core.presenter.Notifier`."""
        if self._presenter is None:
            raise RetryLater("Slack is not connected")
        await self._presenter.notify(address, reply)

    async def update(self, address: Address, reply: Reply) -> None:
        """See :class:`~bot.core.presenter.Presenter`."""
        if self._presenter is not None:
            await self._presenter.update(address, reply)
