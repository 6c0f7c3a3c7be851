"""Replies as HTML: the one place of the web adapter that knows markup and languages."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bot.adapters.web.controls import form_controls
from bot.adapters.web.markdown import to_html
from bot.core.reply import Document, Picture, Reply, Tone, Verb
from bot.core.texts import Texts, texts_for
from storage.schema import JobKind, JobStatus

_HERE = Path(__file__).parent
WORDS = _HERE / "words"
"""The page's own sentences."""

_ICONS = {
    Verb.CANCEL: "stop",
    Verb.REROLL: "dice",
    Verb.EDIT: "edit",
    Verb.CONFIG: "edit",
    Verb.REGENERATE: "again",
    Verb.DELETE: "trash",
    Verb.REPORT: "flag",
    Verb.REPORT_NCII: "flag",
    Verb.SHOW: "eye",
    Verb.VARY_SUBTLE: "vary",
    Verb.VARY_STRONG: "vary-strong",
    Verb.UPSCALE: "larger",
    Verb.FINISH: "larger",
    Verb.FAVOURITE: "star",
    Verb.DRAW: "spark",
    Verb.REWORD: "edit",
    Verb.PICK: "down",
    Verb.AGAIN: "again",
}


def words_for(locale: str) -> Texts:
    """The core's sentences and the page's own."""
    return texts_for(locale, WORDS)


def ordinal(number: int, locale: str) -> str:
    """A place in line as it is said: 1st, 2nd, 11th; a plain number in Chinese."""
    if locale != "en":
        return str(number)
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


@dataclass(frozen=True)
class Look:
    """How one visitor wants the page: language and light; and which page it is."""

    locale: str = "en"
    theme: str = "auto"
    here: str = "/"
    """Where a choice of language or light leads back to."""


class Renderer:
    """Turns replies into cards, pages and messages."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._jinja = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters["markdown"] = to_html
        self._jinja.filters["dict_prefix"] = _with_prefix
        self._jinja.filters["plain"] = _plain
        self._jinja.globals.update(
            scripts=_scripts(),
            icon_of=lambda button: _ICONS.get(button.verb, "check"),
            Status=JobStatus,
            Kind=JobKind,
            Tone=Tone,
        )

    def page(self, template: str, look: Look, **facts: Any) -> str:
        """A whole page or a fragment."""
        return self._jinja.get_template(template).render(**self._tools(look), look=look, **facts)

    def card(self, reply: Reply, look: Look) -> str:
        """A job's card, or a plain note when the reply belongs to no job."""
        return self.page("card.html", look, reply=reply)

    def toast(self, reply: Reply, look: Look) -> str:
        """A private message beside the composer."""
        return self.page("toast.html", look, reply=reply)

    def form(self, reply: Reply, look: Look) -> str:
        """The dialogue a reply asks for."""
        assert reply.form is not None
        texts = words_for(look.locale)
        controls = form_controls(reply.form, texts)
        return self.page("form.html", look, form=reply.form, controls=controls)

    def _tools(self, look: Look) -> dict[str, Any]:
        texts = words_for(look.locale)
        return {
            "t": texts,
            "clock_of": lambda at: self._moment(at, texts),
            "wait_of": lambda at: self._wait(at, texts),
            "place_of": lambda reply: _place(reply, texts),
            "author_of": lambda reply: _author(reply, texts),
            "answer_of": _answer,
            "told_of": lambda reply: _told(reply, texts),
            "name_of": lambda name: name_of(name, texts),
            "word_of": lambda family, word: _word(family, word, texts),
            "choice_name": lambda choice: _choice(choice, texts),
            "busy": _busy,
            "percent": _percent,
            "facts_of": _facts,
            "download_of": _download,
            "file_of": _file,
        }

    def _moment(self, at: int, texts: Texts) -> str:
        """A time of day, with the date when it was not today."""
        then = datetime.fromtimestamp(at / 1000).astimezone()
        now = datetime.fromtimestamp(self._clock()).astimezone()
        if then.date() == now.date():
            return f"{then:%H:%M}"
        if then.year == now.year:
            month = texts("time.months").split()[then.month - 1]
            return texts("time.day", month=month, day=then.day, time=f"{then:%H:%M}")
        return f"{then:%Y-%m-%d %H:%M}"

    def _wait(self, at: int, texts: Texts) -> str:
        """How long until a moment, roughly: seconds, then minutes."""
        seconds = max(0, round(at / 1000 - self._clock()))
        if seconds < 2:
            return texts("time.soon")
        if seconds < 90:
            return texts("time.seconds", n=seconds)
        return texts("time.minutes", n=round(seconds / 60))


def _place(reply: Reply, texts: Texts) -> str:
    if reply.place is None:
        return texts("card.queued")
    if reply.total is None or reply.total < reply.place:
        return texts("card.place", place=ordinal(reply.place, texts.locale))
    if reply.total == 1:
        return texts("card.next")
    return texts("card.place_of", place=ordinal(reply.place, texts.locale), total=reply.total)


def _choice(choice: str, texts: Texts) -> str:
    """A choice as people read it: a style's name in their language, 128×128, "any" for none."""
    if not choice:
        return texts("panel.any")
    if texts.has(key := f"choice.{choice}"):
        return texts(key)
    return re.sub(r"(?<=\d)x(?=\d)", "×", choice)


def _plain(text: str) -> str:
    """A text without the marks of Markdown, for an excerpt."""
    return re.sub(r"[*`#>]+", "", text)


def _author(reply: Reply, texts: Texts) -> str:
    return name_of(reply.author, texts)


def name_of(name: str, texts: Texts) -> str:
    """A member's name; "you", in the reader's language, for whoever is at this machine."""
    return texts("card.you") if name in ("", "You") else name


def _word(family: str, word: str, texts: Texts) -> str:
    """A word of ours that is stored as a code; the code itself where it has no sentence."""
    return texts(key) if texts.has(key := f"{family}.{word}") else word


def _told(reply: Reply, texts: Texts) -> str:
    """What there is to say of a finished picture besides that AI made it, which its label says."""
    return reply.text.removeprefix(texts("card.ai_picture")).strip()


_BARE_MARK = re.compile(r"(^|\n)[ \t]*(?:\d{1,3}[.)]|[-*+])[ \t]*$")


def _answer(reply: Reply) -> Markup:
    """An answer as HTML; while it is written, without a list mark that has no words yet."""
    return to_html(_BARE_MARK.sub("", reply.text) if reply.streaming else reply.text)


def _busy(reply: Reply) -> bool:
    return reply.status in (JobStatus.QUEUED, JobStatus.RUNNING)


def _percent(reply: Reply) -> int:
    """Over all pictures of the job, so that the bar never runs backwards."""
    progress = reply.progress
    if progress is None or progress.steps <= 0:
        return 0
    done = progress.index + min(progress.step / progress.steps, 1.0)
    return max(0, min(100, round(100 * done / max(progress.count, 1))))


def _facts(reply: Reply) -> list[tuple[str, str, bool]]:
    return [(f.label, f.value, f.code) for f in reply.fields]


def _download(picture: Picture) -> str:
    return f"/blobs/{picture.blob}?download=1&seed={picture.seed}"


def _scripts() -> list[str]:
    """Every script of the page, to fetch at once instead of one import after the other."""
    static = _HERE / "static"
    return sorted(
        path.relative_to(static).as_posix()
        for folder in ("js", "vendor")
        for path in (static / folder).glob("*.js")
    )


def _with_prefix(words: dict[str, str], prefix: str) -> dict[str, str]:
    """The sentences that the page's own script says."""
    return {k.removeprefix(prefix): v for k, v in words.items() if k.startswith(prefix)}


def _file(document: Document) -> str:
    """A file inside the page itself: it is for one person and kept nowhere."""
    content = base64.b64encode(document.content).decode()
    return f"data:{document.media_type};base64,{content}"
