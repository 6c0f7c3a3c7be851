"""The price while one still chooses: the page asks the very function that reserves and settles."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.async_api import expect
from sqlmodel import select

from bot.core.services import Services
from storage.models import Job, Message, Reservation
from tests.web.browsing import visiting


@pytest.fixture
def app(real_app: Any) -> Any:
    return real_app


@pytest.fixture
def page(console: httpx.AsyncClient) -> httpx.AsyncClient:
    return console


async def test_the_price_shown_is_the_price_held_and_nothing_is_stored(
    page: httpx.AsyncClient, services: Services
) -> None:
    async def quote(**fields: Any) -> dict[str, Any]:
        answer = await page.post("/quote", data=fields)
        assert answer.status_code == 200
        return dict(answer.json())

    wish = {"command": "imagine", "v.prompt": "a red apple", "v.count": "3", "v.size": "256x256"}
    said = await quote(**wish)
    assert said == {"ok": True, "price": 12, "text": "12 credits, then 1,988 left"}
    untyped = await quote(**(wish | {"v.prompt": ""}))
    assert untyped["price"] == 12, "a price does not hang on the words"
    line = await quote(line="/imagine a red apple count:3 size:256x256")
    assert line["price"] == 12
    assert (await quote(line="why is the sky blue?"))["price"] == 1
    refused = await quote(**(wish | {"v.steps": "9000"}))
    assert refused["price"] is None and not refused["ok"] and refused["text"]
    for free in ("/help", "/nonsense at all", "/credits"):
        assert (await quote(line=free))["price"] is None
    assert (await page.post("/quote", content=b"\xff")).json()["ok"] is False
    database = services.database
    assert database.read(lambda s: s.exec(select(Job)).all()) == []

    await page.post("/invoke", data=wish | {"v.seed": "7"})
    assert database.read(lambda s: s.exec(select(Reservation.amount)).all()) == [12]
    assert (await quote(**wish))["text"].endswith("1,976 left")
    await page.post("/invoke", data={"line": "/config action:set path:prices.picture value:200"})
    assert (await quote(**wish))["price"] == 24, "by this workspace's own prices"


async def test_a_picture_taken_in_to_reckon_with_is_thrown_away_and_a_reset_is_none(
    page: httpx.AsyncClient, services: Services
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (128, 128), "red").save(out, "PNG")
    said = await page.post(
        "/quote", data={"line": "/upscale scale:2"},
        files={"file0": ("a.png", out.getvalue(), "image/png")},
    )  # fmt: skip
    assert said.json()["price"] == 1, said.text
    assert [p for p in services.blobs.folder.rglob("*") if p.is_file()] == []
    asked = await page.post("/invoke", data={"line": "hello"})
    assert asked.json()["job"]
    before = services.database.read(lambda s: len(s.exec(select(Message)).all()))
    assert (await page.post("/quote", data={"line": "reset"})).json()["price"] == 1
    assert services.database.read(lambda s: len(s.exec(select(Message)).all())) == before


@pytest.mark.browser
@pytest.mark.timeout(120)
async def test_the_panel_says_price_and_rest_as_one_chooses_in_both_languages(app: Any) -> None:
    async with visiting(app) as (screen, address):
        price = screen.locator("#price")
        await expect(price).to_have_text("1 credit, then 1,999 left")
        assert await price.get_attribute("aria-live") == "polite"
        await screen.locator("#make input[name='v.count'][value='4']").check(force=True)
        await expect(price).to_have_text("4 credits, then 1,996 left")
        await screen.locator("#line").fill("why is the sky blue?")
        await expect(screen.locator("#line-price")).to_have_text("1 credit, then 1,999 left")
        await screen.locator("#line").fill("/credits")
        await expect(screen.locator("#line-price")).to_have_text("")
        await screen.locator("#make textarea").first.fill("a red apple")
        await screen.locator("#make button.primary").click()
        await expect(price).to_have_text("4 credits, then 1,992 left")
        await screen.context.add_cookies([
            {"name": "atelier_locale", "value": "zh", "url": address}
        ])  # fmt: skip
        await screen.goto(address)
        await expect(screen.locator("#price")).to_have_text("1 积分，之后剩余 1,995")
