"""What one request needs from the studio: who looks, in which language, and how to ask the core."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from bot.adapters.web.body import text_of, values_of
from bot.adapters.web.live import WebPresenter
from bot.adapters.web.reader import OWNER, Reader
from bot.adapters.web.render import Look, Renderer, words_for
from bot.core.attachment import Attachment
from bot.core.command import CommandInfo, Core, Invocation, Press, error_reply
from bot.core.parse import Line, parse_line
from bot.core.reply import Reply
from bot.core.texts import LOCALES, pick_locale
from storage.errors import BadInput, MemberError
from storage.schema import Address, Platform, new_id

CHANNEL = "web"
THEMES = ("auto", "light", "dark")
COOKIE_LOCALE = "atelier_locale"
COOKIE_THEME = "atelier_theme"
COOKIE_THREAD = "atelier_thread"

_UNTYPED = "…"
_THREAD = re.compile(r"[0-9A-Za-z-]{1,40}", re.ASCII)
_PAGES = re.compile(
    r"/(verify|history|ledger|economics|config|review(/figures|/audit)?|cards/[0-9A-Za-z]{1,64})?",
    re.ASCII,
)
"""What a person opens; a choice of language leads back to it."""
_KEY = re.compile(r"[0-9A-Za-z-]{8,64}", re.ASCII)


@dataclass(frozen=True)
class Desk:
    """The parts the routes share."""

    core: Core
    presenter: WebPresenter
    reader: Reader
    renderer: Renderer

    def look(self, request: Request) -> Look:
        """The visitor's language and light: their choice, else what the browser asks for."""
        locale = request.cookies.get(COOKIE_LOCALE, "")
        if locale not in LOCALES:
            locale = wanted_locale(request.headers.get("accept-language", ""))
        theme = request.cookies.get(COOKIE_THEME, "auto")
        query = f"?{request.url.query}" if request.url.query else ""
        here = request.url.path + query if request.method in ("GET", "HEAD") else request.url.path
        return Look(locale, theme if theme in THEMES else "auto", own_page(here))

    async def invoke(self, fields: Mapping[str, Any], locale: str, thread: str | None) -> Reply:
        """Dispatch what was posted: a typed ``line``, or a ``command`` with its values."""
        given = dict(fields)
        return self._shared(await self._dispatch(self._typed(given, locale), given, locale, thread))

    async def quote(
        self, fields: Mapping[str, Any], locale: str, thread: str | None
    ) -> Reply | None:
        """What :meth:`invoke` would cost with the same fields: the command's own dry run.

        None for a command without a price. A text that is not typed yet is taken as written:
        a price does not hang on the words.
        """
        given = dict(fields)
        parsed = self._typed(given, locale)
        info = next((i for i in self.core.catalog(locale) if i.name == parsed.command), None)
        if info is None or not any(option.name == "dry_run" for option in info.options):
            return None
        values: dict[str, Any] = parsed.values | {"dry_run": "true"}
        for option in info.options:
            if option.required and option.kind == "long" and not values.get(option.name):
                values[option.name] = _UNTYPED
        return await self._dispatch(Line(parsed.command, values), given, locale, thread)

    def _typed(self, given: Mapping[str, Any], locale: str) -> Line:
        """The command in a typed ``line``, or the one named with its values."""
        line = given.get("line")
        if not isinstance(line, str):
            return Line(text_of(dict(given), "command"), values_of(dict(given)))
        catalog = self.core.catalog(locale)
        parsed = parse_line(line, catalog)
        return Line(parsed.command, parsed.values | _attached(given, parsed, catalog))

    async def _dispatch(
        self, line: Line, given: Mapping[str, Any], locale: str, thread: str | None
    ) -> Reply:
        return await self.core.dispatch(
            Invocation(
                command=line.command,
                values=line.values,
                who=OWNER,
                address=address(thread),
                locale=locale,
                key=key_of(given),
            )
        )

    async def press(self, fields: Mapping[str, Any], locale: str, thread: str | None) -> Reply:
        """Press a button of a card."""
        given = dict(fields)
        reply = await self.core.press(
            Press(
                verb=text_of(given, "verb"),
                target=text_of(given, "target"),
                who=OWNER,
                address=address(thread),
                locale=locale,
                key=key_of(given),
                values=values_of(given),
            )
        )
        return self._shared(reply)

    def refuse(self, error: MemberError, locale: str) -> Reply:
        """The reply for an error met before the core was asked."""
        return error_reply(error, words_for(locale))

    def _shared(self, reply: Reply) -> Reply:
        if reply.job_id is not None:
            self.presenter.show(reply)
        return reply


def _attached(
    given: Mapping[str, Any], line: Line, catalog: Sequence[CommandInfo]
) -> dict[str, Any]:
    """Pictures sent along with a line, for the command's picture options in order.

    Raises ``BadInput('upload_unwanted')`` when the command takes none, or fewer: a picture that
    was attached on purpose is not left out in silence.
    """
    files = [
        v for n, v in sorted(given.items()) if n.startswith("file") and isinstance(v, Attachment)
    ]
    info = next((i for i in catalog if i.name == line.command), None)
    if not files or info is None:
        return {}
    places = [
        o.name for o in info.options if o.kind in ("image", "file") and o.name not in line.values
    ]
    if len(files) > len(places):
        raise BadInput("upload_unwanted", command=info.name)
    return dict(zip(places, files, strict=False))


def address(thread: str | None) -> Address:
    """Where the page's replies go."""
    return Address(
        platform=Platform.LOCAL, workspace=OWNER.workspace, channel=CHANNEL, thread=thread
    )


def thread_of(request: Request) -> str | None:
    """The conversation this browser is in; None when it has not begun one."""
    thread = request.cookies.get(COOKIE_THREAD, "")
    return thread if _THREAD.fullmatch(thread) else None


def given_thread(fields: Mapping[str, Any]) -> str | None:
    """The conversation a program names; None when it names none (or junk)."""
    thread = fields.get("thread")
    return thread if isinstance(thread, str) and _THREAD.fullmatch(thread) else None


def key_of(fields: Mapping[str, Any]) -> str:
    """The invocation's key: the page's own, so that a repeated post is one job; or a fresh one."""
    key = fields.get("key")
    return f"web-{key if isinstance(key, str) and _KEY.fullmatch(key) else new_id()}"


def own_page(target: str) -> str:
    """One of our own pages with its query; ``/`` for anything else that is named."""
    path, mark, query = target[:500].partition("?")
    query = "&".join(pair for pair in query.split("&") if not pair.startswith("token="))
    if not _PAGES.fullmatch(path):
        return "/"
    return path + mark + query if query else path


def wanted_locale(header: str) -> str:
    """The language we have that an Accept-Language header likes best, else English."""
    wishes: list[tuple[float, str]] = []
    for part in header.split(",")[:20]:
        name, _, rest = part.strip().partition(";")
        try:
            weight = float(rest.strip().removeprefix("q=")) if rest else 1.0
        except ValueError:
            continue
        if name and weight > 0:
            wishes.append((weight, name))
    for _, name in sorted(wishes, key=lambda wish: -wish[0]):
        if name.split("-")[0].lower() in LOCALES:
            return pick_locale(name)
    return pick_locale("en")
