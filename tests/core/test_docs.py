"""`/docs` through the front door, on both databases, with the real filters and embedding model."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from bot.core.attachment import Attachment
from bot.core.reply import Reply
from storage import documents, embedding
from storage.chunking import passages
from storage.database import Database
from storage.models import DecisionRecord, Passage, StoredDocument, Workspace
from storage.schema import Platform
from tests.fakes import FakeAdapter

HANDBOOK = """# Garden rules

## Dogs

Dogs must be on a lead in the rose garden. In the meadow they may run free before nine.

## Opening hours

The garden opens at seven and closes at sunset. On Mondays it is closed.
"""


def text_file(text: str | bytes, name: str = "handbook.md") -> Attachment:
    data = text.encode() if isinstance(text, str) else text
    return Attachment(platform=Platform.LOCAL, name=name, size=len(data), data=data)


async def add(fake: FakeAdapter, text: str | bytes, name: str = "handbook.md", **v: Any) -> Reply:
    return await fake.say(
        "docs", "boss", role="admin", action="add", file=text_file(text, name), **v
    )


def stored(database: Database) -> list[Passage]:
    return database.read(lambda s: list(s.exec(select(Passage).order_by(Passage.place))))  # type: ignore[arg-type]


async def test_an_admin_adds_replaces_and_removes_and_members_read_the_list(
    fake: FakeAdapter, database: Database
) -> None:
    refused = await fake.say("docs", action="add", file=text_file(HANDBOOK))
    assert refused.code == "admins_only" and stored(database) == []
    first = await add(fake, HANDBOOK)
    assert first.code is None, first.text
    assert (first.data["version"], first.data["passages"]) == (1, 2)
    dogs, hours = stored(database)
    assert dogs.text.startswith("Garden rules / Dogs\nDogs must be on a lead")
    assert len(dogs.vector) == len(hours.vector) == 2 * embedding.SIZE
    assert (await add(fake, HANDBOOK)).data["version"] == 1, "the same file again changes nothing"
    second = await add(fake, "# Dogs\nNo dogs any more.")
    assert (second.data["id"], second.data["version"]) == (first.data["id"], 2)
    assert [p.text for p in stored(database)] == ["Dogs\nNo dogs any more."]
    listed = await fake.say("docs")
    assert "handbook.md" in listed.text and "chat.retrieval" in listed.text
    assert (await fake.say("docs", action="remove", document="handbook.md")).code == "admins_only"
    fake.locale = "zh"
    gone = await fake.say("docs", "boss", role="admin", action="remove", document="handbook.md")
    assert "已删除" in gone.text
    assert stored(database) == []
    assert database.read(lambda s: s.exec(select(StoredDocument)).all()) == []
    again = await fake.say("docs", "boss", role="admin", action="remove", document="handbook.md")
    assert again.code == "document_unknown"


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"\xff\xfe\x00", "a.txt", "document_format"),
        (b"a\x00b", "a.txt", "document_format"),
        (b"\x89PNG\r\n\x1a\n", "a.md", "document_format"),
        ("hello", "a.exe", "document_format"),
        ("  \n ", "a.txt", "document_empty"),
        ("a" * (documents.MOST_BYTES + 1), "a.txt", "document_large"),
        ("The naked child.", "a.txt", "document_refused"),
        ("hello", "naked child.txt", "document_name_refused"),
    ],
)
async def test_what_cannot_be_stored_is_said_and_leaves_nothing(
    fake: FakeAdapter, database: Database, data: str | bytes, name: str, code: str
) -> None:
    reply = await add(fake, data, name)
    assert reply.code == code
    assert "naked" not in reply.text
    assert stored(database) == []
    if code.endswith("_refused"):
        assert database.read(lambda s: s.exec(select(DecisionRecord)).all()), "why is written down"


async def test_documents_and_passages_are_counted(
    fake: FakeAdapter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_DOCUMENTS", 1)
    monkeypatch.setattr(documents, "MOST_PASSAGES", 2)
    assert (await add(fake, HANDBOOK)).code is None
    assert (await add(fake, "More.", "more.md")).code == "documents_full"
    monkeypatch.setattr(documents, "MOST_DOCUMENTS", 2)
    assert (await add(fake, "More.", "more.md")).code == "passages_full"
    assert (await add(fake, HANDBOOK.replace("seven", "eight"))).code is None, "in its own place"
    monkeypatch.setattr(documents, "MOST_OF_ONE", 1)
    assert (await add(fake, HANDBOOK)).code == "document_long"
    assert len(stored(database)) == 2


async def test_search_stays_in_its_workspace_above_the_floor_and_in_its_room(
    fake: FakeAdapter, database: Database
) -> None:
    await add(fake, HANDBOOK)
    fake.workspace = "guild-2"
    await add(fake, "Dogs are welcome everywhere in the north, without a lead.", "north.md")
    spaces = database.read(lambda s: {w.external_id: w.id for w in s.exec(select(Workspace))})

    def found(space: str, question: str, room: int = 400) -> list[str]:
        query = embedding.embed_query(question)
        return [
            one.name
            for one in database.read(
                documents.search, query, workspace_id=spaces[space], room=room
            )
        ]  # fmt: skip

    assert found("guild-1", "May my dog run free?")[0] == "handbook.md"
    assert set(found("guild-1", "May my dog run free?")) == {"handbook.md"}
    assert found("guild-2", "May my dog run free?") == ["north.md"]
    assert found("guild-1", "What is the capital of France?") == []
    assert found("guild-1", "May my dog run free?", room=5) == []
    assert found("guild-1", "x " * 5_000) is not None, "a long question is cut"


def test_passages_keep_every_word_within_the_bound() -> None:
    text = HANDBOOK + "\n\n" + "One more sentence about roses. " * 60 + "\n```\n# no heading\n```\n"
    text += "玫瑰园每天开放。" * 80 + "\n" + "x" * 900
    cut = passages(text, documents.PASSAGE_TOKENS, embedding.tokens)
    assert max(map(embedding.tokens, cut)) <= documents.PASSAGE_TOKENS
    joined = "".join("".join(cut).split())
    assert joined.count("Onemoresentence") == 60
    assert joined.count("玫瑰园每天开放。") == 80
    assert joined.count("x") >= 900 and "#noheading" in joined
