"""Draw every sample card into one PNG."""

from __future__ import annotations

import html
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from bot.adapters.slack.render import message, words_for
from bot.adapters.slack.views import Ticket, command_form
from bot.root import known_commands
from tests.slack.samples import FILES, samples

EMOJI = {
    "hourglass_flowing_sand": "⏳", "art": "🎨", "white_check_mark": "✅", "x": "❌",
    "no_entry": "⛔", "black_square_for_stop": "⏹️", "writing_hand": "✍️", "eyes": "👀",
    "warning": "⚠️",
}  # fmt: skip
STYLE = Path(__file__).with_name("style.css").read_text("utf-8")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def mrkdwn(text: str) -> str:
    """Slack's own markup, as far as we use it; it is escaped already."""
    text = re.sub(
        r"<!date\^(\d+)\^[^|]*\|[^>]*>",
        lambda m: f"{datetime.fromtimestamp(int(m[1]), UTC):%H:%M:%S}",
        text,
    )
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"(?<!\w)\*([^*\n]+)\*", r"<b>\1</b>", text).replace("\n", "<br>")


def text_of(item: dict[str, Any]) -> str:
    """A text object."""
    if item["type"] == "mrkdwn":
        return mrkdwn(item["text"])
    return html.escape(item["text"]).replace("\n", "<br>")


def rich(element: dict[str, Any]) -> str:
    """One element of a rich text."""
    kind = element["type"]
    if kind == "text":
        shown = html.escape(element["text"]).replace("\n", "<br>")
        for style, tag in (("bold", "b"), ("italic", "i"), ("code", "code")):
            if element.get("style", {}).get(style):
                shown = f"<{tag}>{shown}</{tag}>"
        return shown
    if kind == "emoji":
        return EMOJI[element["name"]]
    inner = "".join(rich(one) for one in element["elements"])
    if kind == "rich_text_list":
        items = "".join(f"<li>{rich(one)}</li>" for one in element["elements"])
        tag = "ol" if element["style"] == "ordered" else "ul"
        return f'<{tag} start="{element.get("offset", 0) + 1}">{items}</{tag}>'
    tags = {"rich_text_quote": "blockquote", "rich_text_preformatted": "pre"}
    return f"<{tags[kind]}>{inner}</{tags[kind]}>" if kind in tags else f"<div>{inner}</div>"


def block(item: dict[str, Any]) -> str:
    """One block."""
    kind = item["type"]
    if kind == "rich_text":
        return f'<div class="block">{"".join(rich(one) for one in item["elements"])}</div>'
    if kind == "section" and "fields" in item:
        return '<div class="block fields">' + "".join(
            f"<div>{text_of(one)}</div>" for one in item["fields"]
        ) + "</div>"  # fmt: skip
    if kind == "section":
        button = item.get("accessory")
        beside = f"<button>{text_of(button['text'])}</button>" if button else ""
        return f'<div class="block beside"><div>{text_of(item["text"])}</div>{beside}</div>'
    if kind == "context":
        return f'<div class="context">{" ".join(text_of(one) for one in item["elements"])}</div>'
    if kind == "image":
        alt = html.escape(item["alt_text"])
        return f'<div class="image" role="img" title="{alt}">🍎<small>{alt}</small></div>'
    if kind == "actions":
        return '<div class="actions">' + "".join(
            f'<button class="{one.get("style", "")}">{text_of(one["text"])}</button>'
            for one in item["elements"]
        ) + "</div>"  # fmt: skip
    if kind == "header":
        return f"<h3>{text_of(item['text'])}</h3>"
    if kind == "input":
        element = item["element"]
        shown = element.get("initial_value") or (
            element.get("initial_option", {}).get("text", {}).get("text", "")
        )
        size = "tall" if element.get("multiline") else ""
        hint = f"<small>{text_of(item['hint'])}</small>" if "hint" in item else ""
        more = "" if not item.get("optional") else " <small>(optional)</small>"
        return (
            f'<label>{text_of(item["label"])}{more}<div class="input {size}">'
            f"{html.escape(shown)}</div>{hint}</label>"
        )
    return "<hr>"


def page(locale: str) -> str:
    """Every sample, and the dialogue of `/imagine`."""
    parts = []
    for name, reply in samples(locale).items():
        made = message(reply, words_for(locale), FILES)
        body = "".join(block(item) for item in made.blocks)
        parts.append(
            f'<section><h4>{name}</h4><div class="message"><div class="face">A</div>'
            f"<div><b>Atelier</b> <small>APP 9:41</small>{body}</div></div></section>"
        )
    info = next(i for i in known_commands(locale) if i.name == "imagine")
    view = command_form(info, words_for(locale), Ticket(command="imagine"))
    body = "".join(block(item) for item in view["blocks"])
    parts.append(
        f'<section><h4>modal</h4><div class="modal"><h3>{view["title"]["text"]}</h3>{body}'
        f'<div class="actions right"><button>{view["close"]["text"]}</button>'
        f'<button class="primary">{view["submit"]["text"]}</button></div></div></section>'
    )
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main>{''.join(parts)}</main>"


def main() -> None:
    """Draw."""
    out, locale = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "en"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        tab = browser.new_page(viewport={"width": 1500, "height": 900})
        tab.set_content(page(locale))
        tab.screenshot(path=out, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
