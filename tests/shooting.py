"""A studio of its own for pictures to look at: real services in a folder that goes afterwards."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bot.core.services import Services
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.migrate import migrate
from storage.queue import Wire
from tests.fakes import make_services

LOCALES = {"en": "en-US", "zh": "zh-CN"}
"""Our languages and what a browser calls them."""


@asynccontextmanager
async def studio(clock: Callable[[], int]) -> AsyncIterator[Services]:
    """Real Valkey, SQLite and core, at the moment of this clock."""
    home = Path(tempfile.mkdtemp(prefix="atelier-shots-"))
    valkey = EmbeddedValkey(home / "valkey")
    try:
        wire = await Wire.connect(valkey.start())
        database = Database(f"sqlite:///{home / 'shots.db'}")
        migrate(database)
        try:
            yield make_services(database, wire, home, clock=clock)
        finally:
            await wire.close()
            database.close()
    finally:
        valkey.stop()
        shutil.rmtree(home, ignore_errors=True)


def run(main: Callable[[Path], Awaitable[None]]) -> None:
    """Every picture into the folder that the command line names, else ``shots``."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "shots")
    folder.mkdir(parents=True, exist_ok=True)

    async def all_of_them() -> None:
        await main(folder)

    asyncio.run(all_of_them())
