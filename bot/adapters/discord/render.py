"""Replies as Discord messages: Components V2 layouts, the files they name, and nothing sent. Pure.

A message holds 40 components and 4,000 characters of text; a long answer becomes several pages,
the first with the question, the last with the facts and the buttons.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
from discord import ui

from bot.adapters.discord.button import PressButton
from bot.adapters.discord.ids import button_id, press_id
from bot.core.reply import Button, Field, Picture, Reply, Row, Tone, Verb, rows
from bot.core.split import split_markdown
from bot.core.texts import Texts, texts_for
from storage.schema import JobKind, JobStatus

WORDS = Path(__file__).with_name("words")
"""The adapter's own sentences."""

TEXTS = 4_000
"""Characters of all texts of one message."""
ANSWER_PART = 3_200
"""Longest part of an answer on one page; the rest of 4,000 is for the question and the facts."""
_PROMPT_SHOWN = 600
_QUESTION_SHOWN = 200
_FIELD_SHOWN = 300
_LABEL = 80
_ALT_GALLERY = 256
_BAR = 12

_COLOURS = {
    Tone.INFO: 0x5865F2,
    Tone.GOOD: 0x3BA55D,
    Tone.WARN: 0xE0A526,
    Tone.BAD: 0xD83C3E,
}
_STYLES = {
    "plain": discord.ButtonStyle.secondary,
    "primary": discord.ButtonStyle.primary,
    "danger": discord.ButtonStyle.danger,
}
_ICONS = {
    "reroll": "🎲", "edit": "✏️", "regenerate": "🔄", "delete": "🗑️",
    "report": "🚩", "show": "👁️", "vary_subtle": "🪄", "vary_strong": "✨", "upscale": "🔍",
    "finish": "🖼️", "favourite": "⭐", "again": "🧪", "draw": "🎨", "reword": "✏️", "pick": "🧭",
    "confirm": "✅", "config": "⚙️", "case": "🗂️", "approve": "✅", "blur": "🌫️", "deny": "⛔",
    "strike": "⚡", "ban": "🔨", "escalate": "⏫", "steal": "✋", "ask": "❓", "agree": "🤝",
    "undo": "↩️", "appeal": "📨", "uphold": "⚖️", "overturn": "🔁",
}  # fmt: skip


@dataclass(frozen=True)
class PictureFile:
    """A stored picture that a page shows: read, fitted and named when it is sent."""

    blob: str
    name: str
    """Made by us: no word of a member is in a file's name."""
    alt: str
    spoiler: bool = False

    @property
    def url(self) -> str:
        """How a layout names it."""
        return f"attachment://{self.name}"


@dataclass(frozen=True)
class Page:
    """One message: its layout and the files the layout names."""

    view: ui.LayoutView
    files: tuple[PictureFile, ...] = ()

    @property
    def print(self) -> str:
        """What is shown, to compare: a page that looks the same is not sent again."""
        files = [[file.blob, file.name, file.spoiler] for file in self.files]
        return json.dumps([components(self.view), files], sort_keys=True)


def components(view: ui.LayoutView) -> list[dict[str, Any]]:
    """A layout as Discord gets it."""
    found: list[dict[str, Any]] = view.to_components()  # type: ignore[no-untyped-call]
    return found


def words_for(locale: str) -> Texts:
    """The core's sentences and the adapter's own."""
    return texts_for(locale, WORDS)


def pages(reply: Reply, texts: Texts) -> list[Page]:
    """A reply as one message, or several when it is long. The same reply, the same pages."""
    if reply.job_id is not None and reply.kind is JobKind.CHAT:
        made = _answer(reply, texts)
    elif reply.job_id is not None:
        made = [_picture_card(reply, texts)]
    else:
        made = _note(reply, texts)
    for page in made:
        _bound(page.view)
    return made


def _bound(view: ui.LayoutView) -> None:
    """Make a message's texts fit: Discord refuses the whole of it, and a card that is refused is
    seen by nobody. What is longest is cut, and shown to be."""
    texts = [item for item in view.walk_children() if isinstance(item, ui.TextDisplay)]
    while (over := sum(len(item.content) for item in texts) - TEXTS) > 0:
        longest = max(texts, key=lambda item: len(item.content))
        longest.content = clip(longest.content, max(1, len(longest.content) - over))


def question(text: str, verb: str, target: str, label: str) -> Page:
    """A private "are you sure", with the button that does it."""
    view = ui.LayoutView(timeout=None)
    box = ui.Container[Any](ui.TextDisplay(text), accent_colour=_COLOURS[Tone.WARN])
    button = ui.Button[Any](
        style=discord.ButtonStyle.danger, label=label[:_LABEL], custom_id=press_id(verb, target)
    )
    box.add_item(ui.ActionRow(PressButton(button)))
    view.add_item(box)
    return Page(view)


def _channel(channel: str) -> str:
    """A channel's name as Discord writes it for who reads; what is no id of its, as it is."""
    return f"<#{channel}>" if channel.isdecimal() else plain(f"#{channel}")


def _note(reply: Reply, texts: Texts) -> list[Page]:
    """A reply that belongs to no job."""
    body = [f"### {plain(reply.title)}"] if reply.title else []
    facts = [f"**{plain(f.label)}**  {_value(f)}" for f in reply.fields]
    parts = split_markdown(reply.text, ANSWER_PART) or [""]
    title = body if len(parts) == 1 else []
    if len("\n".join([*title, parts[-1], *facts])) > TEXTS:
        # They do not fit beside the words, so they come after them.
        parts += _packed(facts)
        facts = []
    made = []
    for index, part in enumerate(parts):
        lines = body if index == 0 else []
        shown = [*lines, part] if part else [*lines]
        last = index == len(parts) - 1
        view = ui.LayoutView(timeout=None)
        box = ui.Container[Any](accent_colour=_COLOURS[reply.tone])
        files = tuple(_files(reply)) if last else ()
        if files:
            box.add_item(_gallery(files))
        if shown or not (last and facts):
            box.add_item(ui.TextDisplay("\n".join(shown) or "…"))
        if last and facts:
            box.add_item(ui.TextDisplay("\n".join(facts)))
        if last and reply.channels:
            box.add_item(ui.TextDisplay(" ".join(map(_channel, reply.channels))))
        if last and reply.link is not None:
            opener = ui.Button[Any](
                style=discord.ButtonStyle.link, label=reply.link.label[:_LABEL], url=reply.link.url
            )
            box.add_item(ui.ActionRow(opener))
        if last:
            _add_rows(box, rows(reply))
        view.add_item(box)
        made.append(Page(view, files))
    return made


def _packed(lines: Sequence[str]) -> list[str]:
    """Lines in texts that fit a page."""
    packed = [""]
    for line in lines:
        joined = f"{packed[-1]}\n{line}" if packed[-1] else line
        if len(joined) > ANSWER_PART:
            packed.append(line)
        else:
            packed[-1] = joined
    return packed


def _picture_card(reply: Reply, texts: Texts) -> Page:
    view = ui.LayoutView(timeout=None)
    box = ui.Container[Any](accent_colour=_COLOURS[reply.tone])
    files = tuple(_files(reply))
    busy = reply.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    if files and not busy:
        box.add_item(_gallery(files))
    for text in _heading(reply, texts, pictures=bool(files) and not busy):
        box.add_item(ui.TextDisplay(text))
    if files and busy:
        box.add_item(_gallery(files))
    several = len(reply.pictures) > 1
    notes = [
        f"-# {i}: {plain(p.note)}"
        for i, p in enumerate(reply.pictures, start=1)
        if p.note and (several or reply.tone is Tone.GOOD)
    ]
    foot = [*notes, *_foot(reply, texts, pictures=bool(files) and not busy)]
    if foot:
        box.add_item(ui.TextDisplay("\n".join(foot)))
    _add_rows(box, rows(reply))
    view.add_item(box)
    return Page(view, files)


def _heading(reply: Reply, texts: Texts, *, pictures: bool) -> list[str]:
    """The status, what was asked, and while it waits or runs how far it is.

    Each is a text of its own: what follows a quotation would be read into it.
    """
    lines = []
    if not pictures or reply.tone is not Tone.GOOD:
        lines.append(f"### {plain(reply.title)}")
    if reply.prompt:
        lines.append(quote(reply.prompt, _PROMPT_SHOWN))
    if reply.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        lines.append(_progress(reply, texts))
    elif reply.text and not (pictures and reply.tone is Tone.GOOD):
        lines.append(reply.text)
    return [line for line in lines if line]


def _progress(reply: Reply, texts: Texts) -> str:
    parts = []
    if reply.progress is not None and reply.progress.steps:
        percent = _percent(reply)
        full = round(percent * _BAR / 100)
        parts.append(f"`{'▰' * full}{'▱' * (_BAR - full)}` {percent} %")
    if reply.text:
        parts.append(plain(reply.text))
    if reply.eta_at is not None:
        parts.append(texts("card.eta", when=f"<t:{-(-reply.eta_at // 1000)}:R>"))
    return " · ".join(parts)


def _percent(reply: Reply) -> int:
    """Over all pictures of the job, so that the bar never runs backwards."""
    progress = reply.progress
    if progress is None or progress.steps <= 0:
        return 0
    done = progress.index + min(progress.step / progress.steps, 1.0)
    return max(0, min(100, round(100 * done / max(progress.count, 1))))


def _foot(reply: Reply, texts: Texts, *, pictures: bool) -> list[str]:
    """The facts in small print, the label that says who made it, and who asked."""
    lines = []
    if reply.fields:
        lines.append("-# " + " · ".join(_small(field) for field in reply.fields))
    by = texts("card.asked_by", name=plain(reply.author)) if reply.author else ""
    made = plain(reply.text) if pictures and reply.tone is Tone.GOOD else ""
    last = " · ".join(part for part in (made, by) if part)
    return [*lines, f"-# {last}"] if last else lines


def _answer(reply: Reply, texts: Texts) -> list[Page]:
    """An answer in as many messages as it needs; while it is written, the same shape."""
    busy = reply.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    head = _asked(reply, texts)
    body = reply.text
    if reply.status is JobStatus.QUEUED:
        body = f"-# {_progress(reply, texts)}"
    elif busy:
        body = f"{body.rstrip()} ▍" if body.strip() else f"-# {plain(reply.title)}…"
    elif reply.status is not JobStatus.SUCCEEDED or reply.tone is Tone.WARN:
        if reply.fields:  # stopped: what was read already stays, and says so
            body = f"{body}\n\n-# {plain(reply.title)}"
        else:
            body = f"**{plain(reply.title)}**\n{body}"
    parts = split_markdown(body, ANSWER_PART) or ["…"]
    made = []
    for index, part in enumerate(parts):
        view = ui.LayoutView(timeout=None)
        if index == 0 and head:
            view.add_item(ui.TextDisplay[Any](head))
        view.add_item(ui.TextDisplay[Any](part))
        if index == len(parts) - 1:
            if reply.fields:
                facts = " · ".join(_small(field) for field in reply.fields)
                view.add_item(ui.TextDisplay[Any](f"-# {texts('card.ai_answer')} · {facts}"))
            _add_rows(view, rows(reply))
        made.append(Page(view))
    return made


def _asked(reply: Reply, texts: Texts) -> str:
    if not reply.prompt:
        return ""
    asked = clip(" ".join(reply.prompt.split()), _QUESTION_SHOWN)
    name = f"**{plain(reply.author)}**: " if reply.author else ""
    return f"-# {name}{plain(asked)}"


def _files(reply: Reply) -> list[PictureFile]:
    if reply.progress is not None and reply.progress.preview is not None:
        key = reply.progress.preview
        return [PictureFile(key, f"preview.{_kind(key)}", "")]
    return [
        _file(picture, index, reply.job_id or "")
        for index, picture in enumerate(reply.pictures)
        if picture.blob is not None
    ]


def _file(picture: Picture, index: int, job_id: str) -> PictureFile:
    assert picture.blob is not None
    name = f"atelier-{picture.seed}-{index + 1}.{_kind(picture.blob)}"
    if picture.blurred:
        name = f"SPOILER_{name}"
    return PictureFile(picture.blob, name, picture.alt, picture.blurred)


def _kind(key: str) -> str:
    kind = key.rpartition(".")[2]
    return kind if kind in ("png", "webp", "jpg") else "png"


def _gallery(files: Sequence[PictureFile]) -> ui.MediaGallery[Any]:
    return ui.MediaGallery(
        *(
            discord.MediaGalleryItem(
                file.url, description=clip(file.alt, _ALT_GALLERY) or None, spoiler=file.spoiler
            )
            for file in files
        )
    )


def _add_rows(box: ui.Container[Any] | ui.LayoutView, lines: Sequence[Row]) -> None:
    legend = next((line for line in lines if line.picture is not None), None)
    for line in lines:
        if line is legend:
            box.add_item(ui.TextDisplay[Any](f"-# {_legend(line)}"))
        small = line.picture is not None
        drawn = (PressButton(draw(button, small=small)) for button in line.buttons)
        box.add_item(ui.ActionRow[Any](*drawn))


def _legend(line: Row) -> str:
    """What the signs on the small buttons of a grid mean: there is no room for it on them."""
    return " · ".join(
        f"{_ICONS.get(str(button.verb), '')} {plain(button.label.rpartition(' ')[0])}"
        for button in line.buttons
    )


def draw(button: Button, *, small: bool = False) -> ui.Button[Any]:
    """One of the core's buttons as Discord draws it; ``small`` is a sign and a picture's number.

    Five with words do not fit one line of a phone, and a grid must keep its lines.
    """
    # What asks first need not shout; what acts at once does.
    style = "plain" if button.style == "danger" and button.confirm else button.style
    return ui.Button(
        style=_STYLES[style],
        label=button.label.rpartition(" ")[2] if small else clip(button.label, _LABEL),
        emoji=None if style == "danger" else _ICONS.get(str(Verb(button.verb))),
        custom_id=button_id(button),
    )


def _value(field: Field) -> str:
    value = clip(field.value, _FIELD_SHOWN)
    return f"`{value.replace('`', chr(0x2CB))}`" if field.code else plain(value)


def _small(field: Field) -> str:
    return f"{plain(field.label)} {_value(field)}"


def plain(text: str) -> str:
    """A text that is nobody's Markdown: shown as it is, on one line."""
    return discord.utils.escape_markdown(" ".join(text.split()))


def quote(text: str, limit: int) -> str:
    """What a member typed, quoted and inert."""
    lines = clip(text.strip(), limit).split("\n")
    return "\n".join(f"> {discord.utils.escape_markdown(line)}" for line in lines)


def clip(text: str, limit: int) -> str:
    """At most ``limit`` characters; what is left out is shown to be."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
