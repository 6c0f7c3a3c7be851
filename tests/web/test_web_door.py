"""Moderators of chats on the page: a link good once, a visit to one room of one workspace."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from sqlmodel import select

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core, Who
from bot.core.delivery import Delivery
from bot.core.reply import Verb
from bot.core.services import Services, Standing
from storage import audit, visits
from storage.errors import RetryLater
from storage.models import Act, Case, Member, Workspace
from storage.schema import Category, Platform, Role
from tests.conftest import HandClock, set_limits, sound
from tests.core.test_review_walk import button, hold, told
from tests.fakes import FakeAdapter
from tests.web.fakes import BASE, JSON, TOKEN, paint
from tests.web.test_web_review import tab as tab

MOD: dict[str, Any] = {"name": "mod", "role": "moderator"}
MIA: dict[str, Any] = {"name": "mia", "role": "moderator"}
Visit = Callable[[], httpx.AsyncClient]


class Register:
    """What the platforms say of who asks, whatever their last command said."""

    def __init__(self) -> None:
        self.roles: dict[str, Role | None] = {"mod": Role.MODERATOR, "mia": Role.MODERATOR}
        self.asked: list[str] = []
        self.away = False

    async def __call__(self, workspace: str, member: str) -> Who | None:
        if self.away:
            raise RetryLater("503")
        self.asked.append(member)
        role = self.roles.get(member)
        if role is None:
            return None
        return Who(platform=Platform.DISCORD, workspace=workspace, member=member, role=role)


@pytest.fixture
def register() -> Register:
    return Register()


@pytest.fixture
def opened(services: Services, register: Register) -> Services:
    """A studio whose page has an address, and whose platforms say who somebody is."""
    set_limits(services.database)
    standings: dict[Platform, Standing] = {Platform.DISCORD: register, Platform.SLACK: register}
    return replace(services, page_url=BASE, standings=standings)


@pytest.fixture
def core(opened: Services) -> Core:
    return Core(opened, COMMANDS, PRESSES)


@pytest.fixture
def chat(core: Core) -> FakeAdapter:
    """A Discord server."""
    return FakeAdapter(core=core, platform=Platform.DISCORD, workspace="100")


@pytest_asyncio.fixture
async def browser(core: Core, presenter: WebPresenter) -> AsyncIterator[Visit]:
    """Opens browsers that know nothing of the studio."""
    transport = httpx.ASGITransport(app=make_app(core, presenter, token=TOKEN))
    async with AsyncExitStack() as stack:
        clients: list[httpx.AsyncClient] = []

        def open_one() -> httpx.AsyncClient:
            client = httpx.AsyncClient(
                transport=transport, base_url=BASE, headers={"Origin": BASE} | JSON
            )
            stack.push_async_callback(client.aclose)
            clients.append(client)
            return client

        yield open_one


async def link(chat: FakeAdapter, who: dict[str, Any] = MOD) -> str:
    """The secret of a new link, as the chat shows it."""
    said = await chat.say("review", page="open", **who)
    assert said.code is None and said.link is not None, said.text
    assert said.visibility == "private" and said.link.url not in said.model_dump_json(
        exclude={"link"}
    )
    base, _, secret = said.link.url.partition("#")
    assert base == f"{BASE}/review/door" and re.fullmatch("[0-9a-f]{64}", secret)
    return secret


async def enter(browser: Visit, chat: FakeAdapter, who: dict[str, Any] = MOD) -> httpx.AsyncClient:
    """A moderator on the page, by their link."""
    client = browser()
    answer = await client.post("/review/door", data={"link": await link(chat, who)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    return client


async def held(chat: FakeAdapter, services: Services, prompt: str = "a marble statue") -> Case:
    """Ann's picture, held: its case."""
    job = (await chat.say("imagine", prompt=prompt)).job_id or ""
    return hold(services.database, services, job, Category.SEX)


@pytest.mark.parametrize("platform", [Platform.DISCORD, Platform.SLACK])
async def test_from_held_to_posted_by_two_moderators_on_the_page(
    chat: FakeAdapter, browser: Visit, opened: Services, clock: HandClock, platform: Platform
) -> None:
    chat.platform = platform
    delivery = Delivery(opened, {platform: chat}, {platform: chat})
    before = (await chat.say("credits")).data["available"]
    case = await held(chat, opened)
    assert (await told(chat, delivery, case.job_id)).title == "Held for review"
    mod, mia = await enter(browser, chat, MOD), await enter(browser, chat, MIA)

    shown = await mod.get("/review", headers={"Accept": "text/html"})
    assert case.id in shown.text and "mod in 100" in shown.text
    for owners in ("/ledger", "/config", "/history", 'id="balance"', 'href="/"'):
        assert owners not in shown.text, owners
    assert (await mod.post("/review/claim", data={"target": case.id})).json()["ok"]
    [row] = (await mia.get("/review/queue")).json()["cases"]
    assert row["status"] == "mod looks at it"
    late = await mia.post("/review/press", data={"verb": "approve", "target": case.id})
    assert late.json()["code"] == "case_claimed"
    ruling = {"verb": "deny", "target": case.id, "v.code": "SEX", "v.note": "Not here."}
    assert (await mod.post("/review/press", data=ruling)).json()["ok"]

    card = await told(chat, delivery, case.job_id)
    assert "A person decided" in card.text and "Not here." in card.text
    assert (await chat.say("credits")).data["available"] == before
    target = button(card, Verb.APPEAL)
    # The page's visitors are moderators there and nothing else: the appeal is Ann's, in her chat.
    wrong = await mia.post("/review/press", data={"verb": "appeal", "target": target})
    assert wrong.json()["code"] == "button_unknown"
    assert (await chat.press(Verb.APPEAL, target, text="It is art.")).code is None

    own = await mod.post("/review/press", data={"verb": "overturn", "target": case.id})
    assert own.json()["code"] == "appeal_other"
    seen = (await mia.get(f"/review/cases/{case.id}")).json()
    assert seen["ok"] and "It is art." in seen["case"]
    done = await mia.post("/review/press", data={"verb": "overturn", "target": case.id})
    assert done.json()["ok"], done.text

    card = await told(chat, delivery, case.job_id)
    assert card.pictures[0].blob is not None and "appeal was right" in card.text
    assert (await chat.say("credits")).data["available"] == before
    log = (await mia.get("/review/audit?format=json")).json()["acts"]
    told_of = [act["verb"] for act in reversed(log) if act["verb"] != "claim"]
    assert told_of == ["open_page", "open_page", "deny", "appeal", "overturn"]
    deciders = [act["actor_id"] for act in log if act["verb"] in ("deny", "overturn")]
    assert len(set(deciders)) == 2, "two people, each under their own name"
    assert opened.database.read(audit.verify) == [] and sound(opened.database)


async def test_what_a_rule_refused_is_read_on_the_page_once_it_is_appealed(
    chat: FakeAdapter, browser: Visit, opened: Services
) -> None:
    chat.platform = Platform.DISCORD
    refused = await chat.say("imagine", prompt="leaked nudes of a neighbour")
    target = button(refused, Verb.APPEAL)
    mod = await enter(browser, chat, MOD)
    assert (await mod.get("/review/queue")).json()["cases"] == []
    assert (await chat.press(Verb.APPEAL, target, text="It is a painting.")).code is None
    [row] = (await mod.get("/review/queue")).json()["cases"]
    assert row["id"] == target
    seen = (await mod.get(f"/review/cases/{target}")).json()["case"]
    assert "It is a painting." in seen and "neighbour" in seen and "<img" not in seen
    done = await mod.post("/review/press", data={"verb": "overturn", "target": target})
    assert done.json()["ok"], done.text
    assert (await chat.say("strikes")).data == {"weight": 0, "hours": 0, "disabled": False}


async def test_the_rest_of_the_room_is_theirs_as_well(
    chat: FakeAdapter, browser: Visit, opened: Services
) -> None:
    case = await held(chat, opened)
    made = opened.blobs.put(paint("statue", 1, 96, 96), "png")
    mod = await enter(browser, chat)
    for path in ("/review/figures", "/review/audit", "/review/thresholds?stage=a&code=SEX"):
        assert (await mod.get(path)).status_code == 200, path
    kept = await mod.post("/review/views", data={"name": "Nudes", "code": "SEX"})
    assert "Nudes" in kept.json()["views"]
    assert "Nudes" not in (await (await enter(browser, chat, MIA)).get("/review")).text
    listed = (await mod.get("/review/bulk")).json()
    assert listed["ids"] == [case.id]
    fields = {"ids": case.id, "verb": "deny", "code": "SEX"}
    batch = (await mod.post("/review/bulk", data=fields)).json()
    assert batch["decided"] == 1
    back = await mod.post("/review/bulk/undo", data={"batch": batch["batch"]})
    assert back.json() == {"ok": True, "back": 1}
    assert (await mod.get(f"/blobs/{made}")).status_code == 403
    dark = await mod.post("/preferences", data={"theme": "dark", "back": "/review"})
    assert "atelier_theme=dark" in dark.headers["set-cookie"]


async def test_what_fetches_links_uses_none_up(
    chat: FakeAdapter, browser: Visit, clock: HandClock
) -> None:
    secret = await link(chat)
    preview = browser()
    for path in ("/review/door", f"/review/door?link={secret}"):
        for ask in (preview.get, preview.head, preview.get):
            seen = await ask(path, headers={"Accept": "text/html"})
            assert seen.status_code in (200, 405) and "set-cookie" not in seen.headers
            assert secret not in seen.text
    page = (await preview.get("/review/door", headers={"Accept": "text/html"})).text
    assert page.count("<form") == page.count("<button") == 1 and 'method="post"' in page
    first, second = browser(), browser()
    both = await asyncio.gather(
        *(one.post("/review/door", data={"link": secret}) for one in (first, second))
    )
    assert sorted(answer.status_code for answer in both) == [303, 404]
    used = next(answer for answer in both if answer.status_code == 404)
    assert used.json()["code"] == "door_used" and "set-cookie" not in used.headers


async def test_a_link_stays_used_when_redis_comes_back_as_it_was(
    chat: FakeAdapter, browser: Visit, opened: Services
) -> None:
    secret, pool = await link(chat), opened.wire.pool
    [name] = await pool.keys("*page-link*")
    as_it_was = await pool.dump(name)
    assert (await browser().post("/review/door", data={"link": secret})).status_code == 303
    await pool.restore(name, 600_000, as_it_was)
    again = await browser().post("/review/door", data={"link": secret})
    assert (again.status_code, again.json()["code"]) == (404, "door_used")
    assert opened.database.read(audit.verify) == []
    acts = opened.database.read(lambda s: [a.verb for a in s.exec(select(Act))])
    assert acts == ["open_page"]


async def test_a_link_that_is_late_changed_or_nonsense_opens_nothing(
    chat: FakeAdapter, browser: Visit, clock: HandClock
) -> None:
    late, changed = await link(chat), await link(chat)
    flipped = changed[:-1] + ("0" if changed[-1] != "0" else "1")
    stranger = browser()
    for wrong in (flipped, changed.upper(), changed + "0", "", "0" * 64, "é", "../" * 20):
        answer = await stranger.post("/review/door", data={"link": wrong})
        assert answer.status_code == 404, wrong
    assert (await stranger.post("/review/door", content=b"\xff")).status_code == 422
    clock.advance(10 * 60_000)
    for old in (late, changed):
        assert (await stranger.post("/review/door", data={"link": old})).status_code == 404
    assert not list(stranger.cookies)


async def test_only_a_moderator_gets_a_link_and_only_while_they_are_one(
    chat: FakeAdapter, browser: Visit, opened: Services, register: Register
) -> None:
    assert (await chat.say("review", page="open")).code == "role_needed"
    secret = await link(chat)
    register.roles["mod"] = Role.MEMBER
    answer = await browser().post("/review/door", data={"link": secret})
    assert (answer.status_code, answer.json()["code"]) == (403, "moderators_only")

    case = await held(chat, opened)
    register.roles["mod"] = Role.MODERATOR
    mod = await enter(browser, chat)
    assert (await mod.get("/review/queue")).status_code == 200
    register.roles["mod"] = Role.MEMBER
    await chat.say("credits", **(MOD | {"role": "member"}))
    for method, path in (("GET", "/review/queue"), ("GET", f"/review/cases/{case.id}"),
                         ("GET", f"/review/pictures/{case.id}"), ("POST", "/review/press"),
                         ("POST", "/review/bulk")):  # fmt: skip
        over = await mod.request(method, path)
        assert over.status_code == 401, path
    # The visit is gone for good, and nothing on the page wrote the old role back.
    roles = opened.database.read(
        lambda s: [m.role for m in s.exec(select(Member).where(Member.external_id == "mod"))]
    )
    assert roles == ["member"]
    await chat.say("credits", **MOD)
    assert (await mod.get("/review/queue")).status_code == 401


@pytest.mark.parametrize("now", [Role.MEMBER, None])
async def test_who_lost_their_role_keeps_no_power_by_staying_away_from_the_chat(
    chat: FakeAdapter, browser: Visit, opened: Services, register: Register, clock: HandClock,
    now: Role | None,
) -> None:  # fmt: skip
    """No command says so: the platform is asked, every five minutes; None has left for good."""
    mod = await enter(browser, chat)
    for _ in range(3):
        assert (await mod.get("/review/queue")).status_code == 200
    assert register.asked == ["mod"], "once, and not at every request"
    register.roles["mod"] = now
    clock.advance(visits.ASK_MS - 1)
    assert (await mod.get("/review/queue")).status_code == 200
    clock.advance(1)
    case = await held(chat, opened)
    over = await mod.post("/review/press", data={"verb": "approve", "target": case.id})
    assert over.status_code == 401
    row = opened.database.read(
        lambda s: s.exec(select(Member).where(Member.external_id == "mod")).one()
    )
    assert row.role == "member"
    # Back in office: a new command, a new link.
    register.roles["mod"] = Role.MODERATOR
    assert (await mod.get("/review/queue")).status_code == 401
    assert (await (await enter(browser, chat)).get("/review/queue")).status_code == 200


async def test_while_the_platform_is_away_its_last_word_counts_for_ten_minutes(
    chat: FakeAdapter, browser: Visit, register: Register, clock: HandClock
) -> None:
    mod = await enter(browser, chat)
    register.away = True
    clock.advance(visits.ROLE_MS - 1)
    assert (await mod.get("/review/queue")).status_code == 200
    clock.advance(1)
    assert (await mod.get("/review/queue")).status_code == 503
    register.away = False
    assert (await mod.get("/review/queue")).status_code == 200, "the visit itself had not ended"


async def test_where_nobody_can_ask_a_visit_lasts_as_long_as_its_commands_word(
    chat: FakeAdapter, browser: Visit, opened: Services, clock: HandClock
) -> None:
    opened.standings.clear()
    mod = await enter(browser, chat)
    clock.advance(visits.ROLE_MS - 1)
    assert (await mod.get("/review/queue")).status_code == 200
    clock.advance(1)
    assert (await mod.get("/review/queue")).status_code == 401


async def test_a_visit_ends_by_time_by_leaving_and_from_the_chat(
    chat: FakeAdapter, browser: Visit, clock: HandClock
) -> None:
    mod = await enter(browser, chat)
    clock.advance(8 * 3_600_000 - 1)
    assert (await mod.get("/review/queue")).status_code == 200
    clock.advance(1)
    over = await mod.get("/review/queue")
    assert (over.status_code, over.json()["code"]) == (401, "door_over")

    mod, mia = await enter(browser, chat), await enter(browser, chat, MIA)
    kept = dict(mod.cookies)
    assert (await mod.post("/review/leave")).status_code == 303
    assert not list(mod.cookies)
    for name, value in kept.items():
        mod.cookies.set(name, value)
    assert (await mod.get("/review/queue")).status_code == 401, "not only the cookie is gone"
    assert (await mia.get("/review/queue")).status_code == 200

    unused, again = await link(chat, MIA), await enter(browser, chat, MIA)
    assert (await chat.say("review", page="leave", **MIA)).code is None
    for one in (mia, again):
        assert (await one.get("/review/queue")).status_code == 401
    assert (await browser().post("/review/door", data={"link": unused})).status_code == 404
    assert (await (await enter(browser, chat, MIA)).get("/review")).status_code == 200


def paths_of(routes: Sequence[Any]) -> Iterator[str]:
    """The path of every route, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route.path
        else:
            yield from paths_of(included.routes)


async def test_a_guest_reaches_the_room_and_nothing_else(
    chat: FakeAdapter, browser: Visit, core: Core, presenter: WebPresenter
) -> None:
    """Every route there is: a new one is closed to guests until it is named here too."""
    open_to_guests = {
        "/review", "/review/queue", "/review/cases/{case_id}", "/review/pictures/{case_id}",
        "/review/press", "/review/claim", "/review/bulk", "/review/bulk/undo", "/review/views",
        "/review/figures", "/review/thresholds", "/review/audit", "/review/door", "/review/leave",
        "/preferences", "/healthz", "/static",
    }  # fmt: skip
    mod = await enter(browser, chat)
    seen = set(paths_of(make_app(core, presenter, token=TOKEN).routes))
    for path in sorted(seen):
        if path in open_to_guests:
            continue
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = await mod.request(method, re.sub(r"\{.*?\}", "abc", path))
            assert answer.status_code == 403, (method, path)
            assert answer.json()["code"] == "door_elsewhere"
    assert open_to_guests <= seen and {"/", "/ledger", "/config", "/api/invoke"} <= seen
    for path in ("/review/", "/review/queue/", "/review/../ledger", "/review/cases/a/b",
                 "/REVIEW", "/review/pictures/..%2f..%2fblobs", "/metrics"):  # fmt: skip
        assert (await mod.get(path)).status_code == 403, path
    for verb in ("reroll", "delete", "config", "cancel", "appeal", "report", "confirm", ""):
        answer = await mod.post("/review/press", data={"verb": verb, "target": "x"})
        assert answer.json()["code"] == "button_unknown", verb


async def test_two_workspaces_never_meet(
    chat: FakeAdapter, browser: Visit, opened: Services, core: Core
) -> None:
    other = FakeAdapter(core=core, platform=Platform.DISCORD, workspace="200")
    slack = FakeAdapter(core=core, platform=Platform.SLACK, workspace="100")
    cases = [await held(one, opened, prompt) for one, prompt in
             ((chat, "a fern"), (other, "a quetzal"), (slack, "an axolotl"))]  # fmt: skip
    rows = opened.database.read(lambda s: [c.model_dump() for c in s.exec(select(Case))])
    mod = await enter(browser, chat)  # also "mod" of the other two, by the same name
    for one in (other, slack):
        await one.say("review", **MOD)
    assert [c["id"] for c in (await mod.get("/review/queue")).json()["cases"]] == [cases[0].id]
    acts_before = opened.database.read(lambda s: len(s.exec(select(Act)).all()))
    for case in cases[1:]:
        assert (await mod.get(f"/review/cases/{case.id}")).json()["code"] == "case_unknown"
        for query in ("", "?clear=1"):
            assert (await mod.get(f"/review/pictures/{case.id}{query}")).status_code == 404
        assert not (await mod.get(f"/review/bulk?alike={case.id}")).json()["ok"]
        for verb in ("approve", "deny", "strike", "ban", "escalate", "ask", "overturn", "agree",
                     "undo", "look_approve"):  # fmt: skip
            fields = {"verb": verb, "target": case.id, "v.code": "SEX", "v.note": "x"}
            assert not (await mod.post("/review/press", data=fields)).json()["ok"], verb
        for verb in ("claim", "steal", "release"):
            await mod.post("/review/claim", data={"target": case.id, "verb": verb})
        bulk = {"ids": case.id, "verb": "approve"}
        done = (await mod.post("/review/bulk", data=bulk)).json()
        assert not done.get("decided")
        seen = (await mod.get("/review/queue", params={"member": case.member_id})).json()
        assert seen["cases"] == []
    assert opened.database.read(lambda s: [c.model_dump() for c in s.exec(select(Case))]) == rows
    assert opened.database.read(lambda s: len(s.exec(select(Act)).all())) == acts_before
    spaces = {w.id: w.external_id for w in opened.database.read(
        lambda s: s.exec(select(Workspace)).all())}  # fmt: skip
    everything = "".join(
        [(await mod.get(path)).text for path in ("/review", "/review/figures", "/review/audit")]
    )
    for space in spaces:
        assert space not in everything or spaces[space] == "100"
    assert "quetzal" not in everything and "axolotl" not in everything


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
async def test_posts_come_from_the_page_itself(
    chat: FakeAdapter, browser: Visit, opened: Services, headers: dict[str, str]
) -> None:
    case = await held(chat, opened)
    mod, secret = await enter(browser, chat), await link(chat)
    for path, fields in (
        ("/review/press", {"verb": "approve", "target": case.id}), ("/review/leave", {}),
        ("/review/bulk", {"ids": case.id, "verb": "approve"}), ("/preferences", {}),
        ("/review/claim", {"target": case.id}), ("/review/views", {"name": "x"}),
    ):  # fmt: skip
        assert (await mod.post(path, data=fields, headers=headers)).status_code == 403, path
    assert [c["id"] for c in (await mod.get("/review/queue")).json()["cases"]] == [case.id]
    # Nobody is let in unasked either: a foreign page cannot use a link up in somebody's browser.
    lured = await browser().post("/review/door", data={"link": secret}, headers=headers)
    assert lured.status_code == 403 and "set-cookie" not in lured.headers
    fine = await browser().post(
        "/review/door", data={"link": secret},
        headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    )  # fmt: skip
    assert fine.status_code == 303, "our no-referrer policy makes a plain form's origin null"


async def test_the_cookie_over_https_and_its_secret_at_rest(
    chat: FakeAdapter, opened: Services, presenter: WebPresenter
) -> None:
    secure = replace(opened, page_url="https://studio.example")
    core = Core(secure, COMMANDS, PRESSES)
    chat.core = core
    said = await chat.say("review", page="open", **MOD)
    assert said.link is not None
    secret = said.link.url.partition("#")[2]
    app = make_app(core, presenter, token=TOKEN, hosts=["studio.example"])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="https://studio.example",
        headers={"Origin": "https://studio.example"} | JSON,
    ) as mod:  # fmt: skip
        answer = await mod.post("/review/door", data={"link": secret})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-atelier-room=")
        for part in ("HttpOnly", "Secure", "SameSite=strict", "Path=/", "Max-Age=28800"):
            assert part in cookie
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert (await mod.get("/review")).status_code == 200
        word = cookie.partition("=")[2].partition(";")[0]
    assert re.fullmatch("[0-9a-f]{64}", word)
    pool = opened.wire.pool
    kept = b"".join([key + (await pool.get(key) or b"") for key in await pool.keys("*page-*")])
    assert kept and word.encode() not in kept and secret.encode() not in kept


async def test_without_an_address_the_command_says_the_cure(
    chat: FakeAdapter, opened: Services, core: Core
) -> None:
    for changes, code in (({"page_is_local": True}, "door_loopback"),
                          ({"page_is_local": False}, "door_unnamed")):  # fmt: skip
        chat.core = Core(replace(opened, page_url="", **changes), COMMANDS, PRESSES)
        for chat.locale in ("en", "zh"):
            said = await chat.say("review", page="open", **MOD)
            assert said.code == code and "ATELIER_WEB_URL" in said.text and said.link is None
            assert said.visibility == "private"
    chat.core, chat.locale = core, "en"
    local = FakeAdapter(core=core, platform=Platform.LOCAL, workspace="local")
    assert (await local.say("review", page="open", **MOD)).code == "door_local"


async def test_the_owner_keeps_the_studio_beside_a_visit(
    chat: FakeAdapter, browser: Visit, opened: Services
) -> None:
    case = await held(chat, opened)
    owner = browser()
    await owner.get("/", params={"token": TOKEN})
    assert (await owner.get("/review/queue")).json()["cases"] == []
    await owner.post("/review/door", data={"link": await link(chat)})
    assert [c["id"] for c in (await owner.get("/review/queue")).json()["cases"]] == [case.id]
    assert (await owner.get("/ledger")).status_code == 200
    await owner.post("/review/leave")
    assert (await owner.get("/review/queue")).json()["cases"] == []


async def test_while_redis_is_away_nobody_comes_in(
    chat: FakeAdapter, browser: Visit, opened: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    mod, secret = await enter(browser, chat), await link(chat)
    monkeypatch.setattr(opened.wire.pool.connection_pool, "get_connection", _gone)
    assert (await mod.get("/review/queue")).status_code == 503
    assert (await browser().post("/review/door", data={"link": secret})).status_code == 503
    assert (await chat.say("review", page="open", **MOD)).code == "busy"


async def _gone(*_: Any, **__: Any) -> Any:
    raise ConnectionError("gone")


@pytest.fixture
def real_app(core: Core, presenter: WebPresenter) -> Any:
    """For the browser of the other tests of the room."""
    return make_app(core, presenter, token=TOKEN)


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_the_link_in_a_browser(tab: Page, chat: FakeAdapter, opened: Services) -> None:
    """From the link by one press to a ruling by key; the secret leaves the address bar."""
    case = await held(chat, opened)
    secret = await link(chat)
    await tab.context.clear_cookies()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url + (request.post_data or "")))
    await tab.goto(f"/review/door#{secret}")
    await expect(tab).to_have_url(re.compile("/review/door$"))
    assert not [one for one in asked if secret in one.partition("#")[0]]
    await tab.locator("#door button").click()
    await expect(tab.locator(f'.case-card[data-id="{case.id}"] .case-buttons')).to_be_visible()
    await tab.keyboard.press("a")
    await expect(tab.locator("#empty")).to_be_visible()
    await tab.locator("text=Leave").click()
    await expect(tab.locator("main")).to_contain_text("Your visit is over")
    await tab.goto("/review")
    await expect(tab.locator("#queue")).to_have_count(0)
