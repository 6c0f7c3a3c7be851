"""Pictures of the review room's page to look at: ``python -m tests.web.review_shots FOLDER``.

The real core over held pictures: a late case, a reported intimate one, an appeal, rulings of a
month. Chinese needs a font of the system (Debian: fonts-wqy-microhei).
"""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright
from sqlmodel import Session, select

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage import reports, review, review_appeals, review_queue
from storage.models import Case, Job, Member
from storage.review_queue import QueueFilter
from storage.review_words import Ruling
from storage.schema import Platform
from storage.workspaces import Actor
from tests.conftest import HandClock, actor
from tests.shooting import LOCALES, run, studio
from tests.web.browsing import FLAGS, chromium, serving
from tests.web.fakes import TOKEN
from tests.web.held import hold

HOUR = 3_600_000
PROMPTS = (
    "a marble statue of a naked goddess, museum light", "两个人在海滩上接吻，油画",
    "a knight with a bloody sword, Mickey Mouse on his shield", "crowd with torches at night",
    "ein nacktes Paar am See, mit Licht von der Seite", "portrait of a boxer after the fight",
)  # fmt: skip


def person(services: Services, name: str, role: str = "member") -> Actor:
    """Somebody of the local studio."""
    return actor(services.database, name, workspace="local", role=role, platform=Platform.LOCAL,
                 now=services.clock())  # fmt: skip


def furnish(services: Services, clock: HandClock) -> None:
    """A month of rulings, then a queue with something of everything."""
    database = services.database
    mods = [person(services, name, "moderator") for name in ("mia", "mo", "ren")]
    old = hold(services, 40)
    for number, case in enumerate(old):
        clock.advance(HOUR * (1 + number * 7 % 17))
        ruling = Ruling.APPROVE if number % 3 == 0 else Ruling.DENY
        code = database.read(lambda s, c=case: s.get_one(Case, c).verdict["flags"][0]["category"])
        database.write(review.decide, mods[number % 5 % 3], case, ruling, now=clock(), code=code)
    owner = person(services, "owner", "admin")
    for case in old[1:9:3]:
        database.write(review_appeals.appeal, owner, case, "It is art.", now=clock())
        database.write(
            review_appeals.decide_appeal, mods[2], case, upheld=case == old[1], now=clock()
        )
    shown = database.read(lambda s: s.get_one(Case, old[0]).generation_id)
    clock.advance(HOUR)
    fresh = [case for case in hold(services, 6) if case not in old]
    members = [person(services, name) for name in ("ann", "ben", "chidi")]

    def name(session: Session) -> None:
        for number, case_id in enumerate(fresh):
            case = session.get_one(Case, case_id)
            job = session.get_one(Job, case.job_id)
            job.spec = {**job.spec, "prompt": PROMPTS[number % len(PROMPTS)]}
            case.member_id = job.member_id = members[number % 3].member.id
            session.add(case)
            session.add(job)

    database.write(name)
    database.write(review.claim, mods[0], fresh[2], now=clock())
    database.write(review.decide, mods[1], fresh[3], Ruling.DENY, now=clock(), code="VIO")
    who = database.read(lambda s: s.get_one(Case, fresh[3]).member_id)
    asked = next(m for m in members if m.member.id == who)
    database.write(review_appeals.appeal, asked, fresh[3], "It is a festival.", now=clock())
    eve = person(services, "eve")
    for item in (old[3], old[6], old[9]):
        made = database.read(lambda s, c=item: s.get_one(Case, c).generation_id)
        database.write(reports.report, made, actor=eve, now=clock())
        again = database.read(
            lambda s, g=made: s.exec(
                select(Case.id).where(Case.generation_id == g, Case.origin == "reported")
            ).one()
        )
        database.write(review.decide, mods[0], again, Ruling.DENY, now=clock(), code="SEX")
    database.write(reports.report, shown, actor=eve, now=clock(), kind=reports.NCII)
    for title, wanted in (("Nudity", QueueFilter(code="SEX")), ("Late", QueueFilter(late=True))):
        database.write(review_queue.keep_view, you(services), title, wanted, now=clock())
    clock.advance(5 * HOUR)


def you(services: Services) -> Actor:
    """Whoever opens the page."""
    row = services.database.read(
        lambda s: s.exec(select(Member).where(Member.external_id == "owner")).one()
    )
    return person(services, row.external_id, "admin")


async def shoot(browser: Browser, url: str, locale: str, folder: Path) -> None:
    """One language: desk, phone, dialogue, figures."""
    wide = await browser.new_context(
        viewport={"width": 1280, "height": 900}, locale=LOCALES[locale]
    )
    page = await wide.new_page()
    await page.goto(f"{url}/?token={TOKEN}")
    await open_room(page, url)
    await page.screenshot(path=folder / f"review-{locale}.png")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await page.locator(".filters summary").click()
    await page.wait_for_timeout(1500)
    await page.screenshot(path=folder / f"review-case-{locale}.png", full_page=True)
    await page.locator("#bulk").click()
    await page.locator("[data-bulk]").wait_for()
    await page.screenshot(path=folder / f"review-bulk-{locale}.png")
    await page.goto(f"{url}/review/figures")
    await page.screenshot(path=folder / f"review-figures-{locale}.png", full_page=True)
    cookies = await wide.storage_state()
    phone = await browser.new_context(
        viewport={"width": 390, "height": 844}, storage_state=cookies, has_touch=True,
        locale=LOCALES[locale],
    )  # fmt: skip
    page = await phone.new_page()
    await open_room(page, url)
    await page.locator(".case-card h2").scroll_into_view_if_needed()
    await page.screenshot(path=folder / f"review-phone-{locale}.png")


async def open_room(page: Page, url: str) -> None:
    """The room with its first case drawn."""
    await page.goto(f"{url}/review")
    await page.locator(".case-card .case-buttons").wait_for()
    await page.locator("img.held").evaluate("(image) => image.decode()")


async def main(folder: Path) -> None:
    """Every picture, in both languages."""
    clock = HandClock()
    async with studio(clock) as services, async_playwright() as driver:
        furnish(services, clock)
        app = make_app(Core(services, COMMANDS, PRESSES), WebPresenter(), token=TOKEN)
        browser = await driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        async with serving(app) as url:
            for locale in LOCALES:
                await shoot(browser, url, locale, folder)
            await browser.close()


if __name__ == "__main__":
    run(main)
