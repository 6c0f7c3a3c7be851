"""The parts of a studio: what a worker is told, a Valkey that comes back, the page's names."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest
import redis

from bot.doctor import _door
from bot.instance import valkeys_in
from bot.parts import Broker, worker_env
from bot.settings import BotSettings, load_settings
from bot.up import names_of, up
from storage.embedded import EmbeddedValkey
from storage.errors import OperatorError


def test_a_worker_gets_no_platform_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISCORD_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "WEB_TOKEN"):
        monkeypatch.setenv(f"ATELIER_{name}", "canary-secret")
    monkeypatch.setenv("ATELIER_MAX_IMAGES", "2")
    told = worker_env(BotSettings(), "redis://:p@127.0.0.1:1/0")
    assert "canary-secret" not in told.values()
    assert told["ATELIER_MAX_IMAGES"] == "2"
    assert told["ATELIER_PARENT_PID"] == str(os.getpid())


def test_an_embedded_valkey_asks_for_its_password_from_the_start(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    url = server.start()
    try:
        with redis.Redis.from_url(url) as client:
            assert client.ping()
        with (
            redis.Redis(port=int(url.rpartition(":")[2].split("/")[0])) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        assert (tmp_path / "valkey").stat().st_mode & 0o077 == 0
    finally:
        server.stop()


async def test_a_valkey_that_cannot_start_again_at_once_is_tried_until_it_does(
    tmp_path: Path,
) -> None:
    """Its port is taken for a while: the keeper lives on, and the old URL works in the end."""
    broker = Broker(BotSettings(home=tmp_path, redis_url=""))
    url = await broker.start()
    said: list[str] = []
    keeping = asyncio.create_task(broker.keep(said.append))
    port = int(url.rpartition(":")[2].split("/")[0])
    try:
        for server in valkeys_in(broker.folder):
            server.kill()
            server.wait(5)
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", port))
            thief.listen()
            await asyncio.sleep(2.5)
            assert not keeping.done()
            assert not valkeys_in(broker.folder)
        with redis.Redis.from_url(url) as client:
            async with asyncio.timeout(60):
                while True:
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        await asyncio.sleep(0.1)
        assert said == ["Valkey stopped; starting it again."]
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await broker.stop()


@pytest.mark.parametrize(
    ("host", "more", "known"),
    [
        ("127.0.0.1", "", {"127.0.0.1"}),
        ("192.168.1.5", "", {"192.168.1.5"}),
        ("::1", "", {"[::1]"}),
        ("fd00::5", "", {"[fd00::5]"}),
        ("my-box", "", {"my-box"}),
        ("127.0.0.1", "studio.example, Art.example:8443,fd00::7,", {
            "127.0.0.1", "studio.example", "Art.example", "[fd00::7]",
        }),
    ],
)  # fmt: skip
def test_the_page_answers_to_the_host_in_force(host: str, more: str, known: set[str]) -> None:
    assert names_of(BotSettings(web_host=host, web_hosts=more)) == known


async def test_a_page_that_listens_everywhere_answers_to_its_own_names_only(home: Path) -> None:
    """As in a container, where it listens on 0.0.0.0 and is reached as 127.0.0.1 or localhost."""
    settings = BotSettings(home=home, web_host="0.0.0.0", web_port=0, web_hosts="studio.example")
    links: list[str] = []
    running = asyncio.create_task(up(settings, lambda _: None, links.append, worker=False))
    async with asyncio.timeout(60):
        while not links:
            assert not running.done(), running
            await asyncio.sleep(0.05)
    url = links[0].split("/?")[0]
    port = url.rpartition(":")[2]
    own = sorted(names_of(settings) - {"studio.example"})
    async with httpx.AsyncClient() as client:
        for name in ("127.0.0.1", "localhost", "studio.example", *own):
            answer = await client.get(url, headers={"Host": f"{name}:{port}"})
            assert answer.status_code == 401, name
        for name in ("evil.example", "example", "studio.example.evil"):
            answer = await client.get(url, headers={"Host": f"{name}:{port}"})
            assert answer.status_code == 421, name
    os.kill(os.getpid(), signal.SIGTERM)
    await running


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://studio.example", "studio.example"), ("https://Art.example:8443/", "art.example"),
        ("http://127.0.0.1:8642", "127.0.0.1"), ("http://[::1]:8642", "[::1]"),
    ],
)  # fmt: skip
def test_a_public_address_is_answered_to(url: str, name: str) -> None:
    settings = BotSettings(web_url=url)
    assert settings.web_url == url.rstrip("/").lower()
    assert name in names_of(settings) | {"127.0.0.1"}


@pytest.mark.parametrize(
    "url",
    [
        "art.example", "https://:80", "https://art.example/page", "https://a.example?b=1",
        "https://me:pw@a.example", "ftp://a.example", "javascript:alert(1)", "https://a.example:0",
        "https://a.example:99999", "https://a b.example", "https://a.example#x", "https://[::1",
        "https://a.example\n.evil.example",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_named_at_the_start(url: str) -> None:
    with pytest.raises(OperatorError) as refused:
        load_settings(web_url=url)
    assert "ATELIER_WEB_URL" in str(refused.value) and url not in str(refused.value)


def test_doctor_says_whether_moderators_can_come_to_the_page() -> None:
    def said(**given: str) -> list[tuple[str, str]]:
        return [(str(f.level), f.says) for f in _door(BotSettings(**given))]  # type: ignore[arg-type]

    assert said() == []
    [(level, words)] = said(discord_token="x")
    assert level == "ok" and "ATELIER_WEB_URL" in words
    [(level, words)] = said(web_url="http://studio.example")
    assert level == "note" and "in clear" in words
    for fine in ("https://studio.example", "http://127.0.0.1:8642"):
        [(level, words)] = said(web_url=fine)
        assert level == "ok" and fine in words
