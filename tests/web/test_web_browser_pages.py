"""The page on every screen, in both languages and lights, by keyboard, and its history."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.web.site import TEXTS, Site, browser, drawn, ready, say, site, visit

__all__ = ["browser", "site", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


async def test_a_long_channel_scrolls_and_the_page_does_not(visit: Any, site: Site) -> None:
    """The bar, the panel and the composer stay; the newest card is the one in sight."""
    page = await visit()
    for seed in range(4):
        await say(page, f"/imagine a red apple seed:{seed}", site)
        await site.studio.finish(site.job, TEXTS)
        await expect(page.locator(".card .picture img")).to_have_count(seed + 1)
    await page.reload()
    await ready(page)
    await expect(page.locator(".card").last).to_be_in_viewport()
    await expect(page.locator("header.top")).to_be_in_viewport(ratio=1)
    await expect(page.locator(".panel .button.wide")).to_be_in_viewport(ratio=1)
    await expect(page.locator("#line")).to_be_in_viewport(ratio=1)
    heights = await page.evaluate(
        "() => [document.documentElement, document.getElementById('scroll')]"
        ".map((one) => one.scrollHeight - one.clientHeight)"
    )
    assert heights[0] == 0
    assert heights[1] > 0
    await page.locator("#scroll").hover()
    await page.mouse.wheel(0, -10_000)
    await expect(page.locator(".card").first).to_be_in_viewport()
    await expect(page.locator("header.top")).to_be_in_viewport(ratio=1)


async def test_a_phone(visit: Any, site: Site) -> None:
    page = await visit(390, 844, has_touch=True, is_mobile=True)
    long = (
        "/imagine "
        + "averyveryverylongwordwithoutanyspace" * 8
        + " count:4 seed:9223372036854775800"
    )
    await drawn(page, site, long)
    await say(page, "```\n" + "x" * 300 + "\n```", site)
    await site.studio.answer(site.job, TEXTS, "| " + "y" * 300 + "\n\n```\n" + "x" * 300 + "\n```")
    await expect(page.locator(".answer pre")).to_be_visible()
    for path in ("/", "/history"):
        if path != "/":
            await page.goto(site.url + path)
        width, height, tall = await page.evaluate(
            "[document.documentElement.scrollWidth, document.body.scrollHeight, innerHeight]"
        )
        assert width == 390
        assert path == "/history" or height == tall  # only the channel scrolls
    await page.goto(site.url)
    await ready(page)
    await page.get_by_role("button", name="Create").click()
    panel = page.locator("#panel")
    await expect(panel.get_by_label("Prompt", exact=True)).to_be_focused()
    small = await page.evaluate(
        """[...document.querySelectorAll("button, a, select, input[type=text], summary, .option")]
        .filter(e => e.checkVisibility() && !e.closest(".skip"))
        .map(e => [e.getBoundingClientRect(), e.outerHTML.slice(0, 90)])
        .filter(([box]) => box.height > 0 && box.top >= 0 && (box.height < 43.5 || box.width < 39))
        .map(([box, html]) => `${box.width}x${box.height} ${html}`)"""
    )
    assert small == [], "\n".join(small)
    await panel.get_by_role("button", name="Rocket").click()
    await expect(panel.get_by_label("Prompt", exact=True)).to_have_value("a rocket")
    await panel.get_by_role("button", name="Make it").click()
    assert (await site.asked(3)).prompt == "a rocket"
    await expect(panel).not_to_have_class(re.compile("open"))


async def test_the_panel_sends_what_it_shows(visit: Any, site: Site) -> None:
    page = await visit()
    panel = page.locator("#panel")
    await panel.get_by_label("Prompt", exact=True).fill("a boat")
    await panel.locator(".option", has_text="Flat").click()
    await panel.locator(".option", has_text="112×144").click()
    await panel.get_by_text("More options").click()
    await panel.get_by_label("Steps").fill("33")
    await expect(panel.locator("output[for=make-steps]")).to_have_text("33")
    await panel.get_by_role("button", name="Roll a random seed").click()
    seed = int(await panel.get_by_label("Seed", exact=True).input_value())
    await panel.locator(".field-segments .option", has_text="2").click()
    await panel.get_by_role("button", name="Make it").click()
    values = await site.asked()
    assert (values.prompt, values.style, values.size) == ("a boat", "flat", "112x144")
    assert (values.steps, values.seed, values.count) == (33, seed, 2)


async def test_dark_and_light(visit: Any) -> None:
    page = await visit(color_scheme="dark")

    async def ground() -> str:
        return str(await page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = await ground()
    await page.locator("#theme").click()  # auto -> light
    light = await ground()
    assert light != dark
    await page.locator("#theme").click()  # light -> dark
    assert await ground() == dark
    await page.wait_for_timeout(200)
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_chinese(visit: Any, site: Site) -> None:
    page = await visit(locale="zh-CN")
    await expect(page.locator("#panel h2")).to_have_text("创作")
    await say(page, "／imagine 一只猫 seed：7")
    values = await site.asked()
    assert (values.prompt, values.seed) == ("一只猫", 7)
    await expect(page.locator(".card")).to_contain_text("排在第 3 位，共 9 位")
    await page.locator(".prefs button[name=locale]").click()
    await expect(page.locator("#panel h2")).to_have_text("Create")


async def test_the_history_opens_a_card(visit: Any, site: Site) -> None:
    page = await visit()
    await drawn(page, site)
    await page.get_by_role("link", name="History").click()
    await expect(page.locator("html[data-ready] .tile")).to_be_visible()
    await page.locator(".tile").click()
    await expect(page.locator("dialog .card")).to_contain_text("a red apple")
    card = page.locator("dialog .card")
    await expect(card.locator(".picture img")).to_be_visible()
    # A question over the card, thought better of and then meant, leads back to it.
    for answer in ("Cancel", "Delete"):
        await card.get_by_role("button", name="Delete").click()
        await page.locator("dialog.question").get_by_role("button", name=answer).click()
        await expect(card).to_contain_text("a red apple")
    await expect(card.locator(".placeholder")).to_contain_text("Deleted")
    await card.get_by_role("button", name="Same seed and edit").click()
    await page.locator("dialog form").get_by_role("button", name="Draw it").click()
    await expect(card).to_have_class(re.compile("is-queued"))
    await site.studio.finish(site.job, TEXTS)  # no event reaches this page: it asks
    await expect(card.locator(".picture img")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator(".tile")).to_have_count(2)


async def test_hostile_words_do_nothing(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, f"/imagine {HOSTILE}", site)
    await expect(page.locator(".card .prompt")).to_have_text(HOSTILE)
    await site.studio.finish(site.job, TEXTS, author=HOSTILE)
    await say(page, HOSTILE)
    await site.asked(2)
    await site.studio.answer(site.job, TEXTS, HOSTILE + "\n\n[x](javascript:window.hacked=1)")
    await expect(page.locator(".card[data-kind=chat] .answer")).to_contain_text("window.hacked")
    await page.reload()
    await page.goto(site.url + "/history")
    assert await page.evaluate("window.hacked") is None


async def test_it_can_be_used_by_keyboard_alone(visit: Any, site: Site) -> None:
    page = await visit()
    job = await drawn(page, site)
    await page.locator(f"#job-{job}").focus()
    names = []
    for _ in range(12):
        await page.keyboard.press("Tab")
        names.append(
            await page.evaluate(
                "document.activeElement.textContent.trim() || document.activeElement.tagName"
            )
        )
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    for wanted in ("Download", "Delete", "Report", "Reroll", "Same seed and edit"):
        assert wanted in names
    await page.keyboard.press("Escape")
    await page.locator("body").press("/")
    await expect(page.locator("#line")).to_be_focused()
