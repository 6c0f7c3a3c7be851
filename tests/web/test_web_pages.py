"""The pages and their posts: cards, presses, pictures, history, the API."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from bot.adapters.web.render import Look, Renderer, words_for
from bot.core.reply import Picture, Reply, Tone
from storage.schema import JobKind, JobStatus
from tests.web.checks import imagine
from tests.web.fakes import JSON, FakeStudio


async def test_a_picture_from_asked_to_made(page: httpx.AsyncClient, studio: FakeStudio) -> None:
    job = await imagine(page)
    texts = words_for("en")
    card = (await page.get(f"/cards/{job}", headers=JSON)).json()["card"]
    assert "3rd of 9 in line" in card
    assert "Cancel" in card
    await studio.step(job, texts, 10)
    card = (await page.get(f"/cards/{job}", headers=JSON)).json()["card"]
    assert "step 10 of 20" in card
    assert '<progress max="100" value="50"' in card
    assert "/blobs/" in card
    await studio.finish(job, texts)
    card = (await page.get(f"/cards/{job}", headers=JSON)).json()["card"]
    assert 'alt="AI picture of: a red apple (seed 7)"' in card
    assert "Made by AI" in card
    for word in ("Reroll", "Same seed and edit", "Download", "Delete", "Report", "Recipe"):
        assert word in card
    assert "4 credits" in card


async def test_a_held_picture_shows_nothing_of_it(
    page: httpx.AsyncClient, studio: FakeStudio
) -> None:
    job = await imagine(page)
    made = Picture(
        generation_id="g",
        blob=None,
        alt="secret",
        note="Held for review",
        width=8,
        height=8,
        seed=7,
    )
    texts = words_for("en")
    await studio.finish(
        job, texts, pictures=(made,), tone=Tone.WARN, title="Held for review", text="Why: nudity"
    )
    card = (await page.get(f"/cards/{job}", headers=JSON)).json()["card"]
    assert "Held for review" in card
    assert "Why: nudity" in card
    assert "<img" not in card
    assert "/blobs/" not in card


async def test_a_blurred_picture_waits_for_a_press() -> None:
    made = Picture(
        generation_id="g", blob="ab/abcdef01.png", alt="x", width=8, height=8, seed=7, blurred=True
    )
    reply = Reply(
        job_id="j", kind=JobKind.IMAGE, status=JobStatus.SUCCEEDED, pictures=(made,), tone=Tone.GOOD
    )
    card = Renderer().card(reply, Look())
    assert "blurred" in card
    assert "data-reveal" in card


async def test_questions_stay_in_one_conversation_until_a_new_one(
    page: httpx.AsyncClient, studio: FakeStudio
) -> None:
    await page.get("/")
    for line in ("one", "two"):
        await page.post("/invoke", data={"line": line}, headers=JSON)
    await page.post("/conversation", headers=JSON)
    await page.post("/invoke", data={"line": "three"}, headers=JSON)
    one, two, three = [context.address.thread for _, _, context in studio.invocations]
    assert one == two
    assert one is not None
    assert three not in (None, one)


async def test_presses(page: httpx.AsyncClient, studio: FakeStudio) -> None:
    job = await imagine(page)

    async def press(verb: str, target: str) -> dict[str, Any]:
        answer = await page.post("/press", data={"verb": verb, "target": target}, headers=JSON)
        data: dict[str, Any] = answer.json()
        return data

    assert (await press("cancel", job))["status"] == "cancelled"
    await studio.finish(job, words_for("en"))
    form = (await press("edit", job))["form"]
    assert 'value="7"' in form
    assert "a red apple" in form
    assert (await press("reroll", job))["job"] != job
    made = studio.jobs[job].pictures[0].generation_id
    assert (await press("report", made))["ok"]
    assert "Deleted" in (await press("delete", made))["card"]
    assert (await press("explode", job))["code"] == "button_unknown"
    assert (await press("cancel", "nothing"))["code"] == "job_unknown"


async def test_pictures_are_served_only_while_they_may_be_seen(
    page: httpx.AsyncClient, studio: FakeStudio
) -> None:
    job = await imagine(page)
    await studio.finish(job, words_for("en"))
    key = studio.jobs[job].pictures[0].blob
    assert key is not None
    answer = await page.get(f"/blobs/{key}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=600", "a removed one is soon gone"
    assert "content-disposition" not in answer.headers
    saved = await page.get(f"/blobs/{key}?download=1&seed=7")
    assert saved.headers["content-disposition"] == 'attachment; filename="atelier-7.png"'
    odd = await page.get(f"/blobs/{key}", params={"download": "1", "seed": '7"\r\nX: y'})
    assert odd.headers["content-disposition"] == 'attachment; filename="atelier.png"'
    studio.hidden.add(key)
    assert (await page.get(f"/blobs/{key}")).status_code == 404


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd", "ab/../../x.png", "ab/%2e%2e/x.png", "ab/abcdef01.svg",
        "ab/abcdef01.html", "", "ab/", "ab/abcdef0123.png\x00", "/etc/passwd", "AB/abcdef01.png",
    ],
)  # fmt: skip
async def test_other_keys_are_not_there(
    page: httpx.AsyncClient, studio: FakeStudio, key: str
) -> None:
    studio.blobs[key] = b"\x89PNG\r\n\x1a\nsecret"
    assert (await page.get(f"/blobs/{quote(key, safe='/%')}")).status_code == 404


async def test_a_blob_that_is_not_a_picture_is_not_served(
    page: httpx.AsyncClient, studio: FakeStudio
) -> None:
    studio.blobs["ab/abcdef0123.png"] = b"<script>window.hacked=1</script>"
    assert (await page.get("/blobs/ab/abcdef0123.png")).status_code == 404


async def test_history_pages_back_to_the_first(page: httpx.AsyncClient, studio: FakeStudio) -> None:
    jobs = [await imagine(page, f"number {n}", **{"v.seed": str(n)}) for n in range(60)]
    for job in jobs[:3]:
        await studio.finish(job, words_for("en"))
    html = (await page.get("/history")).text
    seen = re.findall(r'data-card="(\w+)"', html)
    while more := re.search(r'data-more="([^"]+)"', html):
        html = (await page.get(more.group(1).replace("&amp;", "&"))).text
        seen += re.findall(r'data-card="(\w+)"', html)
    assert seen == sorted(jobs, reverse=True)


async def test_the_timeline_reads_back(page: httpx.AsyncClient) -> None:
    jobs = [await imagine(page, f"number {n}", **{"v.seed": str(n)}) for n in range(45)]
    data = (await page.get("/timeline")).json()
    seen = [card["job"] for card in data["cards"]]
    while data["more"]:
        data = (await page.get("/timeline", params={"before": seen[0]})).json()
        seen = [card["job"] for card in data["cards"]] + seen
    assert seen == jobs


async def test_the_balance(page: httpx.AsyncClient, studio: FakeStudio) -> None:
    studio.credits, studio.reserved = 12345, 8
    html = (await page.get("/balance")).text
    assert "12,345" in html
    assert "8 reserved" in html
    assert (await page.get("/api/balance")).json() == {"available": 12345, "pending": 8}


async def test_the_api(program: httpx.AsyncClient, studio: FakeStudio) -> None:
    catalog = (await program.get("/api/catalog", params={"locale": "zh"})).json()
    assert catalog[0]["name"] == "imagine"
    assert catalog[0]["help"] == "用文字画一张图"
    body = {"command": "imagine", "values": {"prompt": "a cat", "seed": 7}, "thread": "t1"}
    made = (await program.post("/api/invoke", json=body)).json()
    assert made["status"] == "queued"
    assert studio.invocations[0][2].address.thread == "t1"
    job = (await program.get(f"/api/jobs/{made['job_id']}")).json()
    assert job["prompt"] == "a cat"
    assert [j["job_id"] for j in (await program.get("/api/jobs")).json()] == [made["job_id"]]
    missing = await program.get("/api/jobs/none")
    assert (missing.status_code, missing.json()["code"]) == (404, "job_unknown")
    pressed = await program.post("/api/press", json={"verb": "cancel", "target": made["job_id"]})
    assert pressed.json()["status"] == "cancelled"
    refused = await program.post("/api/invoke", json={"line": "/imagine a cat steps:5000"})
    assert (refused.status_code, refused.json()["code"]) == (422, "steps_range")


async def test_a_missing_card_says_so(page: httpx.AsyncClient) -> None:
    answer = await page.get("/cards/none")
    assert answer.status_code == 404
    assert "There is no such job here." in answer.text


async def test_the_panel_comes_from_the_catalog(page: httpx.AsyncClient) -> None:
    html = (await page.get("/")).text
    for name in ("prompt", "negative", "style", "size", "steps", "guidance", "seed", "count"):
        assert f'name="v.{name}"' in html
    assert 'type="range" min="1" max="100"' in html
    assert "a red apple" in html


def test_an_answer_being_written_shows_no_mark_without_words() -> None:
    reply = Reply(
        job_id="j", kind=JobKind.CHAT, status=JobStatus.RUNNING, streaming=True, text="1. one\n2."
    )
    card = Renderer().card(reply, Look())
    assert card.count("<li>") == 1
    done = reply.model_copy(update={"streaming": False, "status": JobStatus.SUCCEEDED})
    assert Renderer().card(done, Look()).count("<li>") == 2
