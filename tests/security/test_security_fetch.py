"""Rows 4 and 5 of the attack list: no address of a member's choice is ever fetched, and a token
goes to its own host or nowhere. Through a real TLS server with a certificate of its own."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpcore
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bot.core import fetching
from bot.core.attachment import Attachment
from bot.core.fetching import HOSTS, Fetcher, check_url, is_public
from bot.core.uploads import Uploads
from storage.blobs import Blobs
from storage.errors import BadInput, RetryLater
from storage.schema import Platform

CDN = "cdn.discordapp.com"
PUBLIC = "162.159.130.233"
ATTACKS = [
    line
    for line in (Path(__file__).with_name("urls.txt")).read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "fec0::1",
    "not-an-address",
]  # fmt: skip


def test_only_the_platforms_own_hosts_exactly() -> None:
    assert check_url(f"https://{CDN}/attachments/1/2/a.png?ex=1&hm=2", Platform.DISCORD) == CDN
    assert check_url("https://files.slack.com/files-pri/T1-F1/a.png", Platform.SLACK)
    assert HOSTS.keys() == {Platform.DISCORD, Platform.SLACK}


@pytest.mark.parametrize("url", ATTACKS)
def test_every_other_address_is_refused(url: str) -> None:
    for platform in Platform:
        with pytest.raises(BadInput) as caught:
            check_url(url, platform)
        assert caught.value.code == "upload_host"


def test_a_platforms_file_is_not_anothers() -> None:
    for url, platform in (
        (f"https://{CDN}/a.png", Platform.SLACK),
        ("https://files.slack.com/a.png", Platform.DISCORD),
        (f"https://{CDN}/a.png", Platform.LOCAL),
    ):
        with pytest.raises(BadInput):
            check_url(url, platform)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_out_on_the_internet(address: str) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    assert all(is_public(a) for a in (PUBLIC, "8.8.8.8", "2606:4700::6810:84e5"))


# -- a server of our own ------------------------------------------------------------------------


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(CDN), x509.DNSName("files.slack.com")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


class Site:
    """Answers every connection with ``reply`` and keeps what was asked."""

    def __init__(self) -> None:
        self.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        self.more = b""
        self.asked: list[bytes] = []
        self.sent = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.reply)
            await writer.drain()
            while self.more:
                writer.write(self.more)
                self.sent += len(self.more)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Dial(httpcore.AnyIOBackend):
    """Leads every connection to our server, and keeps the address that was asked for."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.addresses: list[str] = []

    async def connect_tcp(self, host: str, port: int, *rest: Any) -> httpcore.AsyncNetworkStream:
        self.addresses.append(host)
        return await super().connect_tcp("127.0.0.1", self.port, *rest)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[Site, ssl.SSLContext]]:
    pem = certificate(tmp_path)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(pem)
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=ours)
    made.port = server.sockets[0].getsockname()[1]
    yield made, ssl.create_default_context(cafile=str(pem))
    server.close()


def fetcher(site: tuple[Site, ssl.SSLContext], *answers: list[str]) -> tuple[Fetcher, Dial]:
    """A fetcher whose resolver gives these answers in turn."""
    waiting = [*answers]

    async def resolve(host: str) -> list[str]:
        return waiting.pop(0) if waiting else [PUBLIC]

    dial = Dial(site[0].port)
    return Fetcher(resolve=resolve, network=dial, trust=site[1], limit=100_000), dial


async def test_reads_from_the_pinned_address_under_the_right_name(
    site: tuple[Site, ssl.SSLContext],
) -> None:
    fetch, dial = fetcher(site)
    got = await fetch(f"https://{CDN}/a.png", Platform.DISCORD, {})
    assert got == b"hello"
    assert dial.addresses == [PUBLIC], "the connection goes to what was looked up"
    assert f"Host: {CDN}".encode() in site[0].asked[0]


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["169.254.169.254"], ["::1"], []]
)
async def test_a_name_that_leads_inside_is_not_connected_to(
    site: tuple[Site, ssl.SSLContext], answer: list[str]
) -> None:
    fetch, dial = fetcher(site, answer)
    with pytest.raises(BadInput):
        await fetch(f"https://{CDN}/a.png", Platform.DISCORD, {})
    assert dial.addresses == []


async def test_a_name_that_changes_its_mind_is_asked_once(
    site: tuple[Site, ssl.SSLContext],
) -> None:
    """Rebinding: public while it is checked, private when it is used."""
    fetch, dial = fetcher(site, [PUBLIC], ["127.0.0.1"])
    await fetch(f"https://{CDN}/a.png", Platform.DISCORD, {})
    assert dial.addresses == [PUBLIC]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 403])
async def test_no_redirect_is_followed(site: tuple[Site, ssl.SSLContext], status: int) -> None:
    site[0].reply = (
        f"HTTP/1.1 {status} Go\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    fetch, dial = fetcher(site)
    with pytest.raises(BadInput) as caught:
        await fetch(f"https://{CDN}/a.png", Platform.DISCORD, {"Authorization": "Bearer x"})
    assert caught.value.code == "upload_gone"
    assert len(dial.addresses) == 1


async def test_reading_stops_at_the_cap_whatever_was_announced(
    site: tuple[Site, ssl.SSLContext],
) -> None:
    site[0].reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    site[0].more = b"x" * 65_536
    fetch, _ = fetcher(site)
    with pytest.raises(BadInput) as caught:
        await fetch(f"https://{CDN}/a.png", Platform.DISCORD, {})
    assert caught.value.code == "upload_large"


async def test_a_server_that_hangs_is_given_up(
    site: tuple[Site, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PATIENCE_S", 0.2)
    site[0].reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"
    fetch, _ = fetcher(site)
    with pytest.raises(RetryLater):
        await fetch(f"https://{CDN}/a.png", Platform.DISCORD, {})


async def test_another_servers_certificate_is_not_taken(
    site: tuple[Site, ssl.SSLContext],
) -> None:
    fetch = Fetcher(
        resolve=fetcher(site)[0]._network._resolve,  # type: ignore[attr-defined]
        network=Dial(site[0].port),
        trust=ssl.create_default_context(),
    )
    with pytest.raises(RetryLater):
        await fetch(f"https://{CDN}/a.png", Platform.DISCORD, {})
    assert site[0].asked == []


async def test_the_token_goes_to_its_host_or_nowhere(
    site: tuple[Site, ssl.SSLContext], tmp_path: Path
) -> None:
    fetch, dial = fetcher(site)
    uploads = Uploads(Blobs(tmp_path), fetch)
    asked: list[str] = []

    def headers(host: str) -> dict[str, str]:
        asked.append(host)
        return {"Authorization": "Bearer xoxb-canary"}

    uploads.authorise(Platform.SLACK, headers)
    for change in (
        {"external": True},
        {"url": "https://docs.google.com/d/1"},
        {"url": "https://files.slack.com.evil.example/a"},
        {"url": "https://files.slack.com@evil.example/a"},
        {"url": f"https://{CDN}/a.png"},
        {"size": 11 * 2**20},
    ):
        wish = {
            "platform": Platform.SLACK, "name": "a.png", "size": 5,
            "url": "https://files.slack.com/files-pri/T1-F1/a.png",
        } | change  # fmt: skip
        with pytest.raises(BadInput):
            await uploads.read(Attachment(**wish))  # type: ignore[arg-type]
    assert asked == []
    assert dial.addresses == []
    good = Attachment(
        platform=Platform.SLACK, name="a", size=5, url="https://files.slack.com/files-pri/a.png"
    )
    assert await uploads.read(good) == b"hello"
    assert asked == ["files.slack.com"]
    assert b"Authorization: Bearer xoxb-canary" in site[0].asked[0]


async def test_inline_bytes_come_from_the_local_page_only(tmp_path: Path) -> None:
    uploads = Uploads(Blobs(tmp_path))
    data = Attachment(platform=Platform.LOCAL, name="a", size=1, data=b"x")
    assert await uploads.read(data) == b"x"
    with pytest.raises(BadInput):
        await uploads.read(data.model_copy(update={"platform": Platform.DISCORD}))
    with pytest.raises(BadInput):
        await uploads.read(data.model_copy(update={"data": b"x" * (10 * 2**20 + 1)}))


def test_addresses_are_judged_as_the_library_does() -> None:
    """Whatever Python calls not global is never public here, over the special ranges."""
    for network in ("10.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10", "100.64.0.0/10"):
        assert not is_public(str(ipaddress.ip_network(network)[1]))
