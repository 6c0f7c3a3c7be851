"""The settings page: what `/config` holds, group by group, with its history, presets and reasons.

Everything on it is asked of the command itself, so that the page shows and may do what the chat
does, and every change is checked there.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from bot.adapters.web.desk import Desk, thread_of
from bot.adapters.web.pages import status_of
from bot.adapters.web.render import words_for
from bot.core import config
from bot.core.limits import MAKES
from bot.core.reply import Reply
from bot.core.texts import Texts
from storage import book


def make_settings(desk: Desk) -> APIRouter:
    """The route of the page; changes go through `/press` and `/invoke` like anywhere else."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/config")
    async def page(request: Request) -> Response:
        look = desk.look(request)
        texts = words_for(look.locale)

        async def said(action: str) -> Reply:
            fields = {"command": "config", "values": {"action": action}}
            return await desk.invoke(fields, look.locale, thread_of(request))

        shown = await said("show")
        past = await said("history") if shown.code is None else Reply()
        html = desk.renderer.page(
            "config.html", look, active="config", reply=shown,
            groups=groups_of(shown, texts), changes=changes_of(past, texts), presets=config.PRESETS,
            commands=sorted(MAKES), credits=await desk.reader.balance(),
        )  # fmt: skip
        return HTMLResponse(html, status_of(shown))

    return routes


def groups_of(reply: Reply, texts: Texts) -> list[dict[str, Any]]:
    """Each group with its button and its settings: label, value in force, whether it was set."""
    settings = reply.data.get("settings", {})
    found = []
    for button in reply.buttons:
        lines = []
        for one in config.GROUPS.get(button.target, ()):
            own = book.get(settings, one.path)
            value = config.shown(config.default(one.path) if own is None else own)
            if one.kind == "flag":
                value = texts("settings_page.yes") if value == "true" else texts("settings_page.no")
            lines.append({
                "label": texts(f"setting.{one.key}"), "help": texts(f"setting_help.{one.key}"),
                "value": value, "own": own is not None, "path": one.path,
            })  # fmt: skip
        found.append({"button": button, "lines": lines})
    return found


def changes_of(reply: Reply, texts: Texts) -> list[dict[str, Any]]:
    """The last changes, newest first, in words."""
    return [
        {
            "id": change["id"], "at": change["at"], "path": change["path"] or texts("config.whole"),
            "before": _side(change, "before", texts), "after": _side(change, "after", texts),
        }
        for change in reply.data.get("changes", ())
    ]  # fmt: skip


def _side(change: dict[str, Any], side: str, texts: Texts) -> str:
    if not change["path"]:
        return "…"
    return config.shown(change[side].get("value")) or texts("config.default")
