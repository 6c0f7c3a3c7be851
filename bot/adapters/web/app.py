"""Builds the web front end: pages, API, pictures and live events behind one door."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from bot.adapters.web.access import Access
from bot.adapters.web.api import make_api
from bot.adapters.web.consoles import make_consoles
from bot.adapters.web.desk import Desk
from bot.adapters.web.door import Door
from bot.adapters.web.live import WebPresenter
from bot.adapters.web.mishaps import wire_mishaps
from bot.adapters.web.pages import make_pages
from bot.adapters.web.pictures import make_pictures
from bot.adapters.web.reader import CoreReader, Reader
from bot.adapters.web.render import Renderer
from bot.adapters.web.review import make_review
from bot.adapters.web.settings import make_settings
from bot.adapters.web.verify import make_verify
from bot.core.command import Core

_STATIC = Path(__file__).with_name("static")


class _Static(StaticFiles):
    """Our own assets: asked for again on each load, answered 304 while they are the same."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        answer = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def make_app(
    core: Core,
    presenter: WebPresenter,
    *,
    token: str,
    reader: Reader | None = None,
    hosts: Collection[str] = (),
) -> FastAPI:
    """The whole web front end.

    ``token`` opens it (``http://127.0.0.1:<port>/?token=<token>``); keep it stable per state
    folder, so that an open page goes on after a restart. ``reader`` replaces the core's reads.
    ``hosts`` are names to answer to besides the loopback ones, for who listens elsewhere.
    """
    reader = reader or CoreReader(core)
    renderer = Renderer()
    desk = Desk(core=core, presenter=presenter, reader=reader, renderer=renderer)
    door = Door(desk)
    app = FastAPI(title="Atelier", docs_url=None, redoc_url=None, openapi_url=None)

    async def denied(request: Request) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(renderer.page("denied.html", desk.look(request)), 401)
        return PlainTextResponse("open the studio by its printed link\n", 401)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """For Prometheus, with the token as bearer: not in ``OPEN_PATHS``."""
        text = core.services.metrics.text()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    wire_mishaps(app, desk)
    app.include_router(make_pages(desk))
    app.include_router(make_verify(desk))
    app.include_router(make_api(desk))
    app.include_router(make_consoles(desk))
    app.include_router(make_settings(desk))
    app.include_router(make_review(desk))
    app.include_router(door.routes())
    app.include_router(make_pictures(reader))
    app.mount("/static", _Static(directory=_STATIC), name="static")
    app.add_middleware(Access, token=token, denied=denied, door=door, hosts=hosts)
    return app
