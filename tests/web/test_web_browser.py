"""The page as a person uses it: commands typed, pictures and answers watched as they are made."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from storage.schema import JobStatus
from tests.web.site import TEXTS, Site, browser, drawn, ready, say, site, visit

__all__ = ["browser", "site", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


async def test_commands_options_and_choices_by_keyboard(visit: Any, site: Site) -> None:
    page = await visit()
    line, choices = page.locator("#line"), page.locator("#choices li")
    await expect(line).to_be_focused()
    await page.keyboard.type("/")
    await expect(choices).to_have_count(3)
    await expect(choices.first).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("ArrowDown")
    await expect(choices.nth(1)).to_have_attribute("aria-selected", "true")
    await expect(line).to_have_attribute("aria-activedescendant", "choice-1")
    await page.keyboard.press("Escape")
    await expect(page.locator("#completion")).to_be_hidden()
    await page.keyboard.type("im")
    await page.keyboard.press("Tab")
    await expect(line).to_have_value("/imagine ")
    await expect(choices.first).to_contain_text("negative:")
    await page.keyboard.type("a red apple st")
    await expect(choices).to_have_count(3)  # style, strength, steps
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(line).to_have_value("/imagine a red apple style:")
    await page.keyboard.type("fl")
    await expect(choices).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(line).to_have_value("/imagine a red apple style:flat ")
    await page.keyboard.type("seed:7")
    await page.keyboard.press("Enter")
    values = await site.asked()
    assert (values.prompt, values.style, values.seed) == ("a red apple", "flat", 7)
    await expect(line).to_have_value("")
    await expect(page.locator(".card.is-queued")).to_contain_text("3rd of 9 in line")


async def test_free_words_never_get_caught_by_the_list(visit: Any, site: Site) -> None:
    page = await visit()
    await page.keyboard.type("/imagine a sunset")
    await page.keyboard.press("Enter")
    assert (await site.asked()).prompt == "a sunset"
    await page.keyboard.type("/imagine a s")  # a letter that begins three options
    await page.keyboard.press("Enter")
    assert (await site.asked(2)).prompt == "a s"


async def test_a_whole_command_is_sent_at_once(visit: Any, site: Site) -> None:
    page = await visit()
    await page.keyboard.type("/credits")
    await page.keyboard.press("Enter")
    await expect(page.locator("#toasts")).to_contain_text("500")
    await expect(page.locator("#line")).to_have_value("")


async def test_a_picture_is_watched_being_made(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "/imagine a red apple seed:7", site)
    card = page.locator(".card")
    await expect(card).to_have_class(re.compile("is-queued"))
    await site.studio.step(site.job, TEXTS, 5)
    await expect(card.locator("progress")).to_have_attribute("value", "25")
    await expect(card).to_contain_text("step 5 of 20")
    first = await card.locator("img.preview").get_attribute("src")
    await site.studio.step(site.job, TEXTS, 10)
    await expect(card.locator("progress")).to_have_attribute("value", "50")
    assert await card.locator("img.preview").get_attribute("src") != first
    await site.studio.finish(site.job, TEXTS)
    picture = card.locator(".picture img")
    await expect(picture).to_have_attribute("alt", "AI picture of: a red apple (seed 7)")
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 128
    await expect(card).to_contain_text("Made by AI")
    await expect(page.locator("#balance")).to_contain_text("496")
    await expect(page.locator(".card")).to_have_count(1)


async def test_cancel(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "/imagine a red apple", site)
    await site.studio.step(site.job, TEXTS, 3)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".card")).to_have_class(re.compile("is-cancelled"))
    await expect(page.locator(".card")).to_contain_text("Nothing was charged")


async def test_a_late_event_does_not_bring_a_finished_card_back(visit: Any, site: Site) -> None:
    page = await visit()
    job = await drawn(page, site)
    late = site.studio.jobs[job].model_copy(
        update={"status": JobStatus.RUNNING, "pictures": (), "text": "late"}
    )
    site.presenter.show(late)
    await page.wait_for_timeout(150)
    await expect(page.locator(".card")).to_have_class(re.compile("is-succeeded"))


async def test_same_seed_and_edit(visit: Any, site: Site) -> None:
    page = await visit()
    await drawn(page, site, "/imagine a red apple seed:7 style:flat")
    await page.get_by_role("button", name="Same seed and edit").click()
    form = page.locator("dialog form")
    await expect(form.get_by_label("Prompt")).to_have_value("a red apple")
    await expect(form.get_by_label("Seed", exact=True)).to_have_value("7")
    await expect(form.get_by_role("radio", name="Flat")).to_be_checked()
    await form.get_by_label("Prompt").fill("a green apple")
    await form.get_by_label("Seed", exact=True).fill("-1")
    await form.get_by_role("button", name="Draw it").click()
    await expect(form.locator(".said")).to_contain_text("A seed is a whole number")
    await expect(form.get_by_label("Prompt")).to_have_value("a green apple")
    await form.get_by_label("Seed", exact=True).fill("7")
    await form.get_by_role("button", name="Draw it").click()
    await expect(page.locator("dialog")).to_be_hidden()
    values = await site.asked(2)
    assert (values.prompt, values.seed, values.style) == ("a green apple", 7, "flat")
    await expect(page.locator(".card")).to_have_count(2)


async def test_an_error_keeps_what_was_typed(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "/imagine a red apple steps:5000")
    await expect(page.locator("#said")).to_contain_text("Steps must be between 1 and 100")
    await expect(page.locator("#line")).to_have_value("/imagine a red apple steps:5000")
    await expect(page.locator("#line")).to_be_focused()
    await say(page, "/imagine a red apple steps:50")
    assert (await site.asked()).steps == 50
    await expect(page.locator("#said")).to_be_empty()


async def test_no_answer_keeps_what_was_typed_and_sends_it_once(visit: Any, site: Site) -> None:
    page = await visit()
    await site.stop()
    await say(page, "/imagine a red apple")
    await expect(page.locator("#said")).to_contain_text("does not answer")
    await expect(page.locator("#line")).to_have_value("/imagine a red apple")
    await site.start()
    await page.keyboard.press("Enter")
    await expect(page.locator(".card")).to_have_count(1)
    assert len(site.studio.jobs) == 1


async def test_reroll_delete_report_and_copy(visit: Any, site: Site) -> None:
    page = await visit()
    await drawn(page, site)
    await page.get_by_role("button", name="Report").click()
    await page.locator("dialog").get_by_role("button", name="Report").click()
    await expect(page.locator("#toasts")).to_contain_text(TEXTS("report.thanks"))
    await page.get_by_role("button", name="Delete").click()
    await page.keyboard.press("Escape")  # thought better of it
    await expect(page.locator(".picture img")).to_be_visible()
    await page.get_by_role("button", name="Delete").click()
    await page.locator("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".frame.placeholder")).to_contain_text("Deleted")
    await page.get_by_role("button", name="Reroll").click()
    await expect(page.locator(".card")).to_have_count(2)


async def test_an_answer_is_read_as_it_is_written(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "What is the capital of France?")
    assert (await site.asked()).prompt == "What is the capital of France?"
    job = site.job
    written = {"status": JobStatus.RUNNING, "streaming": True}
    await site.studio.show(job, text="The capital is", **written)
    await expect(page.locator(".answer.writing")).to_have_text("The capital is")
    await site.studio.show(job, text="The capital is **Paris", **written)
    await expect(page.locator(".answer.writing")).to_contain_text("Paris")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    await site.studio.answer(job, TEXTS, "The capital is **Paris**.")
    await expect(page.locator(".answer strong")).to_have_text("Paris")
    await page.get_by_role("button", name="Regenerate").click()
    await expect(page.locator(".card")).to_have_count(2)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".card").last).to_have_class(re.compile("is-cancelled"))


async def test_a_new_conversation(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "one", site)
    await site.asked()
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator("#toasts")).to_contain_text("starts fresh")
    await say(page, "two", site)
    await site.asked(2)
    one, two = [context.address.thread for _, _, context in site.studio.invocations]
    assert one != two


async def test_a_reload_recovers_the_card_and_the_draft(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "/imagine a red apple seed:7", site)
    await site.studio.step(site.job, TEXTS, 8)
    await page.locator("#line").fill("half a thought")
    await page.reload()
    await ready(page)
    await expect(page.locator(".card progress")).to_have_attribute("value", "40")
    await expect(page.locator("#line")).to_have_value("half a thought")
    await site.studio.step(site.job, TEXTS, 12)
    await expect(page.locator(".card progress")).to_have_attribute("value", "60")


async def test_a_restart_of_the_server_recovers(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "/imagine a red apple seed:7", site)
    await site.studio.step(site.job, TEXTS, 8)
    await expect(page.locator(".card progress")).to_have_attribute("value", "40")
    await site.stop()
    await expect(page.locator("#link")).to_be_visible(timeout=6000)
    await site.studio.finish(site.job, TEXTS)  # while nobody listened
    await site.start()
    await expect(page.locator(".picture img")).to_be_visible(timeout=12000)
    await expect(page.locator("#link")).to_be_hidden()
    await page.reload()  # the cookie still opens it
    await expect(page.locator(".card")).to_have_count(1)


async def test_the_place_in_line_moves_without_an_event(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "/imagine a red apple")
    await expect(page.locator(".card")).to_contain_text("3rd of 9")
    job = site.job
    site.studio.jobs[job] = site.studio.jobs[job].model_copy(update={"place": 2})
    await expect(page.locator(".card")).to_contain_text("2nd of 9", timeout=15000)
