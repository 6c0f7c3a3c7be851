"""Replies as Block Kit: cards, notes and the parts of a long answer. Pure: the same in, the same
out; which uploaded file shows which picture is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.adapters.slack import limits
from bot.adapters.slack.buttons import actions
from bot.adapters.slack.escape import code, escaped, fit, fit_escaped, literal
from bot.adapters.slack.rich import Block, emoji, plain, quote, rich_text, section
from bot.core.reply import Picture, Progress, Reply, Tone, rows
from bot.core.split import split_markdown
from bot.core.texts import Texts, texts_for
from storage.schema import JobKind, JobStatus, Millis

WORDS = Path(__file__).with_name("words")
"""Slack's own sentences."""
PREVIEW = "preview"
"""Where the files of a card have its newest checked preview."""
VEILED = "#veiled"
"""After a blob: the file that shows it blurred."""
_BAR = 12
_TITLE = 150
_NAME = 80
_PROMPT = 1000
"""Longest question shown above an answer; what was asked stands in the thread anyhow."""
_ICONS = {
    JobStatus.QUEUED: "hourglass_flowing_sand",
    JobStatus.RUNNING: "art",
    JobStatus.SUCCEEDED: "white_check_mark",
    JobStatus.FAILED: "x",
    JobStatus.REJECTED: "no_entry",
    JobStatus.CANCELLED: "black_square_for_stop",
}
_TONES = {Tone.GOOD: "white_check_mark", Tone.WARN: "warning", Tone.BAD: "x"}


def words_for(locale: str) -> Texts:
    """The core's sentences and Slack's own."""
    return texts_for(locale, WORDS)


@dataclass(frozen=True)
class Message:
    """What ``chat.postMessage`` and ``chat.update`` get."""

    text: str
    """For notifications and readers without blocks; escaped."""
    blocks: list[Block] = field(default_factory=list)


def file_key(picture: Picture) -> str:
    """Under what a card's files have this picture as it may be shown now.

    A veiled picture is another file than the clear one: a ruling that veils what was posted must
    not find the clear file again, nor one that unveils it the blur.
    """
    return f"{picture.blob}{VEILED if picture.blurred else ''}"


def message(reply: Reply, texts: Texts, files: Mapping[str, str] | None = None) -> Message:
    """A job's card, or a note when the reply belongs to no job.

    ``files`` maps a picture's :func:`file_key` to the Slack file that shows it; a picture without
    one is left out (it is still on its way), never linked.
    """
    if reply.job_id is None:
        return _note(reply, texts, files or {})
    answer = reply.kind is JobKind.CHAT
    blocks = [_header(reply)]
    writing = answer and reply.status is JobStatus.RUNNING and reply.text.strip()
    if reply.status in (JobStatus.QUEUED, JobStatus.RUNNING) and not writing:
        blocks += _waiting(reply, texts)
    elif answer:
        blocks += _answer(reply, texts)
    elif reply.text and (not reply.pictures or reply.tone is Tone.WARN):
        blocks += _words(fit(reply.text, limits.SECTION))
    preview = (files or {}).get(PREVIEW)
    if preview is not None and reply.progress is not None:
        blocks.append(_image(preview, texts("slack.preview", prompt=fit(reply.prompt, 300))))
    for picture in reply.pictures:
        blocks += _picture(picture, texts, files or {})
    blocks += _facts(reply, caption=bool(reply.pictures) and reply.tone is not Tone.WARN)
    for row in rows(reply, per_row=limits.PER_ROW):
        blocks.append(actions(row.buttons, texts))
    return Message(text=_fallback(reply), blocks=_within(blocks))


def continuations(reply: Reply, texts: Texts) -> list[Message]:
    """The rest of an answer that does not fit its card, one message each."""
    parts = answer_parts(reply.text) if reply.kind is JobKind.CHAT and not reply.streaming else []
    found = []
    for index, part in enumerate(parts[1:], start=2):
        mark = texts("slack.continued", part=index, parts=len(parts))
        blocks = [*_words(part), _context(mark)]
        found.append(Message(text=fit_escaped(part, 300), blocks=blocks))
    return found


def answer_parts(text: str) -> list[str]:
    """An answer split where paragraphs and code blocks end: the card's part, then the rest."""
    return split_markdown(text, limits.ANSWER)


def progress_bar(progress: Progress) -> tuple[str, int]:
    """A bar of twelve and the percentage, over all pictures, so that it never runs back."""
    if progress.steps <= 0:
        return "▱" * _BAR, 0
    done = progress.index + min(progress.step / progress.steps, 1.0)
    share = max(0.0, min(1.0, done / max(progress.count, 1)))
    full = round(share * _BAR)
    return "▰" * full + "▱" * (_BAR - full), round(share * 100)


def moment(at: Millis) -> str:
    """A time of day in each reader's own time zone; Slack fills it in, so no edit is needed."""
    return f"<!date^{at // 1000}^{{time_secs}}|{at // 1000}>"


def _header(reply: Reply) -> Block:
    icon = _ICONS[reply.status] if reply.status is not None else "art"
    if reply.status is JobStatus.RUNNING and reply.kind is JobKind.CHAT:
        icon = "writing_hand"
    if reply.tone is Tone.WARN and reply.status is JobStatus.SUCCEEDED:
        icon = "eyes"  # held for review
    line = [emoji(icon), plain(f" {fit(reply.title, _TITLE)}", bold=True)]
    if reply.author:
        line.append(plain(f"  {fit(reply.author, _NAME)}"))
    parts = [section(*line)]
    if reply.prompt:
        parts.append(quote(fit(reply.prompt, _PROMPT)))
    return {"type": "rich_text", "elements": parts}


def _waiting(reply: Reply, texts: Texts) -> list[Block]:
    said = []
    if reply.place == 1 and reply.status is JobStatus.QUEUED:
        said.append(texts("slack.next"))
    elif reply.place:
        said.append(
            texts("slack.place", place=reply.place, total=max(reply.total or 0, reply.place))
        )
    blocks: list[Block] = []
    if reply.status is JobStatus.RUNNING and reply.progress is not None:
        bar, percent = progress_bar(reply.progress)
        said.append(texts("slack.percent", percent=percent))
        blocks.append(_mrkdwn(f"{bar}  {escaped(reply.text)}"))
    if reply.eta_at is not None:
        said.append(texts("slack.ready", when="{when}"))
    line = escaped(" · ".join(said))
    if reply.eta_at is not None:
        line = line.replace("{when}", moment(reply.eta_at))
    if line:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": line}]})
    return blocks


def _answer(reply: Reply, texts: Texts) -> list[Block]:
    parts = answer_parts(reply.text)
    blocks = _words(parts[0]) if parts else []
    if len(parts) > 1 and not reply.streaming:
        blocks.append(_context(texts("slack.long_text")))
    return blocks


def _words(text: str) -> list[Block]:
    block = rich_text(text)
    return [block] if block is not None else []


def _picture(picture: Picture, texts: Texts, files: Mapping[str, str]) -> list[Block]:
    if picture.blob is None:
        return [_context(fit(picture.note, 300))] if picture.note else []
    file = files.get(file_key(picture))
    blocks = [_image(file, picture.alt)] if file is not None else []
    if picture.blurred:
        blocks.append(_context(texts("slack.blurred")))
    return blocks


def _image(file: str, alt: str) -> Block:
    return {"type": "image", "slack_file": {"id": file}, "alt_text": fit(alt, limits.ALT) or "…"}


def _facts(reply: Reply, *, caption: bool) -> list[Block]:
    """Seed, size, model and cost in one small line; seeds as code, easy to copy."""
    elements = []
    said = [fit(reply.text, 300)] if caption and reply.text else []
    for fact in reply.fields:
        if fact.code:
            text = f"{literal(fit(fact.label, _NAME))} {code(fact.value)}"
            elements.append({"type": "mrkdwn", "text": text})
        else:
            said.append(f"{fit(fact.label, _NAME)} {fit(fact.value, 200)}")
    if said:
        elements.append({"type": "plain_text", "text": " · ".join(said)[: limits.FIELD]})
    elements = elements[-limits.CONTEXT_ELEMENTS :]
    return [{"type": "context", "elements": elements}] if elements else []


def _channels(ids: Sequence[str]) -> list[Block]:
    """Channels as Slack writes them for who reads; what is no id of its, as it is."""
    shown: list[Block] = []
    for channel in ids:
        known = re.fullmatch(r"[CG][A-Z0-9]{6,20}", channel)
        named = {"type": "channel", "channel_id": channel}
        shown += [named if known else plain(f"#{channel}"), plain(" ")]
    return shown[:-1]


def _note(reply: Reply, texts: Texts, files: Mapping[str, str]) -> Message:
    """A sentence, a small table or a kept picture for one person."""
    blocks: list[Block] = []
    if reply.title:
        title = fit(reply.title, _TITLE)
        line = [plain(title, bold=True)]
        if reply.tone in _TONES:
            line = [emoji(_TONES[reply.tone]), plain(f" {title}", bold=True)]
        said = [quote(fit(reply.prompt, _PROMPT))] if reply.prompt else []
        blocks.append({"type": "rich_text", "elements": [section(*line), *said]})
    for part in split_markdown(reply.text, limits.SECTION):
        blocks += _words(part)
    if reply.channels:
        blocks.append({"type": "rich_text", "elements": [section(*_channels(reply.channels))]})
    if reply.link is not None:
        linked = {"type": "link", "url": reply.link.url, "text": reply.link.label}
        blocks.append({"type": "rich_text", "elements": [section(linked)]})
    for picture in reply.pictures:
        blocks += _picture(picture, texts, files)
    if reply.pictures and not reply.buttons:  # a kept copy: its facts in one line
        blocks += _facts(reply.model_copy(update={"text": ""}), caption=False)
        return Message(text=_fallback(reply), blocks=_within(blocks))
    for start in range(0, len(reply.fields), limits.FIELDS):
        some = reply.fields[start : start + limits.FIELDS]
        cells = []
        for fact in some:
            value = code(fact.value) if fact.code else literal(fit(fact.value, 300)) or "–"
            cells.append(
                {"type": "mrkdwn", "text": f"*{literal(fit(fact.label, _NAME))}*\n{value}"}
            )
        blocks.append({"type": "section", "fields": cells})
    for row in rows(reply, per_row=limits.PER_ROW):
        blocks.append(actions(row.buttons, texts))
    return Message(text=_fallback(reply), blocks=_within(blocks))


def _within(blocks: list[Block]) -> list[Block]:
    """As many blocks as a message holds: all of them, unless something is far longer than ours.
    Buttons stay, whatever is left out above them."""
    pressed = [block for block in blocks if block["type"] == "actions"][: limits.BLOCKS]
    room = limits.MESSAGE - limits.weight(pressed)
    kept: list[Block] = []
    for block in blocks:
        if block["type"] == "actions":
            continue
        if len(kept) + len(pressed) >= limits.BLOCKS or limits.weight([*kept, block]) > room:
            break
        kept.append(block)
    return [*kept, *pressed]


def _fallback(reply: Reply) -> str:
    lead = " · ".join(part for part in (reply.title, reply.prompt) if part)
    tail = reply.text if reply.job_id is None or reply.kind is JobKind.CHAT else ""
    tail = re.sub(r"\*\*|`+|^#+ ", "", tail, flags=re.MULTILINE)
    return fit_escaped("\n".join(part for part in (lead, tail) if part) or "…", 600)


def _context(text: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": fit_escaped(text, 1900)}]}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[: limits.SECTION]}}
