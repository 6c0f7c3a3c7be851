"""The door for moderators who come from a chat: which requests a visit may make, and its pages.

The owner's cookie opens the whole studio; a guest's opens the routes in :data:`ROOM` and nothing
else. A route that is added later is closed to guests until somebody writes it here.
"""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from bot.adapters.web.body import read_body, text_of
from bot.adapters.web.desk import Desk
from bot.adapters.web.render import words_for
from bot.core import door
from bot.core.command import error_reply
from bot.core.door import Guest
from storage import visits
from storage.errors import BadInput, MemberError, NotAllowed, NotFound

_CASE = r"[0-9A-Za-z]{1,64}"
ROOM = (
    ("GET", re.compile(r"/review(/(queue|bulk|figures|thresholds|audit))?", re.ASCII)),
    ("GET", re.compile(rf"/review/(cases|pictures)/{_CASE}", re.ASCII)),
    ("POST", re.compile(r"/review/(press|claim|bulk|bulk/undo|views|leave)", re.ASCII)),
    ("POST", re.compile(r"/preferences", re.ASCII)),  # language and light: cookies of their own
)
"""What a guest may ask for: method and path."""


def in_room(request: Request) -> bool:
    """Whether a request is one that a guest may make."""
    method = "GET" if request.method == "HEAD" else request.method
    return any(method == one and path.fullmatch(request.url.path) for one, path in ROOM)


def guest_of(request: Request) -> Guest | None:
    """Who visits; None for the owner."""
    found: Guest | None = getattr(request.state, "guest", None)
    return found


class Door:
    """Cookies of visits, and what is answered to who has none."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.secure = desk.core.services.page_url.startswith("https://")

    def cookie(self, request: Request) -> str:
        """The cookie's name. Over https it is bound to this very host; else one per port."""
        if self.secure:
            return "__Host-atelier-room"
        port = request.headers.get("host", "").rpartition(":")[2]
        return f"atelier-room-{port}" if port.isdigit() else "atelier-room"

    async def guest(self, request: Request) -> Guest | None:
        """Who visits by this request's cookie, as they are now. Raises ``RetryLater``."""
        secret = request.cookies.get(self.cookie(request), "")
        return await door.guest(self.desk.core.services, secret) if secret else None

    def closed(
        self, request: Request, error: MemberError, status: int, *, guest: bool = False
    ) -> Response:
        """Why the room does not open, and where to get a link."""
        look = self.desk.look(request)
        reply = error_reply(error, words_for(look.locale))
        if "text/html" in request.headers.get("accept", ""):
            html = self.desk.renderer.page("door.html", look, refused=reply.text, guest=guest)
            return HTMLResponse(html, status)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"ok": False, "code": reply.code, "text": reply.text}, status)
        return PlainTextResponse(f"{reply.text}\n", status)

    def denied(self, request: Request) -> Response | None:
        """For a cookie whose visit is over; None when there was no cookie."""
        if self.cookie(request) not in request.cookies:
            return None
        answer = self.closed(request, NotAllowed("door_over"), 401)
        self._forget(request, answer)
        return answer

    def elsewhere(self, request: Request) -> Response:
        """For a guest who asks for anything but the room."""
        return self.closed(request, NotAllowed("door_elsewhere"), 403, guest=True)

    def routes(self) -> APIRouter:
        """The page a link opens, which changes nothing by itself; its button; the way out."""
        routes = APIRouter(include_in_schema=False)
        services = self.desk.core.services

        @routes.get(door.PATH)
        async def show(request: Request, left: int = 0) -> Response:
            if left:
                return self.closed(request, NotAllowed("door_over"), 200)
            look = self.desk.look(request)
            return HTMLResponse(self.desk.renderer.page("door.html", look, refused="", guest=False))

        @routes.post(door.PATH)
        async def enter(request: Request) -> Response:
            try:
                secret = text_of(await read_body(request), "link", 200)
                begun = await door.enter(services, secret)
            except BadInput as error:
                return self.closed(request, error, 422)
            except NotAllowed as error:
                return self.closed(request, error, 403)
            except NotFound as error:
                return self.closed(request, error, 404)
            answer = Response(status_code=303, headers={"Location": "/review"})
            answer.set_cookie(
                self.cookie(request), begun, max_age=visits.VISIT_MS // 1000, httponly=True,
                samesite="strict", secure=self.secure,
            )  # fmt: skip
            return answer

        @routes.post("/review/leave")
        async def leave(request: Request) -> Response:
            await visits.end(services.wire, request.cookies.get(self.cookie(request), ""))
            answer = Response(status_code=303, headers={"Location": f"{door.PATH}?left=1"})
            self._forget(request, answer)
            return answer

        return routes

    def _forget(self, request: Request, answer: Response) -> None:
        answer.delete_cookie(
            self.cookie(request), httponly=True, samesite="strict", secure=self.secure
        )
