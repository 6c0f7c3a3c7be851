"""Events over HTTP: Slack's signature on the raw bytes, and nothing else gets a word in."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlmodel import select

from bot.core.services import Services
from storage.models import Job
from storage.schema import JobStatus
from tests.slack.conftest import Studio, run_bot
from tests.slack.person import until
from tests.slack.server import SlackServer
from tests.slack.test_slack_cards import card_in
from tests.slack.world import WORKSPACE

SECRET = "0123456789abcdef0123456789abcdef"
CANARY = "canary-words-of-a-member"


@pytest_asyncio.fixture
async def web(server: SlackServer, services: Services) -> AsyncIterator[Studio]:
    async with run_bot(
        server, services, f"{server.url}/api/", signing_secret=SecretStr(SECRET), port=0
    ) as running:
        yield running


def sign(body: bytes, stamp: str, secret: str = SECRET) -> str:
    mark = b"v0:" + stamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), mark, hashlib.sha256).hexdigest()


def command(server: SlackServer, text: str = CANARY) -> bytes:
    fields = {
        "command": "/imagine", "text": text, "user_id": "UANN", "user_name": "ann",
        "team_id": WORKSPACE, "channel_id": "C1", "trigger_id": server.trigger(),
        "response_url": server.response_url(),
    }  # fmt: skip
    return urlencode(fields).encode()


async def send(studio: Studio, body: bytes, **headers: str) -> tuple[int, str, float]:
    url = f"http://127.0.0.1:{studio.part.port}/slack/events"
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    async with aiohttp.ClientSession() as session:
        began = time.monotonic()
        async with session.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.text(), time.monotonic() - began


def signed(body: bytes, stamp: str | None = None) -> dict[str, str]:
    stamp = stamp or str(int(time.time()))
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": sign(body, stamp)}


def jobs(studio: Studio) -> int:
    return len(studio.database.read(lambda s: s.exec(select(Job)).all()))


async def test_a_signed_command_works_like_over_the_socket(web: Studio) -> None:
    body = command(web.server, "a red apple")
    status, text, _ = await send(web, body, **signed(body))
    assert (status, text) == (200, "")
    card = await card_in(web)
    assert "a red apple" in card.shown()


async def test_slack_asks_whether_the_address_is_ours(web: Studio) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "abc", "token": "x"}).encode()
    status, text, _ = await send(web, body, **signed(body), **{"Content-Type": "application/json"})
    assert (status, "abc" in text) == (200, True)


async def test_the_same_bytes_five_times_are_one_job(web: Studio) -> None:
    body = command(web.server, "a red apple")
    for _ in range(5):
        assert (await send(web, body, **signed(body)))[0] == 200
    await card_in(web)
    assert jobs(web) == 1


STALE = str(int(time.time()) - 301)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Slack-Request-Timestamp": str(int(time.time()))},
        {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "junk"},
        {"X-Slack-Request-Timestamp": "abc", "X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Request-Timestamp": "-1", "X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Request-Timestamp": "1e9", "X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Request-Timestamp": "9" * 40, "X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Request-Timestamp": "", "X-Slack-Signature": ""},
        {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "v0=é"},
    ],
)
async def test_what_slack_did_not_sign_is_refused_and_not_logged(
    web: Studio, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = command(web.server)
    status, text, _ = await send(web, body, **headers)
    assert (status, text) == (401, "")
    assert CANARY not in caplog.text
    assert "Traceback" not in caplog.text
    assert jobs(web) == 0


async def test_an_old_signature_is_no_signature(
    web: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = command(web.server)
    assert (await send(web, body, **signed(body, STALE)))[0] == 401
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace(b"+", b"%20").replace(b"-", b"%2D"),
        lambda body: body + b"&x=1",
        lambda body: body.upper(),
        lambda body: b"\xff\xfe" + body,
        lambda body: b"",
    ],
)
async def test_a_reencoded_body_is_not_what_was_signed(web: Studio, change: object) -> None:
    body = command(web.server)
    other = change(body)  # type: ignore[operator]
    assert other != body
    assert (await send(web, other, **signed(body)))[0] == 401
    assert jobs(web) == 0


async def test_junk_that_is_signed_breaks_nothing(
    web: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for body in (b"", b"{}", b"payload=%7B", b"[1,2]", CANARY.encode() * 1000, b"payload=null"):
        status, _, _ = await send(web, body, **signed(body))
        assert status < 600
    assert CANARY not in caplog.text
    large = b"a" * (2 << 20)
    assert (await send(web, large, **signed(large)))[0] in (401, 413)
    body = command(web.server, "still here")
    assert (await send(web, body, **signed(body)))[0] == 200
    await until(lambda: jobs(web) == 1)


async def test_no_secret_is_logged(web: Studio, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = command(web.server, "a tree")
    await send(web, body, **signed(body))
    web.server.break_next("chat.update", "before", times=1)
    await card_in(web)
    await web.finish(status=JobStatus.FAILED, error_code="crashed", cost=0)
    await until(lambda: web.server.of("chat.update"))
    for secret in ("xoxb-1-canary", "xapp-1-canary", SECRET, "/api/hooks/", "a tree"):
        shown = [r for r in caplog.records if secret in r.getMessage()]
        assert [r for r in shown if r.name.startswith(("bot", "slack"))] == [], secret
