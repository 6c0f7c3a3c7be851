"""Bad input gets a code and a sentence, and loses nothing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bot.adapters.web.render import words_for
from tests.web.fakes import JSON, FakeStudio

BAD = [
    (b"command=imagine&v.prompt=%ff%fe", "text_not_utf8"),
    (b"line=%2Fimagine%20%c3%28", "text_not_utf8"),
    ("line=/imagine é".encode("latin-1"), "text_not_utf8"),
    (b"command=imagine&v.prompt=a%00b", "text_has_nul"),
    (b"command=imagine&v.prompt=", "prompt_empty"),
    (b"command=imagine&v.prompt=%E2%80%8B", "prompt_empty"),
    (b"line=%2Fimagine", "prompt_empty"),
    (b"line=", "prompt_empty"),
    (b"command=imagine&v.prompt=a&v.steps=0", "steps_range"),
    (b"command=imagine&v.prompt=a&v.steps=5000", "steps_range"),
    (b"command=imagine&v.prompt=a&v.seed=-1", "seed_range"),
    (b"command=imagine&v.prompt=a&v.seed=9223372036854775808", "seed_range"),
    (b"command=imagine&v.prompt=a&v.style=none-such", "style_unknown"),
    (b"command=imagine&v.prompt=a&v.size=100x100", "size_not_multiple"),
    (b"command=imagine&v.prompt=a&v.nothing=1", "option_unknown"),
    (b"command=none-such", "command_unknown"),
    (b"line=%2Fnone-such", "command_unknown"),
    (b"line=" + "😀".encode() * 0 + b"%F0%9F%98%80" * 10_000, "text_long"),
    (b"line=" + b"a" * 2_000_000, "text_long"),
    (b"&".join(b"v.%d=1" % n for n in range(200)), "body_invalid"),
]


@pytest.mark.parametrize(("body", "code"), BAD, ids=[f"{n}-{c}" for n, (_, c) in enumerate(BAD)])
async def test_bad_input_has_a_code_and_a_sentence(
    page: httpx.AsyncClient, studio: FakeStudio, body: bytes, code: str
) -> None:
    headers = JSON | {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await page.post("/invoke", content=body, headers=headers)
    data = answer.json()
    assert answer.status_code == 422
    assert data["ok"] is False
    assert data["code"] == code
    assert "toast" in data["toast"]
    assert studio.jobs == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"line": "\xff"}', "text_not_utf8"),
        (b'{"line": "/imagine \\ud800"}', "text_not_utf8"),
        (b'{"command": "imagine", "values": {"style": "\\udfff", "prompt": "a"}}', "text_not_utf8"),
        (b'{"command": "imagine", "values": {"prompt": "a", "\\udfff": "1"}}', "text_not_utf8"),
        (b"[1]", "body_invalid"),
        (b"{", "body_invalid"),
        (b"[" * 100_000, "body_invalid"),
        (b'{"line": 7}', "command_unknown"),
        (b'{"command": {"a": 1}}', "command_unknown"),
        (b'{"command": "imagine", "values": [1]}', "prompt_empty"),
    ],
)
async def test_bad_json_has_a_code(program: httpx.AsyncClient, body: bytes, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await program.post("/api/invoke", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["code"] == code


async def test_other_bodies_are_refused(page: httpx.AsyncClient) -> None:
    files: Any = {"line": ("x", b"y")}
    answer = await page.post("/invoke", files=files, headers=JSON)
    assert answer.json()["code"] == "body_invalid"


async def test_without_script_an_error_keeps_what_was_typed(page: httpx.AsyncClient) -> None:
    line = "/imagine a <b>red</b> apple steps:5000"
    answer = await page.post("/invoke", data={"line": line}, headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert "/imagine a &lt;b&gt;red&lt;/b&gt; apple steps:5000</textarea>" in answer.text
    assert "Steps must be between" in answer.text


async def test_without_script_an_invocation_comes_back_to_its_card(
    page: httpx.AsyncClient, studio: FakeStudio
) -> None:
    answer = await page.post("/invoke", data={"line": "/imagine a cat"})
    [job] = studio.jobs
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/#job-{job}"
    await studio.finish(job, words_for("en"))
    form = await page.post("/press", data={"verb": "edit", "target": job})
    assert "Same seed and edit" in form.text


async def test_the_same_key_is_one_job(page: httpx.AsyncClient, studio: FakeStudio) -> None:
    for _ in range(3):
        fields = {"line": "/imagine a cat", "key": "0123456789abcdef"}
        await page.post("/invoke", data=fields, headers=JSON)
    assert len(studio.jobs) == 1
    for _ in range(2):
        await page.post("/invoke", data={"line": "/imagine a cat", "key": "short"}, headers=JSON)
    assert len(studio.jobs) == 3


async def test_a_limit_is_said_with_its_status(page: httpx.AsyncClient, studio: FakeStudio) -> None:
    studio.refuse = True
    answer = await page.post("/invoke", data={"line": "/imagine a cat"}, headers=JSON)
    assert answer.status_code == 429
    assert answer.json()["code"] == "credits_short"
