"""The review room as a page: queue and filters, one case after the other by keyboard, bulk acts."""

from __future__ import annotations

import asyncio
import io
import time
from collections import OrderedDict
from typing import Any

from fastapi import APIRouter, Request
from PIL import Image, ImageFilter
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from bot.adapters.web.body import read_body, text_of, values_of
from bot.adapters.web.desk import CHANNEL, Desk, address, key_of
from bot.adapters.web.door import guest_of
from bot.adapters.web.reader import OWNER
from bot.adapters.web.render import name_of, words_for
from bot.core import review_bulk, review_room
from bot.core.case_card import BLIND_RULING, CODES, RULING_OF, due_in_words, span
from bot.core.command import Press, error_reply
from bot.core.door import Guest
from bot.core.reply import Reply, Verb
from bot.core.texts import Texts
from storage import duty, review, review_queue
from storage.errors import BadInput, MemberError
from storage.review_queue import QueueFilter, Waiting, filter_of
from storage.review_words import FIRST
from storage.schema import Address, CaseStatus, Millis, Verdict
from storage.workspaces import Actor

_VEIL = 14
"""Radius of the veil in pixels of a picture 256 wide: shapes stay, bodies do not."""
_VEILED = 256
"""Veiled pictures kept: a page asks for the next one before it is needed."""
_FRESH_S = 5.0
"""How long a page's reads trust who they found; every act finds them anew."""
BULK = {
    str(verb): ruling for verb, ruling in RULING_OF.items() if ruling in review_bulk.RULINGS
}  # fmt: skip
FILTERS = ("code", "severity", "origin", "kind", "member", "late", "free")
KEYS = {
    Verb.APPROVE: "A", Verb.BLUR: "B", Verb.DENY: "D", Verb.STRIKE: "S", Verb.REVEAL: "R",
    Verb.ESCALATE: "E", Verb.UPHOLD: "H", Verb.OVERTURN: "O", Verb.ASK: "Q", Verb.BAN: "X",
    Verb.STEAL: "T", Verb.LOOK_APPROVE: "A", Verb.LOOK_DENY: "D", Verb.AGREE: "G",
}  # fmt: skip


VERBS = frozenset(
    str(verb)
    for verb in (*RULING_OF, *BLIND_RULING, Verb.AGREE, Verb.UNDO, Verb.UPHOLD, Verb.OVERTURN,
                 Verb.STEAL, Verb.DUTY)
)  # fmt: skip
"""The buttons of this room; a page of cases presses no others, whoever looks at it."""


class Veils:
    """Veiled pictures by blob, the last asked for kept. A blob's content never changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def of(self, blob: str, data: bytes) -> bytes:
        """The veiled picture."""
        known = self._kept.get(blob)
        if known is None:
            known = await asyncio.to_thread(veil, data)
            self._kept[blob] = known
            while len(self._kept) > _VEILED:
                self._kept.popitem(last=False)
        self._kept.move_to_end(blob)
        return known

    def has(self, blob: str) -> bytes | None:
        """The veiled picture when it is there already."""
        return self._kept.get(blob)


def make_review(desk: Desk) -> APIRouter:
    """The routes. Everything is checked again by the core: a page proves nothing."""
    routes = APIRouter(include_in_schema=False)
    services = desk.core.services
    veils = Veils()
    seen: dict[str, tuple[float, Actor]] = {}

    async def actor(request: Request, *, acts: bool = False) -> Actor:
        if (guest := guest_of(request)) is not None:
            return guest.actor  # read for this very request
        if acts:
            return await services.actor(OWNER)
        known = seen.get(OWNER.member)
        if known is None or known[0] < time.monotonic():
            known = (time.monotonic() + _FRESH_S, await services.actor(OWNER))
            seen[OWNER.member] = known
        return known[1]

    async def page(request: Request, template: str, **facts: Any) -> Response:
        look, guest = desk.look(request), guest_of(request)
        credits = None if guest else await desk.reader.balance()
        return HTMLResponse(
            desk.renderer.page(
                template, look, active="review", credits=credits, guest=guest, **facts
            )
        )

    def no(error: MemberError, request: Request) -> Response:
        reply = error_reply(error, words_for(desk.look(request).locale))
        return JSONResponse({"ok": False, "code": reply.code, "text": reply.text}, 409)

    def wanted(request: Request) -> QueueFilter:
        return filter_of({n: request.query_params.get(n, "") for n in FILTERS})

    def _codes(request: Request) -> list[tuple[str, str]]:
        texts = words_for(desk.look(request).locale)
        return [(code, f"{texts(f'category.{code}')} ({code})") for code in CODES]

    async def listed(request: Request, who: Actor) -> dict[str, Any]:
        texts, now = words_for(desk.look(request).locale), services.clock()
        found = await review_room.waiting(services, who, wanted=wanted(request))
        again = await review_room.second_looks(services, who)
        return {
            "cases": [_row(one, texts, now, who) for one in found],
            "second": [case.id for case in again],
        }

    @routes.get("/review")
    async def room(request: Request) -> Response:
        who = await actor(request)
        try:
            chosen = wanted(request)
            found = await listed(request, who)
        except BadInput:
            chosen = QueueFilter()
            found = {"cases": [], "second": []}
        views = await services.database.look(review_queue.views, who)
        noted = await services.database.look(duty.acknowledged, who.workspace.id)
        return await page(
            request, "review.html", code_options=_codes(request), chosen=chosen.chosen(),
            views=views,
            noted=noted is not None, workspace=who.workspace.id, **found,
        )  # fmt: skip

    @routes.get("/review/queue")
    async def queue(request: Request) -> Response:
        try:
            who = await actor(request)
            found = await listed(request, who)
            seen_by_me = await review_room.exposure(services, who)
        except MemberError as error:
            return no(error, request)
        texts = words_for(desk.look(request).locale)
        rest = texts("review.rest", hour=seen_by_me.hour, day=seen_by_me.day)
        return JSONResponse({**found, "rest": rest if seen_by_me.rest else ""})

    @routes.get("/review/cases/{case_id}")
    async def case(request: Request, case_id: str, blind: int = 0) -> Response:
        look = desk.look(request)
        try:
            who = await actor(request)
            reply = await review_room.show_case(
                services, who, case_id, words_for(look.locale), blind=bool(blind)
            )
        except MemberError as error:
            return no(error, request)
        html = desk.renderer.page(
            "case.html", look, reply=reply, codes=CODES, keys=_keys(reply),
            alike=reply.data.get("alike", 0),
        )  # fmt: skip
        return JSONResponse(
            {"ok": True, "case": html, "translating": bool(reply.data.get("translating"))}
        )

    @routes.get("/review/pictures/{case_id}")
    async def picture(request: Request, case_id: str, clear: int = 0) -> Response:
        who = await actor(request)
        try:
            if clear:
                blob = await review_room.reveal(services, who, case_id)
            else:
                blob = await review_room.veiled(services, who, case_id)
            if blob is None:
                return PlainTextResponse("not found\n", 404)
            data = None if clear else veils.has(blob)
            if data is None:
                data = await asyncio.to_thread(services.blobs.get, blob)
                if not clear:
                    data = await veils.of(blob, data)
        except MemberError:
            return PlainTextResponse("not found\n", 404)
        return Response(
            data, media_type="image/webp" if data[:4] == b"RIFF" else "image/png",
            headers={"Cache-Control": "no-store"},
        )  # fmt: skip

    @routes.post("/review/press")
    async def press(request: Request) -> Response:
        look = desk.look(request)
        try:
            fields = await read_body(request)
        except BadInput as error:
            return no(error, request)
        verb, guest = text_of(fields, "verb"), guest_of(request)
        if verb not in VERBS:
            return no(MemberError("button_unknown"), request)
        reply = await desk.core.press(
            Press(
                verb=verb, target=text_of(fields, "target"), who=guest.who if guest else OWNER,
                address=_place(guest), locale=look.locale, key=key_of(fields),
                values=values_of(fields),
            )
        )  # fmt: skip
        ok = reply.code is None
        undoable = next((b.target for b in reply.buttons if b.verb is Verb.UNDO), None)
        return JSONResponse(
            {
                "ok": ok, "code": reply.code, "text": reply.text, "title": reply.title,
                "decision": undoable,
            },
            200 if ok else 409,
        )  # fmt: skip

    @routes.post("/review/claim")
    async def claim(request: Request) -> Response:
        try:
            fields = await read_body(request)
            case_id, now = text_of(fields, "target"), services.clock()
            who = await actor(request, acts=True)
            if text_of(fields, "verb") == "release":
                await services.database.run(review.release, who, case_id, now=now)
            else:
                steal = text_of(fields, "verb") == "steal"
                await services.database.run(review.claim, who, case_id, now=now, steal=steal)
        except MemberError as error:
            return no(error, request)
        return JSONResponse({"ok": True})

    @routes.get("/review/bulk")
    async def preview(request: Request, alike: str = "") -> Response:
        look = desk.look(request)
        try:
            who = await actor(request)
            if alike:
                found = await review_bulk.preview_alike(services, who, alike)
            else:
                found = await review_bulk.preview(services, who, wanted(request))
        except MemberError as error:
            return no(error, request)
        verbs = [verb for verb in RULING_OF if str(verb) in BULK]
        html = desk.renderer.page("bulk.html", look, found=found, verbs=verbs, codes=CODES)
        return JSONResponse({"ok": True, "form": html, "ids": found.ids})

    @routes.post("/review/bulk")
    async def bulk(request: Request) -> Response:
        try:
            fields = await read_body(request)
            ruling = BULK.get(text_of(fields, "verb"))
            if ruling is None:
                raise BadInput("bulk_ruling")
            done = await review_bulk.decide_many(
                services, await actor(request, acts=True),
                text_of(fields, "ids", 8000).split(), ruling,
                code=text_of(fields, "code"), note=text_of(fields, "note", 2000),
            )  # fmt: skip
        except MemberError as error:
            return no(error, request)
        return JSONResponse(
            {"ok": True, "batch": done.batch, "decided": done.decided, "skipped": done.skipped}
        )

    @routes.post("/review/bulk/undo")
    async def undo(request: Request) -> Response:
        try:
            fields = await read_body(request)
            back = await review_bulk.undo_many(
                services, await actor(request, acts=True), text_of(fields, "batch")
            )
        except MemberError as error:
            return no(error, request)
        return JSONResponse({"ok": True, "back": back})

    @routes.post("/review/views")
    async def views(request: Request) -> Response:
        try:
            fields = await read_body(request)
            who = await actor(request, acts=True)
            review_room.may_review(who)
            drop = text_of(fields, "drop")
            if drop:
                await services.database.run(review_queue.drop_view, who, drop)
            else:
                chosen = filter_of({name: text_of(fields, name) for name in FILTERS})
                await services.database.run(
                    review_queue.keep_view, who, text_of(fields, "name", 200), chosen,
                    now=services.clock(),
                )  # fmt: skip
            kept = await services.database.look(review_queue.views, who)
        except MemberError as error:
            return no(error, request)
        html = desk.renderer.page("views.html", desk.look(request), views=kept)
        return JSONResponse({"ok": True, "views": html})

    return routes


def _place(guest: Guest | None) -> Address:
    if guest is None:
        return address(None)
    who = guest.who
    return Address(platform=who.platform, workspace=who.workspace, channel=CHANNEL)


def veil(data: bytes) -> bytes:
    """A small, grey, blurred picture: enough to know what kind of thing it is."""
    with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as opened:
        opened.draft("L", (256, 256))
        small = opened.convert("L")
        small.thumbnail((256, 256))
        out = io.BytesIO()
        small.filter(ImageFilter.GaussianBlur(_VEIL)).save(out, "WEBP", quality=60, method=0)
        return out.getvalue()


def _row(one: Waiting, texts: Texts, now: Millis, who: Actor) -> dict[str, Any]:
    case = one.case
    codes = Verdict.parse(case.verdict).categories()
    first = case.severity >= FIRST
    name = texts("case.ncii_short") if first else texts("case.reported_only")
    status = texts("case_status.appealed") if case.status == CaseStatus.APPEALED else ""
    if one.holder and case.claimed_by != who.member.id:
        status = texts("review.held_by", name=one.holder)
    late = case.due_at is not None and case.due_at < now
    due = due_in_words(case.due_at, texts, now) if case.due_at is not None else ""
    if case.due_at is not None and late:  # "an hour ago" would be read as its age
        due = texts("review_page.late_by", span=span((now - case.due_at) // 60_000, texts))
    return {
        "id": case.id,
        "code": "NCII" if first else str(codes[0]) if codes else "–",
        "name": texts(f"category.{codes[0]}") if codes and not first else name,
        "member": name_of(one.member, texts), "severity": case.severity, "status": status,
        "due": due, "late": late,
        "escalated": case.escalated,
    }  # fmt: skip


def _keys(reply: Reply) -> dict[str, str]:
    return {str(verb): key for verb, key in KEYS.items()} if reply.buttons else {}
