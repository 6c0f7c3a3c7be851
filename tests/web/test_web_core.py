"""The page over the real core, database and Valkey; only the worker is played by the test."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import httpx
import pytest
from PIL import Image
from sqlmodel import select

from bot.adapters.web.live import WebPresenter
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.delivery import Delivery
from bot.core.services import Services
from storage.database import Database
from storage.endings import Exchange
from storage.models import Generation, Job
from storage.schema import Category, Flag, ImageSpec, Outcome, Platform, Verdict, parse_spec
from tests.core.test_commands import answer, finish, picture
from tests.web.fakes import paint

HELD = Verdict(
    outcome=Outcome.HOLD, flags=frozenset({Flag(category=Category.SEX, score=0.9, stage="nude")})
)


@pytest.fixture
def app(real_app: Any) -> Any:
    return real_app


@pytest.fixture
def page(console: httpx.AsyncClient) -> httpx.AsyncClient:
    return console


async def ask(page: httpx.AsyncClient, line: str) -> dict[str, Any]:
    data: dict[str, Any] = (await page.post("/invoke", data={"line": line})).json()
    return data


async def test_a_picture_from_the_line_to_the_download(
    page: httpx.AsyncClient, services: Services, presenter: WebPresenter
) -> None:
    before = (await page.get("/api/balance")).json()["available"]
    queued = await ask(page, "/imagine a red apple seed:7 style:flat count:2")
    assert queued["status"] == "queued"
    assert "Next in line" in queued["card"]
    key = services.blobs.put(paint("a red apple", 7, 128, 128), "png")
    other = services.blobs.put(paint("a red apple", 8, 128, 128), "png")
    assert (await page.get(f"/blobs/{key}")).status_code == 404  # nobody's picture yet
    with presenter.subscribe(presenter.cursor) as open_page:
        finish(services.database, (picture(key), picture(other, HELD, index=1)))
        await Delivery(services, {Platform.LOCAL: presenter}).sweep()
        assert list(open_page.waiting) == [queued["job"]]
    card = (await page.get(f"/cards/{queued['job']}")).json()["card"]
    assert f"/blobs/{key}" in card
    assert other not in card
    assert "Held for review" in card
    assert (await page.get(f"/blobs/{key}")).content == services.blobs.get(key)
    assert (await page.get(f"/blobs/{other}")).status_code == 404
    assert (await page.get("/api/balance")).json() == {"available": before - 1, "pending": 0}


async def test_a_deleted_picture_is_gone(page: httpx.AsyncClient, services: Services) -> None:
    await ask(page, "/imagine a red apple")
    key = services.blobs.put(paint("a", 7, 128, 128), "png")
    job = finish(services.database, (picture(key),))
    made = (await page.get(f"/api/jobs/{job}")).json()["pictures"][0]["generation_id"]
    card = (await page.post("/press", data={"verb": "delete", "target": made})).json()["card"]
    assert "Deleted" in card
    assert (await page.get(f"/blobs/{key}")).status_code == 404


async def test_a_preview_is_shown_while_it_is_allowed(
    page: httpx.AsyncClient, services: Services
) -> None:
    key = services.blobs.put(paint("a", 7, 64, 64, 5), "png")
    assert (await page.get(f"/blobs/{key}")).status_code == 404
    job = await ask(page, "/imagine a red apple")
    assert job["ok"]
    workspace = (await services.actor(_owner())).workspace.id
    await services.wire.allow_preview(key, workspace)
    assert (await page.get(f"/blobs/{key}")).status_code == 200
    await services.wire.allow_preview("ab/" + "0" * 62 + ".png", workspace)  # thrown away already
    assert (await page.get("/blobs/ab/" + "0" * 62 + ".png")).status_code == 404


async def test_what_another_workspace_made_is_not_there(
    page: httpx.AsyncClient, services: Services
) -> None:
    from tests.fakes import FakeAdapter

    elsewhere = FakeAdapter(core=Core(services, COMMANDS, PRESSES))
    job = (await elsewhere.say("imagine", prompt="theirs")).job_id or ""
    key = services.blobs.put(paint("theirs", 7, 128, 128), "png")
    finish(services.database, (picture(key),))
    assert (await page.get(f"/blobs/{key}")).status_code == 404
    assert (await page.get(f"/cards/{job}")).status_code == 404
    assert (await page.get("/api/jobs")).json() == []
    pressed = await page.post("/press", data={"verb": "reroll", "target": job})
    assert pressed.json()["code"] == "job_unknown"


async def test_a_conversation_goes_on_and_begins_anew(
    page: httpx.AsyncClient, services: Services
) -> None:
    await page.get("/", headers={"Accept": "text/html"})  # begins a conversation

    async def turns(line: str) -> list[str]:
        job = (await ask(page, line))["job"]
        spec = await services.database.look(_spec, job)
        exchange = Exchange(spec["thread"], line, f"to {line}")
        finish(services.database, (answer(f"to {line}"),), exchange=exchange)
        return [turn["text"] for turn in spec["turns"]][1:]

    assert await turns("one") == ["one"]
    assert await turns("two") == ["one", "to one", "two"]
    await page.post("/conversation")
    assert await turns("three") == ["three"]


async def test_a_refused_prompt_is_kept_and_not_repeated(page: httpx.AsyncClient) -> None:
    answer = await page.post("/invoke", data={"line": "/imagine naked child"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "prompt_refused"
    assert "naked" not in answer.json()["toast"]


async def test_the_same_post_twice_is_one_job(page: httpx.AsyncClient) -> None:
    fields = {"line": "/imagine a cat", "key": "0123456789abcdef"}
    posts = [page.post("/invoke", data=fields) for _ in range(4)]
    jobs = {answer.json()["job"] for answer in await asyncio.gather(*posts)}
    assert len(jobs) == 1


def _owner() -> Any:
    from bot.adapters.web.reader import OWNER

    return OWNER


def _spec(session: Any, job_id: str) -> dict[str, Any]:
    from storage.models import Job

    return dict(session.get_one(Job, job_id).spec)


def small(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "green").save(out, kind)
    return out.getvalue()


async def test_a_picture_sent_with_a_line_starts_a_job(
    page: httpx.AsyncClient, services: Services
) -> None:
    files = {"file0": ("../../photo.jpg", small("JPEG"), "image/jpeg")}
    answer = await page.post("/invoke", data={"line": "/imagine a red apple"}, files=files)
    assert answer.status_code == 200, answer.text
    spec = parse_spec(services.database.read(lambda s: s.exec(select(Job)).one()).spec)
    assert isinstance(spec, ImageSpec)
    assert spec.start is not None
    assert (spec.start.width, spec.start.height) == (64, 48)
    assert services.blobs.get(spec.start.blob).startswith(b"\x89PNG")
    # Stored is not shown: nobody can ask for it by its key.
    assert (await page.get(f"/blobs/{spec.start.blob}")).status_code == 404


async def test_a_picture_in_the_panel_is_the_options_own(
    page: httpx.AsyncClient, services: Services
) -> None:
    fields = {"command": "imagine", "v.prompt": "a pear", "v.strength": "0.5"}
    files = {"v.image": ("a.png", small(), "image/png"), "v.mask": ("", b"", "image/png")}
    answer = await page.post("/invoke", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    spec = parse_spec(services.database.read(lambda s: s.exec(select(Job)).one()).spec)
    assert isinstance(spec, ImageSpec)
    assert spec.start is not None
    assert spec.mask is None
    assert spec.strength == 0.5


@pytest.mark.parametrize(
    ("line", "data", "code"),
    [
        ("/imagine a", b"GIF89a", "upload_format"),
        ("/imagine a", b"\x89PNG\r\n\x1a\nxx", "upload_broken"),
        ("/credits", None, "upload_unwanted"),
        ("/imagine a", b"x" * (10 * 2**20 + 1), "upload_large"),
    ],
)
async def test_a_file_that_will_not_do_leaves_nothing(
    page: httpx.AsyncClient, services: Services, line: str, data: bytes | None, code: str
) -> None:
    files = {"file0": ("a.png", small() if data is None else data, "image/png")}
    answer = await page.post("/invoke", data={"line": line}, files=files)
    assert answer.json()["code"] == code
    assert services.database.read(lambda s: s.exec(select(Job)).all()) == []
    assert not [p for p in services.blobs.folder.rglob("*") if p.is_file()]


async def test_the_star_keeps_and_lets_go(
    page: httpx.AsyncClient, services: Services, sqlite_database: Database
) -> None:
    await page.post("/invoke", data={"line": "/imagine a red apple seed:7"})
    finish(sqlite_database, (picture(services.blobs.put(small(), "png")),))
    made = sqlite_database.read(lambda s: s.exec(select(Generation.id)).one())
    for words, there in (("Kept", True), ("Not kept any more", False)):
        answer = await page.post("/press", data={"verb": "favourite", "target": made})
        assert words in answer.json()["toast"]
        kept = (await page.get("/history?kept=1", headers={"Accept": "text/html"})).text
        assert ("a red apple" in kept) is there
