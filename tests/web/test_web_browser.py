"""The page as a person uses it: Chromium, a real server, a scripted studio."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.adapters.web.render import words_for
from storage.schema import JobStatus
from tests.web.fakes import TOKEN, FakeStudio, make_core

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
TEXTS = words_for("en")
HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def chromium() -> str | None:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    return "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium found: apt-get install chromium to run the browser tests")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        await started.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Site:
    """A served studio that can be stopped and started again on the same port."""

    def __init__(self) -> None:
        self.presenter = WebPresenter()
        self.studio = FakeStudio(self.presenter)
        self.port = 0
        self.server: _Server | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def job(self) -> str:
        return max(self.studio.jobs)

    async def start(self) -> None:
        self.presenter = self.studio.presenter = WebPresenter()
        app = make_app(make_core(self.studio), self.presenter, token=TOKEN, reader=self.studio)
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", self.port))
        self.port = door.getsockname()[1]
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        self.server = _Server(config)
        self.task = asyncio.create_task(self.server.serve(sockets=[door]))
        while not self.server.started:
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        assert self.server is not None
        assert self.task is not None
        self.presenter.close()
        self.server.should_exit = True
        await self.task

    async def asked(self, count: int = 1) -> Any:
        """The values of the newest invocation, once there are ``count`` of them."""
        async with asyncio.timeout(60):
            while len(self.studio.invocations) < count:
                await asyncio.sleep(0.02)
        return self.studio.invocations[-1][1]


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, site: Site) -> AsyncIterator[Any]:
    """Opens the page as some visitor; fails the test when the page had an error of its own."""
    contexts = []
    faults: list[str] = []

    async def open_page(width: int = 1280, height: int = 800, **wishes: Any) -> Page:
        context = await browser.new_context(viewport={"width": width, "height": height}, **wishes)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: _note(message, faults))
        await page.goto(f"{site.url}/?token={TOKEN}")
        await expect(page.locator("html[data-ready] #line")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert faults == []


def _note(message: Any, faults: list[str]) -> None:
    expected = ("422", "ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY", "ERR_SOCKET")
    if message.type == "error" and not any(word in message.text for word in expected):
        faults.append(message.text)


async def ready(page: Page) -> None:
    await expect(page.locator("html[data-ready]")).to_be_attached()


async def say(page: Page, line: str, site: Site | None = None) -> None:
    """Type a line and send it; with a ``site``, wait until it has become a job."""
    before = len(site.studio.jobs) if site else 0
    await page.locator("#line").fill(line)
    await page.keyboard.press("Enter")
    async with asyncio.timeout(60):
        while site and len(site.studio.jobs) == before:
            await asyncio.sleep(0.02)


async def drawn(page: Page, site: Site, line: str = "/imagine a red apple seed:7") -> str:
    await say(page, line, site)
    await site.studio.finish(site.job, TEXTS)
    await expect(page.locator(f"#job-{site.job} .picture img").first).to_be_visible()
    return site.job


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


async def test_the_place_in_line_moves_without_an_event(visit: Any, site: Site) -> None:
    page = await visit()
    await say(page, "/imagine a red apple")
    await expect(page.locator(".card")).to_contain_text("3rd of 9")
    job = site.job
    site.studio.jobs[job] = site.studio.jobs[job].model_copy(update={"place": 2})
    await expect(page.locator(".card")).to_contain_text("2nd of 9", timeout=15000)


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
    await expect(page.locator("dialog .picture img")).to_be_visible()


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


def a_picture(folder: Path, name: str = "photo.png", kind: str = "PNG") -> Path:
    file = folder / name
    Image.new("RGB", (48, 32), "teal").save(file, kind)
    return file


async def test_a_picture_is_attached_seen_and_sent(visit: Any, site: Site, tmp_path: Path) -> None:
    page = await visit()
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Attach a picture").click()
    await (await chooser.value).set_files(a_picture(tmp_path))
    tray = page.get_by_role("list", name="Attached pictures")
    await expect(tray.get_by_role("img", name="Picture 1")).to_be_visible()
    await page.locator("#line").fill("/imagine a red apple")
    await page.keyboard.press("Enter")
    values = await site.asked()
    assert values.image is not None
    assert values.image.data is not None
    assert values.image.data.startswith(b"\x89PNG")
    await expect(tray).to_be_hidden()


async def test_an_attached_picture_can_be_taken_away_and_survives_a_no(
    visit: Any, site: Site, tmp_path: Path
) -> None:
    page = await visit()
    await page.locator("#attach-file").set_input_files(
        [a_picture(tmp_path), a_picture(tmp_path, "two.png")]
    )
    tray = page.get_by_role("list", name="Attached pictures")
    await expect(tray.get_by_role("img")).to_have_count(2)
    await tray.get_by_role("button", name="Take it away").first.click()
    await expect(tray.get_by_role("img")).to_have_count(1)
    await say(page, "/imagine a red apple steps:5000")
    await expect(page.locator("#said")).to_contain_text("Steps must be")
    await expect(tray.get_by_role("img")).to_have_count(1)
    await page.locator("#attach-file").set_input_files(
        {"name": "a.gif", "mimeType": "image/gif", "buffer": b"GIF89a"}
    )
    await expect(page.locator("#toasts")).to_contain_text("Only PNG, JPEG or WebP")
    await expect(tray.get_by_role("img")).to_have_count(1)


DROP = """([target, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
  const where = document.querySelector(target);
  for (const kind of ["dragover", "drop"]) {
    const event = new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data });
    where.dispatchEvent(event);
  }
}"""
PASTE = """([bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
  const event = new ClipboardEvent("paste", { bubbles: true, clipboardData: data });
  document.querySelector("#line").dispatchEvent(event);
}"""


async def test_pictures_are_dropped_on_a_field_and_pasted_into_the_line(
    visit: Any, site: Site, tmp_path: Path
) -> None:
    page = await visit()
    data = list(a_picture(tmp_path).read_bytes())
    await page.evaluate(DROP, ["[data-name=image] [data-put]", data])
    field = page.locator("#panel [data-name=image]")
    await expect(field.locator("img")).to_be_visible()
    await page.locator("#make textarea").first.fill("a pear")
    await page.get_by_role("button", name="Make it").click()
    assert (await site.asked()).image is not None
    await field.get_by_role("button", name="Take the picture away").click()
    await expect(field.locator("img")).to_be_hidden()
    await page.evaluate(PASTE, [data])
    await expect(page.locator("#attached img")).to_have_count(1)
    await page.evaluate(DROP, [".scroll", data])
    await expect(page.locator("#attached img")).to_have_count(2)
    assert page.url.startswith(site.url), "a dropped file never replaces the page"
