"""Draw what an admin sees of `/config` on Slack: ``python -m tests.slack.preview.config OUT [zh]``.

The Home tab, the private note and a dialogue, by the real core and the real adapter.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from bot.adapters.slack.render import message, words_for
from bot.adapters.slack.views import Ticket, home, reply_form
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core, Invocation, Press, Who
from bot.core.reply import Reply, Verb
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.migrate import migrate
from storage.queue import Wire
from storage.schema import Address, Platform, Role, new_id
from tests.fakes import make_services
from tests.slack.preview.__main__ import FLAGS, STYLE, block

BOSS = Who(platform=Platform.SLACK, workspace="T1", member="U1", member_name="Ann", role=Role.ADMIN)
ADDRESS = Address(platform=Platform.SLACK, workspace="T1", channel="C1")


async def drawn(core: Core, locale: str) -> str:
    """The page."""

    async def said(command: str, **values: str) -> Reply:
        return await core.dispatch(
            Invocation(command=command, values=values, who=BOSS, address=ADDRESS, locale=locale,
                       key=new_id())
        )  # fmt: skip

    await said("config", action="set", path="prices.picture", value="150")
    await said("config", action="set", path="tiers.retention_days", value="free=30")
    texts, note = words_for(locale), await said("config")
    tab = home(await said("credits"), await said("queue"), (), core.catalog(locale), locale, note)
    opened = await core.press(
        Press(verb=Verb.CONFIG, target="prices", who=BOSS, address=ADDRESS, locale=locale,
              key=new_id())
    )  # fmt: skip
    assert opened.form is not None
    view = reply_form(opened.form, texts, Ticket())

    def blocks(items: list[dict[str, object]]) -> str:
        return "".join(block(item) for item in items)

    shown = message(note, texts).blocks
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE} main {{ columns: 2 }}</style><main>"
        f"<section>{blocks(tab['blocks'][:-2])}</section>"
        f'<section><div class="message"><div class="face">A</div><div><b>Atelier</b> '
        f"<small>APP 9:41</small>{blocks(shown)}</div></div></section>"
        f'<section class="modal"><h3>{view["title"]["text"]}</h3>{blocks(view["blocks"])}'
        f'<div class="actions right"><button>{view["close"]["text"]}</button>'
        f'<button class="primary">{view["submit"]["text"]}</button></div></section></main>'
    )


async def main(out: str, locale: str) -> None:
    """Draw."""
    with tempfile.TemporaryDirectory() as folder:
        home_ = Path(folder)
        valkey = EmbeddedValkey(home_ / "valkey")
        wire = await Wire.connect(valkey.start())
        database = Database(f"sqlite:///{home_ / 'x.db'}")
        migrate(database)
        try:
            html = await drawn(
                Core(make_services(database, wire, home_), COMMANDS, PRESSES), locale
            )
        finally:
            await wire.close()
            database.close()
            valkey.stop()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        tab = await browser.new_page(viewport={"width": 1100, "height": 700})
        await tab.set_content(html)
        await tab.screenshot(path=out, full_page=True)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "en"))
