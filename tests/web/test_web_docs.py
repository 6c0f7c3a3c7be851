"""A text file sent along with the line `/docs action:add`, as the page posts it."""

from __future__ import annotations

from pathlib import Path

from storage.database import Database
from storage.queue import Wire
from tests.drivers.web_driver import driving
from tests.fakes import make_services


async def test_the_owner_gives_a_document(
    sqlite_database: Database, wire: Wire, tmp_path: Path
) -> None:
    services = make_services(sqlite_database, wire, tmp_path)
    await services.prompt_gate.load()
    async with driving(services) as face, face._client("ann") as client:
        file = {"file0": ("handbook.md", b"The garden opens at seven.", "text/markdown")}
        answer = await client.post("/invoke", data={"line": "/docs action:add"}, files=file)
        assert "handbook.md" in answer.text and answer.status_code == 200
        picture = {"file0": ("a.png", b"\x89PNG", "image/png")}
        refused = await client.post("/invoke", data={"line": "/docs action:add"}, files=picture)
        assert "document_format" in refused.text
        await face.use("docs")
        assert "handbook.md" in (await face.notes("ann"))[-1]
