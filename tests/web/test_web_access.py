"""Who may come in: token, cookie, host and origin; and what every answer carries."""

from __future__ import annotations

import httpx
import pytest

from bot.adapters.web.access import cookie_name, host_name, session_of
from tests.web.fakes import BASE, TOKEN

HTML = {"Accept": "text/html"}
EVERYTHING = [
    ("GET", "/"),
    ("GET", "/history"),
    ("GET", "/timeline"),
    ("GET", "/cards/01AAAA"),
    ("GET", "/events"),
    ("GET", "/balance"),
    ("GET", "/blobs/ab/abcdef0123456789.png"),
    ("GET", "/api/catalog"),
    ("GET", "/api/jobs"),
    ("GET", "/api/balance"),
    ("POST", "/invoke"),
    ("POST", "/press"),
    ("POST", "/conversation"),
    ("POST", "/preferences"),
    ("POST", "/api/invoke"),
    ("POST", "/api/press"),
    ("GET", "/no-such-page"),
]


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
async def test_a_stranger_gets_nothing(stranger: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await stranger.request(method, path)
    assert answer.status_code == 401
    assert "link" in answer.text


async def test_a_stranger_is_told_what_to_do(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/", headers=HTML)
    assert answer.status_code == 401
    assert "?token=" in answer.text
    assert TOKEN not in answer.text
    assert (await stranger.get("/static/css/base.css")).status_code == 200
    assert (await stranger.get("/healthz")).text == "ok\n"


async def test_the_link_sets_a_cookie_and_hides_the_token(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/", params={"token": TOKEN})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert (await stranger.get("/", headers=HTML)).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN.upper(), "é", "\udcff"])
async def test_a_wrong_token_is_refused(stranger: httpx.AsyncClient, token: str) -> None:
    from urllib.parse import quote

    given = quote(token.encode("utf-8", "surrogateescape"))
    answer = await stranger.get(f"/?token={given}")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("cookie", ["", "0" * 64, "é"])
async def test_a_forged_cookie_is_refused(stranger: httpx.AsyncClient, cookie: str) -> None:
    raw = f"{cookie_name('127.0.0.1:8642')}={cookie}".encode()
    answer = await stranger.get("/", headers={b"cookie": raw})
    assert answer.status_code == 401


def test_the_cookie_outlives_the_server_and_not_the_token() -> None:
    assert session_of(TOKEN) == session_of(TOKEN)
    assert session_of(TOKEN) != session_of(TOKEN + "x")
    assert cookie_name("127.0.0.1:1") != cookie_name("127.0.0.1:2")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8642", "localhost.evil.example", "127.0.0.1.evil.org", ""],
)
async def test_only_loopback_names_are_answered(page: httpx.AsyncClient, host: str) -> None:
    assert (await page.get("/", headers={"Host": host})).status_code == 421


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:80", "127.0.0.1"), ("LOCALHOST", "localhost"), ("[::1]:8642", "[::1]"),
        ("[::1]", "[::1]"), ("a.b:x", "a.b:x"),
    ],
)  # fmt: skip
def test_host_names(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": BASE}, 422),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 422),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 422),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
    ],
)
async def test_posts_come_from_our_own_page(
    page: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    del page.headers["Origin"]
    json = {"Accept": "application/json"}
    answer = await page.post("/invoke", data={"line": "/imagine"}, headers=headers | json)
    assert answer.status_code == status


async def test_a_program_needs_no_origin(program: httpx.AsyncClient) -> None:
    answer = await program.post("/api/invoke", json={"line": "/imagine a cat"})
    assert answer.status_code == 200
    wrong = await program.get("/api/jobs", headers={"Authorization": "Bearer nope"})
    assert wrong.status_code == 401


async def test_every_answer_carries_the_safety_headers(page: httpx.AsyncClient) -> None:
    for path in ("/", "/history", "/static/js/page.js", "/healthz", "/nothing", "/api/jobs"):
        headers = (await page.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
    assert (await page.get("/")).headers["cache-control"] == "no-store"


async def test_no_page_names_another_machine(page: httpx.AsyncClient) -> None:
    """The page works offline: nothing is fetched from elsewhere."""
    import re

    for path in ("/", "/history"):
        html = (await page.get(path)).text
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', html)
