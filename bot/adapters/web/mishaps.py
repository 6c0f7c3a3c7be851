"""What a visitor reads when there is no such page, something passes, or the fault is ours."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from bot.adapters.web.desk import Desk
from bot.adapters.web.door import guest_of
from bot.adapters.web.pages import STATUS
from bot.adapters.web.render import words_for
from bot.core.command import error_reply
from storage.errors import MemberError, NotFound, RetryLater
from storage.schema import new_id

log = logging.getLogger(__name__)


def told(
    desk: Desk, request: Request, *, title: str, text: str, code: str, status: int
) -> Response:
    """A page for a person, an object for a script, a line for anything else."""
    accepted = request.headers.get("accept", "")
    if "text/html" in accepted:
        html = desk.renderer.page(
            "mishap.html", desk.look(request), title=title, text=text, guest=guest_of(request)
        )
        return HTMLResponse(html, status)
    if "application/json" in accepted:
        return JSONResponse({"ok": False, "code": code, "text": text}, status)
    return PlainTextResponse(f"{text}\n", status)


def wire_mishaps(app: FastAPI, desk: Desk) -> None:
    """Everything a route may raise becomes a sentence; a fault of ours is logged by reference."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, MemberError)
        reply = error_reply(error, words_for(desk.look(request).locale))
        status = 404 if isinstance(error, NotFound) else STATUS[error.exit_code]
        return told(
            desk, request, title=reply.title, text=reply.text, code=error.code, status=status
        )

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 422
        lost = status == 404
        texts = words_for(desk.look(request).locale)
        answer = told(
            desk, request, title=texts("mishap.lost") if lost else texts("mishap.odd"),
            text=texts("mishap.lost_text") if lost else texts("mishap.odd_text"),
            code="page_unknown" if lost else "ask_invalid", status=status,
        )  # fmt: skip
        if isinstance(error, HTTPException):
            answer.headers.update(error.headers or {})
        return answer

    async def later(request: Request, error: Exception) -> Response:
        log.warning("a page met a passing fault", exc_info=error)
        texts = words_for(desk.look(request).locale)
        answer = told(
            desk, request, title=texts("mishap.later"), text=texts("error.busy"), code="busy",
            status=503,
        )  # fmt: skip
        answer.headers["Retry-After"] = "1"
        return answer

    async def ours(request: Request, error: Exception) -> Response:
        reference = new_id()[-8:]
        log.error("bug %s", reference, exc_info=error)
        texts = words_for(desk.look(request).locale)
        return told(
            desk, request, title=texts("mishap.ours"),
            text=texts("error.bug", reference=reference), code="bug", status=500,
        )  # fmt: skip

    app.add_exception_handler(MemberError, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, http)
    app.add_exception_handler(RetryLater, later)
    app.add_exception_handler(Exception, ours)
