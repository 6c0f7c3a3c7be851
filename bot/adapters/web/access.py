"""Who may come in: loopback names only, one token, a cookie made from it, same-origin posts.

The page runs on a member's own machine, where any web site they visit can also send requests to
it. So every request must name a loopback host (DNS rebinding), carry the session cookie or the
token, and every change must come from our own page or from a program that holds the token.
Moderators of a chat come by another door (:mod:`bot.adapters.web.door`) and into one room only.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.adapters.web.door import Door, guest_of, in_room
from bot.core.door import PATH as DOOR
from storage import tenant
from storage.errors import RetryLater

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Host names the page always answers to."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy: our own files only, nothing inline, nothing from elsewhere. ``blob:``
shows a chosen picture before it is sent."""

OPEN_PATHS = frozenset({"/healthz"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})

Denied = Callable[[Request], Awaitable[Response]]
"""Makes the small page that says to use the printed link."""


def session_of(token: str) -> str:
    """The cookie's value: derived from the token, so that it outlives a restart of the server."""
    return hmac.new(token.encode(), b"atelier web session 1", hashlib.sha256).hexdigest()


def cookie_name(host: str) -> str:
    """One cookie per port: browsers share cookies between ports of one host."""
    port = host.rpartition(":")[2]
    return f"atelier-{port}" if port.isdigit() else "atelier"


def host_name(host: str) -> str:
    """The name in a Host header without its port, lower case."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


class Access:
    """ASGI middleware that lets in whoever may come in, and adds the safety headers."""

    def __init__(
        self, app: ASGIApp, token: str, denied: Denied, door: Door, hosts: Collection[str] = ()
    ) -> None:
        self.app = app
        self.hosts = LOOPBACK | {host.lower() for host in hosts}
        self.token = token
        self.session = session_of(token)
        self.denied = denied
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message))
            await send(message)

        request = Request(scope, receive)
        try:
            answer = await self._refusal(request)
        except RetryLater:
            answer = PlainTextResponse("busy, try again\n", 503, {"Retry-After": "1"})
        visitor = guest_of(request)
        if answer is None and visitor is not None:
            # Whatever a route forgets: no statement of this request leaves the guest's workspace.
            with tenant.within(visitor.actor.workspace.id):
                await self.app(scope, receive, guarded_send)
            return
        await (answer or self.app)(scope, receive, guarded_send)

    async def _refusal(self, request: Request) -> Response | None:
        """The answer to give instead of the page, or None to let the request in."""
        headers = request.headers
        host = headers.get("host", "")
        if host_name(host) not in self.hosts:
            return PlainTextResponse("unknown host\n", 421)
        path = request.url.path
        if path in OPEN_PATHS:
            return None
        if path == "/" and "token" in request.query_params and request.method in _SAFE_METHODS:
            return await self._exchange(request, host)
        if self._bearer(headers):
            return None
        if path.startswith("/static/"):  # the page that says "use the link" needs its style
            return None
        cookie = request.cookies.get(cookie_name(host), "")
        owner = secrets.compare_digest(cookie.encode(), self.session.encode())
        if path != DOOR and (in_room(request) or not owner):
            # In the room the visit counts: whoever opened a link wants to see where it leads.
            visitor = await self.door.guest(request)
            if visitor is not None and not in_room(request):
                return self.door.elsewhere(request)
            request.state.guest = visitor
            if visitor is None and not owner:
                return self.door.denied(request) or await self.denied(request)
        if request.method not in _SAFE_METHODS and not _same_origin(headers, host):
            return PlainTextResponse("cross-origin request refused\n", 403)
        return None

    def _bearer(self, headers: Headers) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(
            value.strip().encode(), self.token.encode()
        )

    async def _exchange(self, request: Request, host: str) -> Response:
        given = request.query_params["token"].encode("utf-8", "surrogatepass")
        if not secrets.compare_digest(given, self.token.encode()):
            return await self.denied(request)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            cookie_name(host), self.session, max_age=90 * 86400, httponly=True, samesite="strict"
        )
        return answer


def _same_origin(headers: Headers, host: str) -> bool:
    origin = headers.get("origin", "null")
    if origin != "null":  # our no-referrer policy makes browsers write null for plain forms
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
    return headers.get("sec-fetch-site") == "same-origin"


def _add_headers(headers: MutableHeaders) -> None:
    headers["Content-Security-Policy"] = POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Frame-Options"] = "DENY"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers.setdefault("Cache-Control", "no-store")
