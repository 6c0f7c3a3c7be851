"""Pictures of the Discord face to look at: ``python -m tests.discord.shots FOLDER``.

The real client over simcord's preview in a browser; the cards are the core's own.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import simcord
from PIL import Image
from playwright.async_api import Page, async_playwright
from sqlmodel import Session, select

from bot.adapters.discord.app import DiscordClient
from bot.adapters.discord.render import pages, words_for
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.delivery import Delivery
from bot.core.quiet import for_all
from bot.core.reply import Reply
from storage.models import Case, Workspace
from storage.schema import Category, Flag, Outcome, Platform, Verdict
from tests.discord.cards import every_card
from tests.discord.stage import Stage, StageClock, apple, build_stage
from tests.shooting import LOCALES, run, studio

SHOWN = {
    "waiting": ("queued", "running"),
    "results": ("result", "four"),
    "refused": ("held", "denied", "failed"),
    "answers": ("ask_streaming", "ask_answer", "ask_held"),
}


async def main(folder: Path) -> None:
    """Every picture, in both languages."""
    clock = StageClock()
    async with studio(clock) as services:
        await services.prompt_gate.load()
        client = DiscordClient(Core(services, COMMANDS, PRESSES), gap_s=0.05, channel_gap_s=0.05)
        env = simcord.Env(client, settle_timeout=20.0)
        clock.env = env
        env.backend.bot_user.name = "Atelier"
        try:
            await env.start()
            with env.time_context():
                stage = await build_stage(env, client, services, services.database)
                async with async_playwright() as driver:
                    browser = await driver.chromium.launch(
                        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                    )
                    for locale in LOCALES:
                        await shoot(stage, browser, locale, folder)
                    await browser.close()
        finally:
            await env.shutdown()


async def shoot(stage: Stage, browser: Any, locale: str, folder: Path) -> None:
    """One language."""
    stage.locale = LOCALES[locale]
    cards = every_card(locale, stage.services.clock())
    for name, kinds in SHOWN.items():
        channel = stage.guild.create_text_channel(name)
        for kind in kinds:
            words = words_for(locale)
            (page, *_) = pages(painted(stage, for_all(cards[kind], words)), words)
            await stage.client.presenter.hands.send(channel.id, page)
        async with stage.env.preview(
            channel, viewers=[stage.ann], layout="channel", locale=LOCALES[locale]
        ) as preview:
            await look(browser, preview.url, folder / f"{name}-{locale}.png")
    await stage.ann.slash(stage.channel, "imagine", prompt=cards["result"].prompt, seed="7")
    stage.finish(stage.picture())
    await stage.deliver()
    async with stage.env.preview(
        stage.channel, viewers=[stage.ann], layout="channel", locale=LOCALES[locale]
    ) as preview:
        label = words_for(locale)("button.edit")

        async def press(page: Page) -> None:
            await page.get_by_role("button", name=label).last.click()
            await page.wait_for_timeout(1500)

        await look(browser, preview.url, folder / f"dialogue-{locale}.png", press)
    await review_room(stage, browser, locale, folder)
    desk = stage.guild.create_text_channel("setup")
    await stage.boss.slash(desk, "setup")
    async with stage.env.preview(
        desk, viewers=[stage.boss], layout="channel", locale=LOCALES[locale]
    ) as preview:
        await look(browser, preview.url, folder / f"setup-{locale}.png")
    desk = stage.guild.create_text_channel("config")
    await stage.boss.slash(desk, "config", action="set", path="prices.picture", value="150")
    await stage.boss.slash(desk, "config")
    async with stage.env.preview(
        desk, viewers=[stage.boss], layout="channel", locale=LOCALES[locale]
    ) as preview:
        await look(browser, preview.url, folder / f"config-{locale}.png")
        name = words_for(locale)("group.prices")

        async def open_group(page: Page) -> None:
            await page.get_by_role("button", name=name).last.click()
            await page.wait_for_timeout(1500)

        await look(browser, preview.url, folder / f"config-dialogue-{locale}.png", open_group)


HELD = Verdict(
    outcome=Outcome.HOLD,
    flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.nudenet")}),
)
WISHES = {"en": "a marble statue of a naked goddess", "zh": "裸体女神的大理石雕像"}


async def review_room(stage: Stage, browser: Any, locale: str, folder: Path) -> None:
    """A case in the moderators' channel, that it is late, and what a report is answered with."""
    mods = stage.guild.create_text_channel(f"mods-{locale}")

    def choose(session: Session) -> None:
        row = session.exec(select(Workspace).where(Workspace.platform == Platform.DISCORD)).one()
        row.settings = row.settings | {"review_channel": str(mods.id), "locale": locale}
        session.add(row)

    stage.database.write(choose)
    await stage.ann.slash(stage.channel, "imagine", prompt=WISHES[locale])
    stage.finish(stage.picture(verdict=HELD))
    await stage.deliver()
    shown = stage.client.presenter
    clock = stage.services.clock
    delivery = Delivery(stage.services, {Platform.DISCORD: shown}, {Platform.DISCORD: shown})
    await delivery.announcer.announce_cases()

    def late(session: Session) -> None:
        for case in session.exec(select(Case).where(Case.status == "open")):
            case.due_at = clock() - 75 * 60_000
            session.add(case)

    stage.database.write(late)
    await delivery.announcer.announce_breaches()
    async with stage.env.preview(
        mods, viewers=[stage.mod], layout="channel", locale=LOCALES[locale]
    ) as preview:
        await look(browser, preview.url, folder / f"review-{locale}.png")

    def follow(session: Session) -> None:
        row = session.exec(select(Workspace).where(Workspace.platform == Platform.DISCORD)).one()
        row.settings = {}
        session.add(row)

    stage.database.write(follow)


def painted(stage: Stage, reply: Reply) -> Reply:
    """The reply with pictures that are really there."""
    blobs = stage.services.blobs
    pictures = tuple(
        p.model_copy(update={"blob": blobs.put(apple(seed=p.seed), "png")}) if p.blob else p
        for p in reply.pictures
    )
    progress = reply.progress
    if progress is not None and progress.preview:
        soft = Image.open(io.BytesIO(apple())).resize((16, 16)).resize((128, 128))
        out = io.BytesIO()
        soft.save(out, "WEBP")
        key = blobs.put(out.getvalue(), "webp")
        progress = progress.model_copy(update={"preview": key})
    return reply.model_copy(update={"pictures": pictures, "progress": progress})


async def look(browser: Any, url: str, path: Path, act: Any = None) -> None:
    """Open the page, do something on it, keep what is seen."""
    page = await browser.new_page(viewport={"width": 1000, "height": 1000})
    await page.goto(url)
    await page.wait_for_timeout(1500)
    whole = "() => [...document.images].every(i => i.complete && i.naturalWidth)"
    for _ in range(50):
        if await page.evaluate(whole):
            break
        await page.wait_for_timeout(200)
    if act is not None:
        await act(page)
    tall = {"x": 256, "y": 52, "width": 744, "height": 888}
    await page.screenshot(path=path, clip=tall)
    await page.close()


if __name__ == "__main__":
    run(main)
