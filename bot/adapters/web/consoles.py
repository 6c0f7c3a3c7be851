"""The consoles beside the studio: the review room's figures, the audit log, ledger, economics."""

from __future__ import annotations

import csv
import io
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from bot.adapters.web.desk import Desk
from bot.adapters.web.door import guest_of
from bot.adapters.web.reader import OWNER
from bot.adapters.web.render import words_for
from bot.core import review_room
from bot.core.command import error_reply
from bot.core.sums import sums
from storage.errors import BadInput
from storage.workspaces import Actor

KINDS = ("grant", "daily", "promo", "settle", "refund", "gift", "deduct", "expire", "link")
_ACT = (
    "number", "at", "actor_id", "verb", "target", "before", "after", "previous", "digest",
)  # fmt: skip


def make_consoles(desk: Desk) -> APIRouter:
    """The routes. Everything is checked again by the core: a page proves nothing."""
    routes = APIRouter(include_in_schema=False)
    services = desk.core.services

    async def actor(request: Request) -> Actor:
        guest = guest_of(request)
        return guest.actor if guest else await services.actor(OWNER)

    async def page(request: Request, template: str, active: str, **facts: Any) -> Response:
        look, guest = desk.look(request), guest_of(request)
        credits = None if guest else await desk.reader.balance()
        return HTMLResponse(
            desk.renderer.page(template, look, active=active, credits=credits, guest=guest, **facts)
        )

    @routes.get("/review/figures")
    async def figures(request: Request) -> Response:
        seen = await review_room.figures(services, await actor(request))
        return await page(request, "figures.html", "review", seen=seen, room=seen.room)

    @routes.get("/review/thresholds")
    async def thresholds(request: Request, stage: str, code: str) -> Response:
        lines = await review_room.thresholds(services, await actor(request), stage[:80], code[:8])
        return JSONResponse({"lines": [line.model_dump() for line in lines]})

    @routes.get("/review/audit")
    async def audit(request: Request, format: str = "") -> Response:
        acts = await review_room.acts(
            services, await actor(request), limit=10_000 if format else 200
        )
        rows = [{name: getattr(act, name) for name in _ACT} for act in acts]
        if format == "json":
            return JSONResponse({"acts": rows})
        if format == "csv":
            return _csv(rows, "atelier-audit.csv")
        names = await review_room.names(services, await actor(request), acts)
        return await page(request, "audit.html", "review", acts=acts, names=names)

    @routes.get("/economics")
    async def economics(request: Request) -> Response:
        look = desk.look(request)
        refused = None
        try:
            found = await sums(services, dict(request.query_params))
        except BadInput as error:
            refused = error_reply(error, words_for(look.locale)).text
            found = await sums(services, {})
        return await page(
            request, "economics.html", "ledger", sums=found, refused=refused,
            inputs={**found.seen.prices.model_dump(), **found.inputs.model_dump()},
        )  # fmt: skip

    @routes.get("/ledger")
    async def ledger(request: Request, kind: str = "", format: str = "") -> Response:
        kind = kind if kind in KINDS else ""
        account, entries = await review_room.ledger_lines(services, await actor(request), kind=kind)
        rows = [
            {
                "at": entry.at, "kind": entry.kind, "job": entry.job_id or "",
                "credits": entry.amount if entry.credit == account else -entry.amount,
                "reason": "" if entry.kind == "gift" else entry.reason,
            }
            for entry in entries
        ]  # fmt: skip
        if format == "csv":
            return _csv(rows, "atelier-ledger.csv")
        return await page(
            request, "ledger.html", "ledger", rows=rows[:500], kinds=KINDS, kind=kind,
            total=len(rows),
        )  # fmt: skip

    return routes


def _csv(rows: list[dict[str, Any]], name: str) -> Response:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(rows[0].keys() if rows else ["at"])
    for row in rows:
        writer.writerow([_safe(str(value)) for value in row.values()])
    return Response(
        out.getvalue(), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


def _safe(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    number = cell.lstrip("+-").isdigit()
    return f"'{cell}" if cell[:1] in tuple("=+-@\t\r") and not number else cell
