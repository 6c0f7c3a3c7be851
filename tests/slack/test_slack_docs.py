"""A text file comes to `/docs` by its dialogue or with a message; slash commands carry none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import select

from storage.models import StoredDocument
from storage.schema import Platform
from tests.slack.conftest import Studio
from tests.slack.person import until


def held(studio: Studio) -> dict[str, int]:
    rows = studio.services.database.read(lambda s: s.exec(select(StoredDocument)).all())
    return {row.name: row.version for row in rows}


async def test_an_admin_gives_documents(studio: Studio) -> None:
    async def network(url: str, platform: Platform, headers: Mapping[str, str]) -> bytes:
        return b"The garden opens at seven."

    studio.services.uploads._fetch = network
    studio.server.people["UADMIN"] = {"is_admin": True}
    boss = studio.person("UADMIN")
    facts: dict[str, Any] = {"mimetype": "text/markdown"}
    await boss.slash("/docs")
    (view,) = await until(lambda: list(studio.server.views.values()))
    kinds = {b["block_id"]: b["element"] for b in view["blocks"] if b["type"] == "input"}
    assert kinds["option.file"]["filetypes"] == ["md", "txt"]
    file = studio.server.add_file(name="handbook.md", **facts)
    await boss.submit(view, action="add", file=file)
    await until(lambda: held(studio) == {"handbook.md": 1})
    other = studio.server.add_file(name="rules.txt", **facts)
    await boss.write("docs: action:add", files=[other])
    await until(lambda: held(studio) == {"handbook.md": 1, "rules.txt": 1})
