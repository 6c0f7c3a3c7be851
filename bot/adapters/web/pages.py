"""The pages a person sees, and the small posts they make."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from bot.adapters.web.body import read_body, text_of
from bot.adapters.web.controls import panel_controls
from bot.adapters.web.desk import (
    COOKIE_LOCALE,
    COOKIE_THEME,
    COOKIE_THREAD,
    THEMES,
    Desk,
    own_page,
    thread_of,
)
from bot.adapters.web.live import events
from bot.adapters.web.quick import quick_prompts
from bot.adapters.web.render import Look, words_for
from bot.core.reply import Reply
from bot.core.texts import LOCALES, Texts, credits_in_words
from storage.errors import BadInput, NotFound
from storage.schema import new_id

PAGE = 20
"""Cards read at once."""
TILES = 24
"""Tiles of the history read at once."""
STATUS = {0: 200, 2: 422, 3: 403, 4: 429, 5: 500}
"""HTTP status by exit code."""

_YEAR = 365 * 86400


def status_of(reply: Reply) -> int:
    """The HTTP status that says what a reply says. A card is an answer, whatever its job's fate."""
    if reply.job_id is not None:
        return 200
    return 503 if reply.code == "busy" else STATUS.get(reply.exit_code, 200)


def price_line(reply: Reply | None, texts: Texts) -> dict[str, Any]:
    """A dry run for the page: ``price`` (None where there is none), and one line of ``text``."""
    if reply is None:
        return {"ok": True, "price": None, "text": ""}
    price, available = reply.data.get("price"), reply.data.get("available")
    if reply.code is not None or not isinstance(price, int) or not isinstance(available, int):
        return {"ok": False, "price": None, "text": reply.text}
    said = {"price": credits_in_words(price, texts), "left": f"{available - price:,}"}
    if reply.data.get("cached"):
        return {"ok": True, "price": 0, "text": texts("price.cached")}
    if price > available:
        short = texts("price.short", price=said["price"], available=f"{available:,}")
        return {"ok": False, "price": price, "text": short}
    return {"ok": True, "price": price, "text": texts("price.line", **said)}


def make_pages(desk: Desk) -> APIRouter:
    """The routes of the page."""
    routes = APIRouter(include_in_schema=False)
    renderer = desk.renderer

    async def channel(
        request: Request, look: Look, draft: str = "", said: Reply | None = None
    ) -> HTMLResponse:
        cursor = desk.presenter.cursor  # before reading, so that nothing falls in between
        cards = await desk.reader.timeline(look.locale, PAGE)
        catalog = desk.core.catalog(look.locale)
        texts = words_for(look.locale)
        make = next((c for c in catalog if c.name == "imagine"), catalog[0] if catalog else None)
        html = renderer.page(
            "channel.html",
            look,
            active="studio",
            cards=cards,
            more=len(cards) >= PAGE,
            cursor=cursor,
            catalog=[info.model_dump(mode="json") for info in catalog],
            make=make,
            controls=panel_controls(make, texts) if make else [],
            quick=quick_prompts(texts),
            credits=await desk.reader.balance(),
            draft=draft,
            said=said,
        )
        answer = HTMLResponse(html, status_of(said) if said else 200)
        if thread_of(request) is None:
            answer.set_cookie(COOKIE_THREAD, new_id(), max_age=_YEAR, samesite="strict")
        return answer

    def shown(reply: Reply, look: Look) -> JSONResponse:
        """A reply for the page's own script: ready pieces of HTML and what to do with them."""
        body: dict[str, Any] = {
            "ok": reply.code is None or reply.job_id is not None,
            "code": reply.code,
            "job": reply.job_id,
            "status": reply.status,
            "card": None,
            "toast": None,
            "form": None,
            "decision": reply.data.get("decision_id"),
            "forgotten": bool(reply.data.get("forgotten")),
        }
        if reply.form is not None:
            body["form"] = renderer.form(reply, look)
        elif reply.job_id is not None:
            body["card"] = renderer.card(reply, look)
        else:
            body["toast"] = renderer.toast(reply, look)
        return JSONResponse(body, status_of(reply))

    @routes.get("/")
    async def studio(request: Request) -> Response:
        return await channel(request, desk.look(request))

    @routes.post("/invoke")
    async def invoke(request: Request) -> Response:
        look = desk.look(request)
        fields: dict[str, Any] = {}
        try:
            fields = await read_body(request)
            reply = await desk.invoke(fields, look.locale, thread_of(request))
        except BadInput as error:
            reply = desk.refuse(error, look.locale)
        if "application/json" in request.headers.get("accept", ""):
            return shown(reply, look)
        if reply.job_id is not None:
            return RedirectResponse(f"/#job-{reply.job_id}", 303)
        return await channel(request, look, text_of(fields, "line", 100_000), reply)

    @routes.post("/quote")
    async def quote(request: Request) -> Response:
        """What these fields would cost, in words, and whether the credits are enough."""
        look = desk.look(request)
        texts = words_for(look.locale)
        try:
            reply = await desk.quote(await read_body(request), look.locale, thread_of(request))
        except BadInput as error:
            reply = desk.refuse(error, look.locale)
        return JSONResponse(price_line(reply, texts))

    @routes.post("/press")
    async def press(request: Request) -> Response:
        look = desk.look(request)
        try:
            reply = await desk.press(await read_body(request), look.locale, thread_of(request))
        except BadInput as error:
            reply = desk.refuse(error, look.locale)
        if "application/json" in request.headers.get("accept", ""):
            return shown(reply, look)
        if reply.form is not None:
            return HTMLResponse(
                renderer.page(
                    "single.html", look, active="", body=renderer.form(reply, look),
                    credits=await desk.reader.balance(),
                )
            )  # fmt: skip
        if reply.job_id is None:
            return await channel(request, look, "", reply)
        return RedirectResponse(f"/#job-{reply.job_id}", 303)

    @routes.get("/timeline")
    async def timeline(request: Request, before: str | None = None) -> Response:
        look = desk.look(request)
        cursor = desk.presenter.cursor
        cards = await desk.reader.timeline(look.locale, PAGE, before)
        return JSONResponse(
            {
                "cursor": cursor,
                "more": len(cards) >= PAGE,
                "cards": [
                    {"job": card.job_id, "card": renderer.card(card, look)} for card in cards
                ],
            }
        )

    @routes.get("/cards/{job_id}")
    async def card(request: Request, job_id: str) -> Response:
        look = desk.look(request)
        wants_json = "application/json" in request.headers.get("accept", "")
        try:
            reply = await desk.reader.card(job_id[:64], look.locale)
        except NotFound as error:
            reply = desk.refuse(error, look.locale)
            if wants_json:
                return JSONResponse({"ok": False, "code": reply.code}, 404)
            return HTMLResponse(
                renderer.page(
                    "single.html", look, active="", body=renderer.toast(reply, look),
                    credits=await desk.reader.balance(),
                ), 404,
            )  # fmt: skip
        if wants_json:
            return shown(reply, look)
        return HTMLResponse(
            renderer.page(
                "single.html", look, active="", body=renderer.card(reply, look),
                credits=await desk.reader.balance(),
            )
        )  # fmt: skip

    @routes.get("/history")
    async def history(
        request: Request, before: str | None = None, part: int = 0, kept: int = 0
    ) -> Response:
        look = desk.look(request)
        if kept:
            cards = await desk.reader.kept(look.locale, TILES)
        else:
            cards = list(reversed(await desk.reader.timeline(look.locale, TILES, before)))
        facts = {
            "cards": cards,
            "kept": bool(kept),
            "oldest": cards[-1].job_id if len(cards) >= TILES and not kept else None,
        }
        if part:
            return HTMLResponse(renderer.page("tiles.html", look, **facts))
        credits = await desk.reader.balance()
        return HTMLResponse(
            renderer.page("history.html", look, active="history", credits=credits, **facts)
        )

    @routes.get("/balance")
    async def balance(request: Request) -> Response:
        credits = await desk.reader.balance()
        return HTMLResponse(renderer.page("balance.html", desk.look(request), credits=credits))

    @routes.get("/events")
    async def live(request: Request, after: str = "") -> Response:
        look = desk.look(request)
        seen = request.headers.get("last-event-id", after)
        return EventSourceResponse(
            events(desk.presenter, seen, lambda reply: encode_card(desk, reply, look)),
            ping=15,
        )

    @routes.post("/conversation")
    async def conversation(request: Request) -> Response:
        answer: Response = RedirectResponse("/", 303)
        if "application/json" in request.headers.get("accept", ""):
            answer = JSONResponse({"ok": True})
        answer.set_cookie(COOKIE_THREAD, new_id(), max_age=_YEAR, samesite="strict")
        return answer

    @routes.post("/preferences")
    async def preferences(request: Request) -> Response:
        try:
            fields = await read_body(request)
        except BadInput:
            fields = {}
        answer: Response = RedirectResponse(own_page(text_of(fields, "back", 500)), 303)
        if "application/json" in request.headers.get("accept", ""):
            answer = JSONResponse({"ok": True})
        for name, cookie, allowed in (
            ("locale", COOKIE_LOCALE, LOCALES),
            ("theme", COOKIE_THEME, THEMES),
        ):
            if (value := text_of(fields, name)) in allowed:
                answer.set_cookie(cookie, value, max_age=_YEAR, samesite="strict")
        return answer

    return routes


def encode_card(desk: Desk, reply: Reply, look: Look) -> str:
    """A card event's data for the page."""
    return json.dumps(
        {"job": reply.job_id, "status": reply.status, "card": desk.renderer.card(reply, look)}
    )
