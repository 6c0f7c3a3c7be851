"""The review room's page over the real core: veils, filters, views, many at once, keys."""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Page, expect
from sqlmodel import select

from bot.adapters.web.review import veil
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core, Press, Who
from bot.core.services import Services
from storage import audit, review
from storage.models import Act, Generation
from storage.schema import Address, Platform, Role
from storage.workspaces import Actor
from tests.conftest import HandClock, actor
from tests.web.browsing import visiting
from tests.web.fakes import BASE
from tests.web.held import hold


async def test_a_held_picture_leaves_veiled_unless_it_is_revealed(
    console: httpx.AsyncClient, services: Services
) -> None:
    [case] = hold(services, 1)
    veiled = await console.get(f"/review/pictures/{case}")
    clear = await console.get(f"/review/pictures/{case}?clear=1")
    assert veiled.status_code == clear.status_code == 200
    assert veiled.headers["cache-control"] == "no-store"
    shades = Image.open(io.BytesIO(veiled.content)).convert("RGB")
    assert all(max(p) - min(p) < 12 for p in [shades.getpixel((x, x)) for x in range(0, 90, 9)])
    assert clear.content.startswith(b"\x89PNG")
    acts = services.database.read(lambda s: [a.verb for a in s.exec(select(Act))])
    assert acts == ["reveal"], "only the clear one is an exposure"
    assert (await console.get("/review/pictures/nonsense")).status_code == 404


async def test_a_stranger_reads_nothing(real_app: Any, services: Services) -> None:
    [case] = hold(services, 1)
    transport = httpx.ASGITransport(app=real_app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as stranger:
        for path in ("/review", "/review/queue", f"/review/cases/{case}", "/ledger",
                     f"/review/pictures/{case}", "/review/audit?format=json"):  # fmt: skip
            assert (await stranger.get(path)).status_code == 401, path


async def test_one_ruling_serves_identical_pictures_and_is_taken_back(
    console: httpx.AsyncClient, services: Services, clock: HandClock
) -> None:
    cases = hold(services, 3, same=True)
    seen = (await console.get(f"/review/bulk?alike={cases[0]}")).json()
    assert sorted(seen["ids"]) == sorted(cases) and "One ruling for 3 cases" in seen["form"]
    fields = {"ids": " ".join(cases), "verb": "deny", "code": "SEX"}
    done = (await console.post("/review/bulk", data=fields)).json()
    assert (done["decided"], done["skipped"]) == (3, 0)
    assert (await console.get("/review/queue")).json()["cases"] == []
    clock.advance(9 * 60_000)
    back = await console.post("/review/bulk/undo", data={"batch": done["batch"]})
    assert back.json() == {"ok": True, "back": 3}
    late = await console.post("/review/bulk/undo", data={"batch": done["batch"]})
    assert (late.status_code, late.json()["code"]) == (409, "undo_late")
    for wrong in ({"verb": "explode"}, {"verb": "ban"}, {"ids": ""}, {"code": "NONSENSE"}):
        refused = await console.post("/review/bulk", data=fields | wrong)
        assert refused.status_code == 409, wrong
    assert len((await console.get("/review/queue")).json()["cases"]) == 3


async def test_filters_views_and_what_a_row_says(
    console: httpx.AsyncClient, services: Services, clock: HandClock
) -> None:
    hold(services, 6)
    clock.advance(5 * 3_600_000)

    async def listed(query: str) -> list[dict[str, Any]]:
        return list((await console.get(f"/review/queue?{query}")).json()["cases"])

    assert len(await listed("")) == 6
    late = await listed("late=true")
    assert {row["code"] for row in late} == {"VIO", "HATE"} and "late" in late[0]["due"]
    assert [row["code"] for row in await listed("code=SEX")] == ["SEX", "SEX"]
    assert len(await listed("severity=3&origin=held&kind=image&free=true")) == 4
    assert await listed("origin=reported") == []
    assert (await console.get("/review/queue?code=NONSENSE")).status_code == 409
    kept = await console.post("/review/views", data={"name": " Late  ones ", "late": "true"})
    assert "Late ones" in kept.json()["views"]
    again = await console.post("/review/views", data={"name": "Late ones", "code": "SEX"})
    assert again.json()["views"].count("</button><button") == 1, "the same name is replaced"
    shown = (await console.get("/review?code=SEX&late=true")).text
    assert "Late ones" in shown and '<option value="SEX" selected>' in shown
    assert (await console.post("/review/views", data={"name": " "})).json()["code"] == "view_name"
    drop = again.json()["views"].split('data-drop="')[1].split('"')[0]
    assert "Late ones" not in (await console.post("/review/views", data={"drop": drop})).text


async def test_a_lock_is_kept_shown_and_given_back(
    console: httpx.AsyncClient, services: Services
) -> None:
    [case] = hold(services, 1)
    mia = other(services)
    services.database.write(review.claim, mia, case, now=services.clock())
    [row] = (await console.get("/review/queue")).json()["cases"]
    assert row["status"] == "mia looks at it"
    held = await console.post("/review/claim", data={"target": case})
    assert held.json()["code"] == "case_claimed"
    # The owner of the studio is an admin, and may take it over.
    assert (await console.post("/review/claim", data={"target": case, "verb": "steal"})).json()[
        "ok"
    ]
    assert (await console.get("/review/queue")).json()["cases"][0]["status"] == ""
    gone = await console.post("/review/claim", data={"target": case, "verb": "release"})
    assert gone.json()["ok"]
    assert services.database.write(review.claim, mia, case, now=services.clock())
    missing = await console.post("/review/claim", data={"target": "nonsense"})
    assert missing.json()["code"] == "case_unknown"


def other(services: Services) -> Actor:
    """Another moderator of the local studio."""
    return actor(services.database, "mia", workspace="local", role="moderator",
                 platform=Platform.LOCAL, now=services.clock())  # fmt: skip


async def test_two_platforms_press_at_once_and_one_of_them_decides(
    console: httpx.AsyncClient, real_app: Any, services: Services
) -> None:
    """The page and a chat, the same instant, eight cases: one ruling each, one audit line each."""
    cases = hold(services, 8)
    other(services)
    core = Core(services, COMMANDS, PRESSES)
    mia = Who(platform=Platform.LOCAL, workspace="local", member="mia", member_name="mia",
              role=Role.MODERATOR)  # fmt: skip
    place = Address(platform=Platform.LOCAL, workspace="local", channel="chat")

    async def by_chat(case: str) -> bool:
        reply = await core.press(
            Press(verb="deny", target=case, who=mia, address=place, key=f"chat-{case}",
                  values={"code": "SEX"})
        )  # fmt: skip
        return reply.code is None

    async def by_page(case: str) -> bool:
        said = await console.post("/review/press", data={"verb": "approve", "target": case})
        return bool(said.json()["ok"])

    for case in cases:
        assert sorted(await asyncio.gather(by_chat(case), by_page(case))) == [False, True]
    acts = services.database.read(lambda s: [a.verb for a in s.exec(select(Act))])
    assert acts.count("approve") + acts.count("deny") == len(cases)
    assert services.database.read(audit.verify) == []


async def test_a_ruling_says_why_it_was_refused(
    console: httpx.AsyncClient, services: Services
) -> None:
    [case] = hold(services, 1)
    fields = {"verb": "deny", "target": case, "v.code": "", "v.sent": "1"}
    said = (await console.post("/review/press", data=fields)).json()
    assert (said["ok"], said["code"]) == (False, "ruling_code") and said["text"]
    said = (await console.post("/review/press", data=fields | {"v.code": "SEX"})).json()
    assert said["ok"] and said["decision"]
    [more] = [case for case in hold(services, 1) if case != fields["target"]][:1]
    up = await console.post("/review/press", data={"verb": "escalate", "target": more})
    assert up.json()["ok"] and up.json()["decision"] is None, "nothing to take back"
    over = (await console.post("/review/press", data=fields | {"v.code": "SEX"})).json()
    assert over["code"] == "case_over"


async def test_the_page_shows_the_duty_until_it_is_noted(
    console: httpx.AsyncClient, services: Services
) -> None:
    shown = (await console.get("/review")).text
    assert "CyberTipline" in shown
    target = shown.split('data-duty="')[1].split('"')[0]
    done = await console.post("/review/press", data={"verb": "duty", "target": target})
    assert done.json()["ok"]
    assert "CyberTipline" not in (await console.get("/review")).text


def test_a_veil_keeps_no_colour_and_no_detail() -> None:
    sharp = Image.effect_noise((128, 128), 80).convert("RGB")
    out = io.BytesIO()
    sharp.save(out, "PNG")
    veiled = Image.open(io.BytesIO(veil(out.getvalue()))).convert("L")
    low, high = veiled.getextrema()
    assert high - low < 30, "noise is gone"


# -- in a browser ------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def tab(real_app: Any) -> AsyncIterator[Page]:
    """The page in Chromium; a fault of its scripts fails the test."""
    screen = {"viewport": {"width": 1280, "height": 860}, "has_touch": True}
    async with visiting(real_app, **screen) as (page, _):
        yield page


async def begin(tab: Page) -> None:
    """Open the room and wait for the first case."""
    await tab.goto("/review")
    await expect(tab.locator(".case-card .case-buttons")).to_be_visible()


async def rule(tab: Page, key: str) -> str:
    """Press a key on the open case, once it is there whole; its id."""
    current = await tab.locator("[data-case][aria-current]").get_attribute("data-case")
    assert current is not None
    await expect(tab.locator(f'.case-card[data-id="{current}"] .case-buttons')).to_be_visible()
    await tab.keyboard.press(key)
    await expect(tab.locator(f'[data-case="{current}"]')).to_have_count(0)
    return current


async def answered(tab: Page, count: int) -> None:
    """Wait until so many rulings have their answer."""
    for _ in range(600):
        if await tab.evaluate("performance.getEntriesByName('answered').length") >= count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a ruling was not answered")


@pytest.mark.browser
@pytest.mark.timeout(240)
async def test_fifty_cases_by_keyboard(tab: Page, services: Services) -> None:
    """A practised person's hands: look, decide, next; a slip is taken back."""
    cases = hold(services, 50)
    await begin(tab)
    began = time.perf_counter()
    for number in range(50):
        assert await rule(tab, "ad"[number % 2]) == cases[number]
    took = time.perf_counter() - began
    await answered(tab, 50)
    await expect(tab.locator("#empty")).to_be_visible()
    await tab.keyboard.press("u")
    await expect(tab.locator(f'[data-case="{cases[49]}"]')).to_be_visible()
    own = sorted(
        await tab.evaluate("performance.getEntriesByName('ruling').map((one) => one.duration)")
    )
    states = services.database.read(lambda s: [str(g.status) for g in s.exec(select(Generation))])
    assert (states.count("visible"), states.count("removed"), states.count("held")) == (25, 24, 1)
    print(f"50 cases in {took:.1f} s; key to next case p50 {own[25]:.0f} p90 {own[45]:.0f} ms")


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_the_keys_and_the_words_of_one_case(tab: Page, services: Services) -> None:
    cases = hold(services, 4)
    await begin(tab)
    current = tab.locator("[data-case][aria-current]")
    await tab.keyboard.press("j")
    await expect(current).to_have_attribute("data-case", cases[1])
    await tab.keyboard.press("k")
    await expect(current).to_have_attribute("data-case", cases[0])
    await tab.keyboard.press("r")
    await expect(tab.locator("img.held")).to_have_attribute("src", re.compile("clear=1"))
    # A rule and a note of one's own, by keyboard; what was decided can be taken back.
    await tab.keyboard.press("c")
    await tab.locator(".case-card .code").select_option("GORE")
    await tab.keyboard.press("Escape")
    await tab.keyboard.press("n")
    await tab.keyboard.type("Not here.")
    await tab.keyboard.press("Escape")
    assert await rule(tab, "d") == cases[0]
    await expect(tab.locator("#undo .said")).to_contain_text("Deny · GORE")
    await tab.keyboard.press("u")
    await expect(tab.locator(f'[data-case="{cases[0]}"]')).to_be_visible()
    await expect(tab.locator(f'.case-card[data-id="{cases[0]}"]')).to_contain_text("Taken back")
    # A question needs its words; then it stays in the queue.
    await tab.keyboard.press("q")
    await expect(tab.locator("#toasts")).to_contain_text("Write your question")
    acts = services.database.read(lambda s: [a.verb for a in s.exec(select(Act))])
    assert acts.count("reveal") == 1 and "undo" in acts


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_what_the_server_refuses_comes_back_into_the_list(
    tab: Page, services: Services
) -> None:
    """Somebody else is quicker: the page says who, and the case is still there."""
    cases = hold(services, 2)
    await begin(tab)
    services.database.write(review.claim, other(services), cases[0], now=services.clock())
    await tab.keyboard.press("a")
    await expect(tab.locator("#toasts")).to_contain_text("mia is looking at this case")
    await expect(tab.locator(f'[data-case="{cases[0]}"]')).to_be_visible()
    states = services.database.read(lambda s: {str(g.status) for g in s.exec(select(Generation))})
    assert states == {"held"}


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_many_at_once_and_views_on_a_phone(tab: Page, services: Services) -> None:
    hold(services, 6)
    await tab.set_viewport_size({"width": 390, "height": 800})
    await begin(tab)
    wide = await tab.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, "nothing hangs over the edge"
    await tab.locator("summary").tap()
    await tab.locator("#filters [name=code]").select_option("SEX")
    await expect(tab.locator("#count")).to_have_text("2")
    await tab.locator("#view-name").fill("Nudes")
    await tab.locator("#keep").tap()
    await expect(tab.locator("[data-filters]", has_text="Nudes")).to_be_visible()
    await tab.locator("#bulk").tap()
    await tab.locator("[data-bulk] .primary").tap()
    await expect(tab.locator("#undo .said")).to_have_text("2 decided")
    await expect(tab.locator("#count")).to_have_text("0")
    await tab.locator("#undo button").tap()
    await expect(tab.locator("#count")).to_have_text("2")
    await tab.locator('[data-filters=""]').tap()
    await expect(tab.locator("#count")).to_have_text("6")
    buttons = await tab.locator(".case-buttons .button").first.bounding_box()
    assert buttons is not None and buttons["height"] >= 44, "a thumb finds it"


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_an_admin_takes_over_what_somebody_else_looks_at(
    tab: Page, services: Services, clock: HandClock
) -> None:
    [case] = hold(services, 1)
    services.database.write(review.claim, other(services), case, now=services.clock())
    await begin(tab)
    button = tab.locator(".case-card [data-verb=steal]")
    await expect(button).to_contain_text("Take over")
    await tab.keyboard.press("t")
    await expect(button).to_have_count(0)
    await expect(tab.locator(".case-card .case-buttons")).to_be_visible()
    acts = services.database.read(lambda s: [a.verb for a in s.exec(select(Act))])
    assert acts[:2] == ["claim", "steal"]
    await rule(tab, "a")
