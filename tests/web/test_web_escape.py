"""Hostile words stay words: in prompts, answers, names, titles and alt texts."""

from __future__ import annotations

import time

import httpx
import pytest

from bot.adapters.web.markdown import to_html
from bot.adapters.web.render import words_for
from bot.core.reply import Picture, Tone
from storage.schema import JobStatus
from tests.web.checks import Outline, imagine
from tests.web.fakes import JSON, FakeStudio

HOSTILE = [
    "<script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</textarea><script>window.hacked=1</script>",
    "<svg onload=window.hacked=1>",
    "' onmouseover='window.hacked=1",
    "[click](javascript:window.hacked=1)",
    "![x](https://evil.example/track.png)",
    "<https://evil.example>",
    "```\n</code></pre><script>window.hacked=1</script>\n```",
    "{{ 7*7 }} {% raw %} ${7*7}",
    "</script><script>window.hacked=1</script>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'>",
    '<a href="java\nscript:window.hacked=1">x</a>',
    "\u202egnp.exe\u202c <b>bold</b>",
]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_words_stay_words(
    page: httpx.AsyncClient, studio: FakeStudio, text: str
) -> None:
    drawn = await imagine(page, text)
    await studio.finish(drawn, words_for("en"), author=text)
    held = await imagine(page, "x", **{"v.seed": "8"})
    made = Picture(generation_id=text, blob=None, note=text, alt=text, width=8, height=8, seed=1)
    await studio.finish(held, words_for("en"), pictures=(made,), tone=Tone.WARN, title=text)
    asked = (await page.post("/invoke", data={"line": text}, headers=JSON)).json()["job"]
    await studio.answer(asked, words_for("en"), text)
    failed = await imagine(page, "y", **{"v.seed": "9"})
    await studio.show(failed, status=JobStatus.FAILED, title=text, text=text, tone=Tone.BAD)
    for path in ("/", "/history", f"/cards/{drawn}"):
        html = (await page.get(path)).text
        outline = Outline(html)
        assert outline.bad == []
    for path in ("/timeline", f"/cards/{held}"):
        data = (await page.get(path, headers=JSON)).json()
        cards = [c["card"] for c in data["cards"]] if "cards" in data else [data["card"]]
        for card in cards:
            assert Outline(card).bad == []


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_makes_no_link_no_picture_and_no_markup(text: str) -> None:
    html = str(to_html(text))
    outline = Outline(html)
    assert not {"a", "img", "script", "svg", "iframe"} & set(outline.tags)
    assert outline.bad == []


def test_markdown_of_the_simple_kind() -> None:
    html = str(to_html("# Title\n\none **two** `three`\nfour\n\n- a\n- b\n\n```py\nx < 1"))
    assert '<p class="heading">Title</p>' in html
    assert "<strong>two</strong>" in html
    assert "<code>three</code><br />" in html
    assert "<li>" in html
    assert "x &lt; 1" in html  # a fence that is still being written


def test_deep_markdown_is_drawn_in_no_time() -> None:
    start = time.perf_counter()
    for text in ("> " * 5000, "- " * 5000, "*" * 20_000, "[" * 20_000, "`" * 20_000, "**a " * 5000):
        to_html(text)
    assert time.perf_counter() - start < 5
