"""The same studio for programs: JSON in, JSON out, with the token or the cookie."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse
from starlette.responses import JSONResponse, Response

from bot.adapters.web.body import read_body
from bot.adapters.web.desk import Desk, given_thread
from bot.adapters.web.live import events
from bot.adapters.web.pages import status_of
from bot.core.reply import Reply
from bot.core.texts import pick_locale
from storage.errors import BadInput, NotFound

_MOST = 100


def make_api(desk: Desk) -> APIRouter:
    """The routes under ``/api``. ``?locale=`` chooses the language of the sentences."""
    routes = APIRouter(prefix="/api")

    @routes.get("/catalog")
    async def catalog(locale: str = "en") -> Response:
        return JSONResponse(
            [info.model_dump(mode="json") for info in desk.core.catalog(pick_locale(locale))]
        )

    @routes.post("/invoke")
    async def invoke(request: Request, locale: str = "en") -> Response:
        """``{"line": "/imagine ..."}`` or ``{"command", "values"}``; also ``thread``, ``key``."""
        return await _answer(desk, request, locale, desk.invoke)

    @routes.post("/press")
    async def press(request: Request, locale: str = "en") -> Response:
        """``{"verb", "target"}`` of a button seen on a card."""
        return await _answer(desk, request, locale, desk.press)

    @routes.get("/jobs")
    async def jobs(locale: str = "en", limit: int = 30, before: str | None = None) -> Response:
        limit = max(1, min(limit, _MOST))
        cards = await desk.reader.timeline(pick_locale(locale), limit, before)
        return JSONResponse([dump(card) for card in cards])

    @routes.get("/jobs/{job_id}")
    async def job(job_id: str, locale: str = "en") -> Response:
        try:
            return JSONResponse(dump(await desk.reader.card(job_id[:64], pick_locale(locale))))
        except NotFound as error:
            return JSONResponse(dump(desk.refuse(error, pick_locale(locale))), 404)

    @routes.get("/jobs/{job_id}/events")
    async def job_events(request: Request, job_id: str) -> Response:
        """Server-sent events of one job, each the whole reply; read the job once first."""
        seen = request.headers.get("last-event-id", "")
        return EventSourceResponse(
            events(desk.presenter, seen, Reply.model_dump_json, wanted=job_id), ping=15
        )

    @routes.get("/balance")
    async def balance() -> Response:
        credits = await desk.reader.balance()
        return JSONResponse({"available": credits.available, "pending": credits.pending})

    return routes


def dump(reply: Reply) -> dict[str, Any]:
    """A reply for a program: what is set, and no more."""
    return reply.model_dump(mode="json", exclude_none=True)


async def _answer(desk: Desk, request: Request, locale: str, act: Any) -> Response:
    locale = pick_locale(locale)
    try:
        fields = await read_body(request)
        reply: Reply = await act(fields, locale, given_thread(fields))
    except BadInput as error:
        reply = desk.refuse(error, locale)
    return JSONResponse(dump(reply), status_of(reply))
