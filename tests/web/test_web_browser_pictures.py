"""Pictures given to the page: chosen, taken away again, dropped and pasted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import expect

from tests.web.site import Site, browser, say, site, visit

__all__ = ["browser", "site", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


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
