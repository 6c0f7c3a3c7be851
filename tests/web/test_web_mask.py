"""Start pictures and the mask editor as a person uses them: mouse, finger and keyboard."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.async_api import Page, expect

from bot.core.attachment import Attachment
from tests.web.site import Site, browser, site, visit

__all__ = ["browser", "site", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture to start from."""
    image = Image.new("RGB", (256, 192), (250, 250, 245))
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 40, 190, 170), fill=(210, 40, 50))
    path = tmp_path_factory.mktemp("start") / "apple.png"
    image.save(path)
    return path


async def shoot(page: Page, name: str) -> None:
    """A screenshot for whoever wants to look: ``ATELIER_SHOTS=folder pytest ...``."""
    if folder := os.environ.get("ATELIER_SHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def started(page: Page, file: Path) -> Any:
    panel = page.locator("#panel")
    await panel.get_by_label("Start picture").set_input_files(file)
    await expect(panel.locator("[data-name=image] img")).to_be_visible()
    return panel


def pixels(given: Any) -> Image.Image:
    assert isinstance(given, Attachment) and given.data is not None
    return Image.open(io.BytesIO(given.data))


async def test_a_picture_and_a_painted_mask_are_sent(visit: Any, site: Site, file: Path) -> None:
    page = await visit()
    panel = await started(page, file)
    await panel.get_by_role("button", name="Draw").click()
    painting = page.locator("canvas.painting")
    await expect(painting).to_be_visible()
    box = await painting.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.7, middle, steps=6)
    await page.mouse.up()
    await shoot(page, "mask")
    await page.get_by_role("button", name="Done").click()
    await expect(panel.locator("[data-name=mask] img")).to_be_visible()
    await shoot(page, "start")
    await panel.get_by_label("Prompt", exact=True).fill("a green apple")
    await panel.get_by_role("button", name="Make it").click()
    values = await site.asked()
    assert pixels(values.image).size == (256, 192)
    mask = pixels(values.mask).convert("L")
    assert mask.size == (256, 192)
    assert mask.getpixel((128, 96)) == 255 and mask.getpixel((10, 10)) == 0


async def test_the_keyboard_paints_inverts_and_takes_back(
    visit: Any, site: Site, file: Path
) -> None:
    page = await visit()
    panel = await started(page, file)
    await panel.get_by_role("button", name="Draw").click()
    painting = page.locator("canvas.painting")
    await expect(painting).to_be_focused()
    for key in ("ArrowLeft", "ArrowLeft", " ", "]", " "):
        await painting.press(key)
    await page.get_by_role("button", name="Invert").click()
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_role("button", name="Done").click()
    # The form is inert until the mask has been encoded and the dialog has closed.
    await expect(panel.locator("[data-name=mask] img")).to_be_visible()
    await panel.get_by_label("Prompt", exact=True).fill("a pear")
    await panel.get_by_role("button", name="Make it").click()
    mask = pixels((await site.asked()).mask).convert("L")
    assert mask.getpixel((128 - 16, 96)) == 255 and mask.getpixel((0, 0)) == 0


async def test_nothing_painted_is_no_mask_and_escape_calls_it_off(
    visit: Any, site: Site, file: Path
) -> None:
    page = await visit()
    panel = await started(page, file)
    await panel.get_by_role("button", name="Draw").click()
    await page.get_by_role("button", name="Done").click()
    await expect(page.locator("canvas.painting")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("canvas.painting")).to_be_hidden()
    await expect(panel.locator("[data-name=mask] img")).to_be_hidden()


async def test_what_needs_a_picture_waits_for_one(visit: Any, site: Site, file: Path) -> None:
    page = await visit()
    panel = page.locator("#panel")
    await expect(panel.locator("#make-strength")).to_be_disabled()
    await panel.get_by_label("Start picture").set_input_files(file)
    await expect(panel.locator("#make-strength")).to_be_enabled()
    await panel.locator("[data-name=image] [data-unput]").click()
    await expect(panel.locator("#make-strength")).to_be_disabled()
    await panel.get_by_label("Prompt", exact=True).fill("a boat")
    await panel.get_by_role("button", name="Make it").click()
    values = await site.asked()
    assert (values.image, values.mask, values.strength) == (None, None, None)


async def test_on_a_phone_in_chinese(visit: Any, site: Site, file: Path) -> None:
    page = await visit(390, 844, locale="zh-CN", has_touch=True, is_mobile=True)
    await page.locator("#open-panel").click()
    panel = page.locator("#panel")
    await panel.locator("#make-image").set_input_files(file)
    await shoot(page, "phone-start")
    await panel.locator("[data-draw]").tap()
    painting = page.locator("canvas.painting")
    box = await painting.bounding_box()
    assert box is not None and box["width"] <= 390
    await page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await shoot(page, "phone-mask")
    await page.get_by_role("button", name="完成").tap()
    await expect(panel.locator("[data-name=mask] img")).to_be_visible()
