"""The one place that fetches something a member pointed at: attachments, from three hosts.

No URL anybody typed comes here. An attachment's host must be one of the platform's own, exactly;
the name is resolved once, every address it has must be public, and the connection goes to the one
that was looked at, so that a name which changes its mind in between changes nothing. No redirect is
followed, no proxy of the environment is used, and reading stops at the cap. Source: RELIABILITY.md
5, rows 4 and 5; OWASP's SSRF cheat sheet.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import urlsplit

import httpcore

from bot.core.decode import MAX_BYTES
from storage.errors import BadInput, RetryLater
from storage.schema import Platform

HOSTS: Mapping[Platform, frozenset[str]] = {
    Platform.DISCORD: frozenset({"cdn.discordapp.com", "media.discordapp.net"}),
    Platform.SLACK: frozenset({"files.slack.com"}),
}
"""Where each platform keeps its attachments. The others have none to fetch."""
PATIENCE_S = 10.0
"""Longest a whole download may take."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for IPv4 ones, private ones too."""

Resolve = Callable[[str], Awaitable[list[str]]]
"""The addresses of a host name."""
Fetch = Callable[[str, Platform, Mapping[str, str]], Awaitable[bytes]]
"""Bytes of an attachment's URL on a platform, asked with these headers."""


async def resolve(host: str) -> list[str]:
    """Every address the system's resolver knows for a name."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, 443, type=1)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an address is out on the internet: not ours, not a neighbour's, not a trick."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return False
        if ip.is_site_local or ip in _NAT64:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def check_url(url: str, platform: Platform) -> str:
    """The host of an attachment's URL. Raises ``BadInput('upload_host')`` for any other URL."""
    hosts = HOSTS.get(platform, frozenset())
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput("upload_host") from error
    plain = url.isascii() and url.isprintable() and "\\" not in url and " " not in url
    exact = parts.netloc in hosts  # so: no user, no port, no trailing dot, no other case
    if not plain or parts.scheme != "https" or port is not None or not exact:
        raise BadInput("upload_host")
    return parts.netloc


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the address that was looked at; TLS still asks for the name."""

    def __init__(self, resolve: Resolve, inner: httpcore.AsyncNetworkBackend) -> None:
        self._resolve = resolve
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[typing.Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host)
        if not addresses or not all(is_public(address) for address in addresses):
            raise BadInput("upload_host")
        return await self._inner.connect_tcp(
            addresses[0], port, timeout, local_address, socket_options
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[typing.Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise BadInput("upload_host")


class Fetcher:
    """Downloads attachments. ``network`` and ``trust`` are for tests that have their own server."""

    def __init__(
        self,
        *,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
        trust: ssl.SSLContext | None = None,
        limit: int = MAX_BYTES,
    ) -> None:
        self._network = _Pinned(resolve, network or httpcore.AnyIOBackend())
        self._trust = trust
        self._limit = limit

    async def __call__(self, url: str, platform: Platform, headers: Mapping[str, str]) -> bytes:
        """The bytes. ``headers`` may hold a token: they go to the checked host and nowhere else.

        Raises ``BadInput`` (``upload_host``, ``upload_large``, ``upload_gone``) or ``RetryLater``.
        """
        check_url(url, platform)
        # A fresh context each time keeps no state; making one costs 10 ms, an upload seconds.
        trust = self._trust or await asyncio.to_thread(ssl.create_default_context)
        try:
            async with (
                asyncio.timeout(PATIENCE_S),
                httpcore.AsyncConnectionPool(
                    ssl_context=trust, network_backend=self._network, max_connections=1, retries=0
                ) as pool,
                pool.stream(
                    "GET", url, headers=[("Accept", "image/*, text/*"), *headers.items()]
                ) as answer,
            ):
                return await self._read(answer)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise RetryLater(f"attachment: {type(error).__name__}") from error
        except (OSError, TimeoutError) as error:
            raise RetryLater(f"attachment: {type(error).__name__}") from error

    async def _read(self, answer: httpcore.Response) -> bytes:
        if answer.status >= 500 or answer.status == 429:
            raise RetryLater(f"attachment: status {answer.status}")
        if answer.status != 200:  # a redirect too: the platform's own files need none
            raise BadInput("upload_gone")
        parts = bytearray()
        async for part in answer.aiter_stream():
            parts += part
            if len(parts) > self._limit:
                raise BadInput("upload_large", limit=self._limit >> 20)
        return bytes(parts)
