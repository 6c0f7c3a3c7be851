"""The consoles beside the studio: the review room, the ledger, the audit log, all by keyboard."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

from fastapi import APIRouter, Request
from PIL import Image, ImageFilter
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from bot.adapters.web.body import read_body, text_of
from bot.adapters.web.desk import Desk
from bot.adapters.web.reader import OWNER
from bot.adapters.web.render import words_for
from bot.core import review_room
from bot.core.case_card import CODES, RULING_OF
from bot.core.command import error_reply
from bot.core.reply import Reply, Verb
from bot.core.sums import sums
from storage.errors import BadInput, MemberError
from storage.schema import Verdict
from storage.workspaces import Actor

_VEIL = 14
"""Radius of the veil in pixels of a picture 256 wide: shapes stay, bodies do not."""
KINDS = ("grant", "daily", "promo", "settle", "refund", "gift", "deduct", "expire", "link")
_ACT = (
    "number", "at", "actor_id", "verb", "target", "before", "after", "previous", "digest",
)  # fmt: skip
BULK = {str(verb): ruling for verb, ruling in RULING_OF.items() if verb is not Verb.ASK}


def make_consoles(desk: Desk) -> APIRouter:
    """The routes. Everything is checked again by the core: a page proves nothing."""
    routes = APIRouter(include_in_schema=False)
    services = desk.core.services

    async def actor() -> Actor:
        return await services.actor(OWNER)

    async def page(request: Request, template: str, active: str, **facts: Any) -> Response:
        look = desk.look(request)
        credits = await desk.reader.balance()
        return HTMLResponse(
            desk.renderer.page(template, look, active=active, credits=credits, **facts)
        )

    def no(error: MemberError, request: Request) -> Response:
        reply = error_reply(error, words_for(desk.look(request).locale))
        return JSONResponse({"ok": False, "code": reply.code, "text": reply.text}, 409)

    @routes.get("/review")
    async def room(request: Request, code: str = "") -> Response:
        cases = await review_room.waiting(services, await actor(), code=code[:8].upper())
        return await page(
            request, "review.html", "review", cases=[_row(case) for case in cases], codes=CODES,
            code=code[:8].upper(),
        )  # fmt: skip

    @routes.get("/review/queue")
    async def queue(request: Request, code: str = "") -> Response:
        cases = await review_room.waiting(services, await actor(), code=code[:8].upper())
        return JSONResponse({"cases": [_row(case) for case in cases]})

    @routes.get("/review/cases/{case_id}")
    async def case(request: Request, case_id: str) -> Response:
        look = desk.look(request)
        try:
            who = await actor()
            reply = await review_room.show_case(services, who, case_id, words_for(look.locale))
            alike = await review_room.twins(services, who, case_id)
        except MemberError as error:
            return no(error, request)
        html = desk.renderer.page("case.html", look, reply=reply, alike=len(alike),
                                  keys=_keys(reply))  # fmt: skip
        return JSONResponse({"ok": True, "case": html})

    @routes.get("/review/pictures/{case_id}")
    async def picture(request: Request, case_id: str, clear: int = 0) -> Response:
        texts = words_for(desk.look(request).locale)
        who = await actor()
        try:
            if clear:
                blob = await review_room.reveal(services, who, case_id, texts)
            else:
                card = await review_room.show_case(services, who, case_id, texts)
                blob = card.pictures[0].blob if card.pictures else None
            if blob is None:
                return PlainTextResponse("not found\n", 404)
            data = await asyncio.to_thread(services.blobs.get, blob)
        except MemberError:
            return PlainTextResponse("not found\n", 404)
        if not clear:
            data = await asyncio.to_thread(veil, data)
        return Response(
            data, media_type="image/webp" if data[:4] == b"RIFF" else "image/png",
            headers={"Cache-Control": "no-store"},
        )  # fmt: skip

    @routes.post("/review/alike")
    async def alike(request: Request) -> Response:
        try:
            fields = await read_body(request)
            ruling = BULK.get(text_of(fields, "verb"))
            if ruling is None:
                raise BadInput("button_unknown")
            made = await review_room.decide_alike(
                services, await actor(), text_of(fields, "target"), ruling,
                code=text_of(fields, "code"), note=text_of(fields, "note", 2000),
            )  # fmt: skip
        except MemberError as error:
            return no(error, request)
        return JSONResponse({"ok": True, "decisions": [decision.id for decision in made]})

    @routes.get("/review/figures")
    async def figures(request: Request) -> Response:
        seen = await review_room.figures(services, await actor())
        return await page(request, "figures.html", "review", seen=seen, room=seen.room)

    @routes.get("/review/thresholds")
    async def thresholds(request: Request, stage: str, code: str) -> Response:
        lines = await review_room.thresholds(services, await actor(), stage[:80], code[:8])
        return JSONResponse({"lines": [line.model_dump() for line in lines]})

    @routes.get("/review/audit")
    async def audit(request: Request, format: str = "") -> Response:
        acts = await review_room.acts(services, await actor(), limit=10_000 if format else 200)
        rows = [{name: getattr(act, name) for name in _ACT} for act in acts]
        if format == "json":
            return JSONResponse({"acts": rows})
        if format == "csv":
            return _csv(rows, "atelier-audit.csv")
        return await page(request, "audit.html", "review", acts=acts)

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
        account, entries = await review_room.ledger_lines(services, await actor(), kind=kind)
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


def veil(data: bytes) -> bytes:
    """A small, grey, blurred picture: enough to know what kind of thing it is."""
    with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as opened:
        small = opened.convert("L")
        small.thumbnail((256, 256))
        out = io.BytesIO()
        small.filter(ImageFilter.GaussianBlur(_VEIL)).save(out, "WEBP", quality=60, method=0)
        return out.getvalue()


def _row(case: Any) -> dict[str, Any]:
    codes = Verdict.parse(case.verdict).categories()
    return {
        "id": case.id, "code": str(codes[0]) if codes else "–", "severity": case.severity,
        "status": str(case.status), "due_at": case.due_at, "at": case.created_at,
        "escalated": case.escalated, "held": case.claimed_by is not None,
    }  # fmt: skip


_KEYS = {
    Verb.APPROVE: "A", Verb.BLUR: "B", Verb.DENY: "D", Verb.STRIKE: "S", Verb.REVEAL: "R",
    Verb.ESCALATE: "E", Verb.UPHOLD: "H", Verb.OVERTURN: "O",
}  # fmt: skip


def _keys(reply: Reply) -> dict[str, str]:
    return {str(verb): key for verb, key in _KEYS.items()} if reply.buttons else {}


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
