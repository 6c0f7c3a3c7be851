"""Languages, light and dark, and how cards are worded."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from bot.adapters.web.desk import wanted_locale
from bot.adapters.web.render import WORDS, Look, Renderer, ordinal, words_for
from bot.core.reply import Reply
from bot.core.texts import LOCALES, load_words
from bot.core.texts import WORDS as CORE_WORDS
from storage.schema import JobKind, JobStatus
from tests.web.checks import Outline


def test_both_languages_have_every_word_and_the_same_blanks() -> None:
    tables = {loc: load_words(WORDS, loc).keys() for loc in LOCALES}
    assert tables["en"] == tables["zh"]
    en, zh = words_for("en"), words_for("zh")
    for key in tables["en"]:
        assert set(re.findall(r"{\w+}", en.words[key])) == set(
            re.findall(r"{\w+}", zh.words[key])
        ), key


def test_every_word_the_page_uses_exists_and_is_used() -> None:
    web = WORDS.parent
    sources = "\n".join(
        path.read_text("utf-8")
        for folder in ("templates", "static/js", ".")
        for path in sorted((web / folder).glob("*"))
        if path.suffix in (".html", ".js", ".py")
    )
    used = set(re.findall(r"""\b(?:t|texts)\(\s*["']([a-z_]+\.[a-z_]+)["']""", sources))
    used |= {f"js.{key}" for key in re.findall(r"""\bsay\(\s*["']([a-z_]+)["']""", sources)}
    have = set(load_words(WORDS, "en"))
    assert used - have - set(load_words(CORE_WORDS, "en")) == set()
    computed = {
        "input",
        "status",
        "quick",
        "option_name",
        "choice",
        "error",
        "preset",
        "act",
        "kind",
    }
    said = {"js.queued", "js.started", "js.succeeded", "js.failed", "js.rejected", "js.cancelled",
            "js.signed_out", "js.offline"}  # fmt: skip
    assert {key for key in have - used - said if key.split(".")[0] not in computed} == set()


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        ("", "en"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-GB,en;q=0.9,zh;q=0.1", "en"),
        ("fr-FR,zh;q=0.5", "zh"), ("fr", "en"), ("en;q=0.2, zh-Hans;q=0.7", "zh"),
        (";;;q=x,,", "en"), ("zh;q=0", "en"),
    ],
)  # fmt: skip
def test_the_language_the_browser_asks_for(header: str, locale: str) -> None:
    assert wanted_locale(header) == locale


async def test_language_and_light_are_remembered(page: httpx.AsyncClient) -> None:
    html = (await page.get("/", headers={"Accept-Language": "zh-CN"})).text
    assert 'lang="zh-Hans"' in html
    assert "创作" in html
    answer = await page.post(
        "/preferences", data={"locale": "en", "theme": "dark", "back": "//evil"}
    )
    assert answer.headers["location"] == "/"
    html = (await page.get("/", headers={"Accept-Language": "zh-CN"})).text
    assert 'lang="en"' in html
    assert 'data-theme="dark"' in html


def test_words_can_be_read_on_every_ground() -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA) for every pair that is used, light and dark."""
    css = (WORDS.parent / "static/css/base.css").read_text("utf-8")
    light, dark, chosen = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in (css.split("}")[0], css.split("@media")[1].split("}")[0],
                      css.split(':root[data-theme="dark"]')[1].split("}")[0])
    )  # fmt: skip
    assert dark == chosen

    def light_of(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    def contrast(one: str, other: str) -> float:
        high, low = sorted((light_of(one), light_of(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for colours in (light, dark):
        grounds = [colours[name] for name in ("paper", "surface", "raised", "sunken")]
        for ink in ("ink", "soft", "faint", "accent", "bad"):
            for ground in grounds:
                assert contrast(colours[ink], ground) >= 4.5, (ink, ground)
        pairs = (("accent-ink", "accent"), ("accent", "accent-soft"), ("ink", "accent-soft"),
                 ("warn", "warn-soft"), ("bad", "bad-soft"), ("paper", "bad"))  # fmt: skip
        for ink, ground in pairs:
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for ground in ("paper", "surface", "raised"):  # edges of controls and focus: 3 to 1
            assert contrast(colours["strong-line"], colours[ground]) >= 3
            assert contrast(colours["ring"], colours[ground]) >= 3


def test_files_stay_small() -> None:
    web = Path(WORDS).parent
    for path in web.rglob("*"):
        if path.suffix in (".py", ".js", ".css", ".html") and "vendor" not in path.parts:
            assert len(path.read_text("utf-8").splitlines()) < 400, path


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("kind", list(JobKind))
@pytest.mark.parametrize("locale", LOCALES)
def test_every_state_can_be_drawn(status: JobStatus, kind: JobKind, locale: str) -> None:
    reply = Reply(job_id="j", kind=kind, status=status, title="T", text="words", prompt="p")
    card = Renderer().card(reply, Look(locale))
    assert f"is-{status}" in card
    assert Outline(card).bad == []


def test_places_and_waits_are_said() -> None:
    assert [ordinal(n, "en") for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip
    renderer = Renderer(clock=lambda: 1000.0)
    for locale, seconds, minutes in (
        ("en", "about 12 s", "about 3 min"),
        ("zh", "大约 12 秒", "大约 3 分钟"),
    ):
        for ahead, words in ((12, seconds), (180, minutes)):
            reply = Reply(
                job_id="j", status=JobStatus.QUEUED, place=3, total=9, eta_at=(1000 + ahead) * 1000
            )
            assert words in renderer.card(reply, Look(locale))
    assert "排在第 3 位，共 9 位" in renderer.card(
        Reply(job_id="j", status=JobStatus.QUEUED, place=3, total=9), Look("zh")
    )
