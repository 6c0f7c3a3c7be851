"""The settings page: what `/config` does, done on a page, by an admin who looks at it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.async_api import expect
from sqlmodel import select

from bot.adapters.web.render import words_for
from bot.core import config
from bot.core.services import Services
from storage.models import Workspace
from tests.web.browsing import visiting
from tests.web.test_web_price import app, page

__all__ = ["app", "page"]


def settings(services: Services) -> dict[str, Any]:
    return services.database.read(lambda s: dict(s.exec(select(Workspace)).one().settings))


@pytest.mark.parametrize("locale", ["en", "zh"])
async def test_every_group_and_setting_is_on_the_page(page: httpx.AsyncClient, locale: str) -> None:
    page.cookies.set("atelier_locale", locale)
    html = (await page.get("/config")).text
    texts = words_for(locale)
    for group, members in config.GROUPS.items():
        assert f">{texts(f'group.{group}')}</h2>" in html
        for one in members:
            assert f">{texts(f'setting.{one.key}')}<small>" in html


async def test_a_broken_file_names_line_and_field_and_changes_nothing(
    page: httpx.AsyncClient, services: Services
) -> None:
    await page.get("/config")
    form = {"command": "config", "v.action": "import"}
    for text, line, field in (
        ("[limits]\nburst = 5\nper_minute = 0\n", 3, "limits.per_minute"),
        ("[prices]\npicture = 2000\n", 2, "prices.picture"),
        ("[limits]\nburst = \n", 2, ""),
    ):
        said = await page.post("/invoke", data=form | {"v.value": text})
        assert said.status_code == 422
        assert f"Line {line}" in said.json()["toast"] and field in said.json()["toast"]
    assert settings(services) == {}


@pytest.mark.browser
@pytest.mark.timeout(120)
async def test_an_admin_changes_tries_asks_and_undoes(app: Any, services: Services) -> None:
    async with visiting(app) as (screen, address):
        await screen.goto(f"{address}/config")
        await screen.get_by_role("button", name="Change: Prices").click()
        await screen.fill("dialog input[name='v.prices.picture']", "9000")
        await screen.locator("dialog .button.primary").click()
        await expect(screen.locator("dialog .said")).to_contain_text("prices.picture")
        await screen.fill("dialog input[name='v.prices.picture']", "150")
        await screen.locator("dialog .button.primary").click()
        changed = screen.locator(".group .own")
        await expect(changed).to_contain_text("150")
        assert settings(services) == {"prices": {"picture": 150}}

        await screen.get_by_role("button", name="Family").click()
        tried = screen.locator("#toasts .toast")
        await expect(tried).to_contain_text("Before it is saved")
        assert "policy" not in settings(services)
        await tried.get_by_role("button", name="Save it").click()
        await expect(screen.locator(".group .own")).not_to_have_count(1)
        assert settings(services)["prices"] == {"picture": 150}, "a preset leaves prices alone"

        await screen.locator("[name='v.what']").select_option("ask")
        await screen.get_by_role("button", name="Ask", exact=True).click()
        await expect(screen.locator("#toasts")).to_contain_text("may use /ask there")
        await screen.get_by_role("button", name="Undo").first.click()
        await expect(screen.locator(".group .own")).to_have_count(1)
        assert settings(services) == {"prices": {"picture": 150}}
