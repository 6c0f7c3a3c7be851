"""The consoles over the real core: the review room by keyboard, pictures veiled, figures, CSV."""

from __future__ import annotations

import asyncio
import io
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn
from PIL import Image
from playwright.async_api import async_playwright, expect
from sqlmodel import Session, select

from bot.adapters.web.app import make_app
from bot.adapters.web.consoles import veil
from bot.adapters.web.live import WebPresenter
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage import audit
from storage.database import Database
from storage.endings import Ending, end_job
from storage.jobs import Made, claim
from storage.models import Act, Case, Generation
from storage.queue import Wire
from storage.schema import (
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Platform,
    Verdict,
)
from tests.conftest import HandClock, actor, set_limits, submitted
from tests.fakes import make_services
from tests.web.fakes import BASE, JSON, TOKEN, paint
from tests.web.test_web_browser import FLAGS, chromium


@pytest_asyncio.fixture
async def services(
    sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock
) -> Services:
    made = make_services(sqlite_database, wire, tmp_path, clock=clock)
    await made.prompt_gate.load()
    return made


@pytest.fixture
def app(services: Services, presenter: WebPresenter) -> Any:
    return make_app(Core(services, COMMANDS, PRESSES), presenter, token=TOKEN)


@pytest_asyncio.fixture
async def page(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    headers = {"Origin": BASE} | JSON
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
        await client.get("/", params={"token": TOKEN})
        yield client


def hold(services: Services, count: int, *, same: bool = False) -> list[str]:
    """So many held pictures in the local studio; the ids of their cases, most urgent first."""
    database = services.database
    owner = actor(database, "owner", workspace="local", role="admin", platform=Platform.LOCAL,
                  credits=count, now=services.clock())  # fmt: skip
    set_limits(database)
    codes = (Category.SEX, Category.VIO, Category.HATE)
    for number in range(count):
        job = submitted(database, owner, now=services.clock())
        verdict = Verdict(
            outcome=Outcome.HOLD,
            flags=frozenset({Flag(category=codes[number % 3], score=0.5 + number % 5 / 10,
                                  stage="image.nudenet")}),
        )  # fmt: skip
        blob = services.blobs.put(paint("statue", number, 96, 96), "png")
        made = Made(
            index=0, status=GenerationStatus.HELD, seed=number, recipe={}, blob=blob, width=96,
            verdict=verdict.dump(), height=96, sha256="5" * 64 if same else f"{number:064d}",
        )  # fmt: skip

        def end(session: Session, job_id: str = job.id, one: Made = made) -> None:
            got = claim(session, worker="w", room={JobKind.IMAGE: 99}, now=services.clock())
            assert got is not None and got.job_id == job_id
            ending = Ending(status=JobStatus.SUCCEEDED, made=(one,), cost=1)
            assert end_job(session, job_id, got.fence, ending, now=services.clock())

        database.write(end)
    found = database.read(
        lambda s: s.exec(
            select(Case).order_by(Case.severity.desc(), Case.due_at, Case.id)  # type: ignore[attr-defined]
        ).all()
    )
    return [case.id for case in found]


async def test_a_held_picture_leaves_veiled_unless_it_is_revealed(
    page: httpx.AsyncClient, services: Services
) -> None:
    [case] = hold(services, 1)
    veiled = await page.get(f"/review/pictures/{case}")
    clear = await page.get(f"/review/pictures/{case}?clear=1")
    assert veiled.status_code == clear.status_code == 200
    assert veiled.headers["cache-control"] == "no-store"
    shades = Image.open(io.BytesIO(veiled.content)).convert("RGB")
    assert all(max(p) - min(p) < 12 for p in [shades.getpixel((x, x)) for x in range(0, 90, 9)])
    assert clear.content.startswith(b"\x89PNG")
    acts = services.database.read(lambda s: [a.verb for a in s.exec(select(Act))])
    assert acts == ["reveal"], "only the clear one is an exposure"
    assert (await page.get("/review/pictures/nonsense")).status_code == 404


async def test_a_stranger_reads_nothing(app: Any, services: Services) -> None:
    [case] = hold(services, 1)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as stranger:
        for path in ("/review", "/review/queue", f"/review/cases/{case}", "/ledger",
                     f"/review/pictures/{case}", "/review/audit?format=json"):  # fmt: skip
            assert (await stranger.get(path)).status_code == 401, path


async def test_one_ruling_serves_identical_pictures(
    page: httpx.AsyncClient, services: Services
) -> None:
    cases = hold(services, 3, same=True)
    answer = (await page.post("/review/alike", data={
        "verb": "deny", "target": cases[0], "code": "SEX"})).json()  # fmt: skip
    assert len(answer["decisions"]) == 3
    left = (await page.get("/review/queue")).json()
    assert left["cases"] == []
    refused = await page.post("/review/alike", data={"verb": "explode", "target": cases[0]})
    assert refused.status_code == 409


async def test_figures_audit_and_ledger_can_be_read_and_taken_along(
    page: httpx.AsyncClient, services: Services
) -> None:
    cases = hold(services, 4)
    for verb, case in (("approve", cases[0]), ("deny", cases[1])):
        said = await page.post("/press", data={"verb": verb, "target": case, "v.code": "HATE"})
        assert said.json()["ok"], said.text
    shown = (await page.get("/review/figures")).text
    assert "image.nudenet" in shown and "95 % interval" in shown
    lines = (await page.get("/review/thresholds?stage=image.nudenet&code=HATE")).json()["lines"]
    assert len(lines) == 21
    rows = (await page.get("/review/audit?format=csv")).text.splitlines()
    assert rows[0].startswith("number,at,actor_id") and len(rows) == 5
    assert (await page.get("/review/audit?format=json")).json()["acts"][0]["verb"] == "deny"
    assert services.database.read(audit.verify) == []
    ledger = await page.get("/ledger?format=csv&kind=settle")
    assert ledger.headers["content-type"].startswith("text/csv")
    assert len(ledger.text.splitlines()) == 5
    assert (
        "not used in time" not in (await page.get("/ledger?kind=settle")).text.split("<tbody>")[1]
    )


async def test_economics_shows_every_input_and_refuses_nonsense_in_words(
    page: httpx.AsyncClient, services: Services
) -> None:
    hold(services, 3)
    shown = (await page.get("/economics")).text
    assert 'name="churn"' in shown and 'name="watts"' in shown
    more = (await page.get("/economics?members=1000&conversion=0.5&price_cents=1000")).text
    assert "5000.00" in more, "half of a thousand members at ten a month"
    refused = (await page.get("/economics?churn=lots")).text
    assert "churn cannot be read" in refused


def test_a_veil_keeps_no_colour_and_no_detail() -> None:
    sharp = Image.effect_noise((128, 128), 80).convert("RGB")
    out = io.BytesIO()
    sharp.save(out, "PNG")
    veiled = Image.open(io.BytesIO(veil(out.getvalue()))).convert("L")
    low, high = veiled.getextrema()
    assert high - low < 30, "noise is gone"


# -- in a browser ------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None: ...


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_fifty_cases_by_keyboard(app: Any, services: Services) -> None:
    """A practised person's hands: look, decide, next; a slip is taken back."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium found: apt-get install chromium to run the browser tests")
    cases = hold(services, 50)
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    server = _Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[door]))
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
            tab = await browser.new_page(viewport={"width": 1280, "height": 860})
            faults: list[str] = []
            tab.on("pageerror", lambda error: faults.append(str(error)))
            await tab.goto(f"{url}/?token={TOKEN}")
            await tab.goto(f"{url}/review")
            await expect(tab.locator(".case-card")).to_be_visible()
            began = time.perf_counter()
            for number in range(50):
                current = tab.locator(f'[data-case="{cases[number]}"]')
                await expect(current).to_have_attribute("aria-current", "")
                await expect(tab.locator(".case-buttons")).to_be_visible()
                await tab.keyboard.press("ad"[number % 2])
                await expect(current).to_have_count(0)
            took = time.perf_counter() - began
            await expect(tab.locator("#empty")).to_be_visible()
            await tab.keyboard.press("u")
            await expect(tab.locator(f'[data-case="{cases[49]}"]')).to_be_visible()
            assert faults == []
            await browser.close()
    finally:
        server.should_exit = True
        await serving
    print(f"50 cases in {took:.1f} s, {took / 50 * 1000:.0f} ms each")
    states = services.database.read(lambda s: [str(g.status) for g in s.exec(select(Generation))])
    assert (states.count("visible"), states.count("removed"), states.count("held")) == (25, 24, 1)
