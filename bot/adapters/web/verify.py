"""A page to drop a picture on: was it made here? The free detector that the EU's code expects."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from bot.adapters.web.body import read_file
from bot.adapters.web.desk import Desk
from bot.adapters.web.pages import status_of
from bot.adapters.web.render import words_for
from bot.core.command import error_reply
from bot.core.reply import Reply
from bot.core.verifying import verified, verify_bytes
from storage.errors import MemberError


def make_verify(desk: Desk) -> APIRouter:
    """``GET /verify`` shows the page; ``POST /verify`` takes a file, as a form or as the body."""
    routes = APIRouter(include_in_schema=False)

    async def page(request: Request, said: Reply | None = None) -> HTMLResponse:
        look = desk.look(request)
        html = desk.renderer.page(
            "verify.html", look, active="verify", said=said, credits=await desk.reader.balance(),
        )  # fmt: skip
        return HTMLResponse(html, status_of(said) if said else 200)

    @routes.get("/verify")
    async def show(request: Request) -> Response:
        return await page(request)

    @routes.post("/verify")
    async def judge(request: Request) -> Response:
        texts = words_for(desk.look(request).locale)
        try:
            reply = verified(
                await verify_bytes(desk.core.services, await read_file(request)), texts
            )
        except MemberError as error:
            reply = error_reply(error, texts)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"code": reply.code, **reply.data}, status_of(reply))
        return await page(request, reply)

    return routes
