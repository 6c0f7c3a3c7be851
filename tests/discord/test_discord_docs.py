"""A text file comes to `/docs` as Discord's own attachment, fetched from Discord's own host."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from sqlmodel import select

from bot.core import fetching
from storage import documents
from storage.models import StoredDocument
from storage.schema import Platform
from tests.discord.stage import Stage
from tests.drivers.discord_driver import DiscordDriver


async def test_an_admin_gives_a_document(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def network(url: str, platform: Platform, headers: Mapping[str, str]) -> bytes:
        asked.append(url)
        return b"The garden opens at seven."

    monkeypatch.setattr(stage.services.uploads, "_fetch", network)
    # Where the simulated Discord keeps its files.
    monkeypatch.setitem(fetching.HOSTS, Platform.DISCORD, frozenset({"cdn.simcord.invalid"}))  # type: ignore[arg-type]
    driver = DiscordDriver(stage)
    file = ("handbook.md", b"The garden opens at seven.")
    await driver.use("docs", "ann", action="add", file=file)
    assert "admin" in (await driver.notes("ann"))[-1].lower() and asked == []
    await driver.use("docs", "boss", action="add", file=file)
    assert "handbook.md" in (await driver.notes("boss"))[-1]
    assert len(asked) == 1
    await driver.use("docs", "ann")
    assert "handbook.md" in (await driver.notes("ann"))[-1]
    held = stage.database.read(lambda s: s.exec(select(StoredDocument)).one())
    assert held.version == 1 and documents.MOST_BYTES > held.size > 0
