"""Being forgotten on the page: offered, asked once more, done, and this browser forgets too."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.web.browsing import visiting
from tests.web.test_web_price import app

__all__ = ["app"]


@pytest.mark.browser
@pytest.mark.timeout(120)
async def test_a_command_that_begins_with_a_choice_is_offered_sent_and_forgets(app: Any) -> None:
    async with visiting(app) as (screen, _):
        line, said = screen.locator("#line"), screen.locator("#toasts")
        await line.press_sequentially("/privacy")
        await line.press("Enter")  # it needs nothing more
        await expect(said).to_contain_text("Your data")
        await line.press_sequentially("/privacy fo")
        await expect(screen.locator("#choices li")).to_have_text(["forget"])
        await line.press("Tab")
        await line.press("Enter")
        await said.get_by_role("button", name="Forget me").click()
        await expect(said).to_contain_text("are gone")
        assert await screen.evaluate("localStorage.getItem('atelier-lines')") is None
