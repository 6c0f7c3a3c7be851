"""The two ways events come in, over the same listeners: a socket we open, or HTTP behind a proxy.

Socket Mode needs no public address and is the default. HTTP checks Slack's signature on the raw
bytes before anything reads them; what fails is answered 401, and nothing of it is logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.signature import Clock as SignatureClock
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack.calls import Refusal, asked
from storage.errors import OperatorError

log = logging.getLogger(__name__)

PATH = "/slack/events"
"""Commands, presses and events all come here; the manifest for HTTP names it."""
LARGEST = 1 << 20
"""Longest body in bytes; Slack's own are far below."""


class _Now(SignatureClock):
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock()


def is_signed(
    verifier: SignatureVerifier, body: bytes, timestamp: str | None, signature: str | None
) -> bool:
    """Whether Slack sent exactly these bytes in the last five minutes."""
    if timestamp is None or signature is None or not timestamp.isascii():
        return False
    if not timestamp.isdigit() or not signature.isascii():
        return False
    try:
        return bool(verifier.is_valid(body, timestamp, signature))
    except (ValueError, UnicodeDecodeError):
        return False


def http_app(
    app: AsyncApp, signing_secret: str, clock: Callable[[], float] = time.time
) -> web.Application:
    """The HTTP transport as an aiohttp application."""
    verifier = SignatureVerifier(signing_secret, _Now(clock))

    async def on_post(request: web.Request) -> web.StreamResponse:
        headers = request.headers
        body = await request.read()
        stamp = headers.get("X-Slack-Request-Timestamp")
        if not is_signed(verifier, body, stamp, headers.get("X-Slack-Signature")):
            return web.Response(status=401)
        answer = await app.async_dispatch(await to_bolt_request(request))
        return await to_aiohttp_response(answer)

    made = web.Application(client_max_size=LARGEST)
    made.add_routes([web.post(PATH, on_post)])
    return made


@asynccontextmanager
async def over_http(app: AsyncApp, signing_secret: str, host: str, port: int) -> AsyncIterator[int]:
    """Listen until left; the port. Raises ``OperatorError`` when it is taken."""
    runner = web.AppRunner(http_app(app, signing_secret), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise OperatorError(
                f"Slack's port {port} on {host} cannot be used ({error.strerror})",
                "choose another with ATELIER_SLACK_PORT",
            ) from error
        taken = runner.addresses[0][1]
        log.info("Slack over HTTP at port %s", taken)
        yield int(taken)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def over_socket(
    app: AsyncApp, app_token: str, client: AsyncWebClient, logger: logging.Logger
) -> AsyncIterator[None]:
    """Keep a socket open until left; it comes back by itself when it breaks.

    Raises ``OperatorError`` when Slack refuses the app token, ``RetryLater`` when it does not
    answer.
    """
    try:
        await asked(client.apps_connections_open(app_token=app_token))
    except (OperatorError, Refusal) as error:
        said = error.problem if isinstance(error, OperatorError) else str(error)
        raise OperatorError(
            f"Slack opens no socket: {said}",
            "ATELIER_SLACK_APP_TOKEN needs the scope connections:write; run: atelier doctor",
        ) from None
    handler = AsyncSocketModeHandler(app, app_token, logger=logger, web_client=client)
    try:
        await handler.connect_async()  # type: ignore[no-untyped-call]
        log.info("Slack over its socket")
        yield
    finally:
        await handler.close_async()  # type: ignore[no-untyped-call]
