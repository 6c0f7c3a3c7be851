"""A visitor of a scripted studio: Chromium, and a real server that can be stopped and started."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, Page, async_playwright, expect

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.adapters.web.render import words_for
from tests.web.browsing import FLAGS, QuietServer, chromium
from tests.web.fakes import TOKEN, FakeStudio, make_core

TEXTS = words_for("en")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        await started.close()


class Site:
    """A served studio that can be stopped and started again on the same port."""

    def __init__(self) -> None:
        self.presenter = WebPresenter()
        self.studio = FakeStudio(self.presenter)
        self.port = 0
        self.server: QuietServer | None = None
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
        self.server = QuietServer(config)
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
