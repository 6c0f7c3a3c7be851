"""A workspace's documents: kept in passages, counted, found again by what they mean.

They belong to the workspace and not to who gave them: a member's export and forgetting leave them
where they are. No passage is ever copied elsewhere: a job keeps that it looks things up, its
recipe the ids and versions of what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, func, select

from storage import embedding
from storage.errors import LimitReached, NotFound
from storage.models import Passage, StoredDocument
from storage.schema import Millis, Quoted
from storage.threads import tokens_of
from storage.workspaces import Actor, lock_as_admin

MOST_BYTES = 128 * 1024
"""Largest file: some 30,000 tokens, a minute of one core to embed."""
PASSAGE_TOKENS = 120
"""Longest passage as the embedding model counts."""
MOST_OF_ONE = 600
"""Passages of one document; a Markdown file of the largest size has some 470."""
MOST_DOCUMENTS = 50
MOST_PASSAGES = 2_000
"""Passages of one workspace: their vectors are read for each question (1.5 MB)."""
BEST = 4
"""Passages that go along with a question at most."""
QUOTED_TOKENS = 400
"""Tokens they may have together."""


@dataclass(frozen=True)
class Piece:
    """A passage ready to be stored."""

    text: str
    vector: bytes


def room_for(context_tokens: int) -> int:
    """Tokens that passages may take of a model's context."""
    return min(QUOTED_TOKENS, context_tokens // 4)


def listed(session: Session, *, workspace_id: str) -> list[StoredDocument]:
    """A workspace's documents by name."""
    return list(
        session.exec(
            select(StoredDocument)
            .where(StoredDocument.workspace_id == workspace_id)
            .order_by(col(StoredDocument.name))
        )
    )


def check_room(session: Session, *, workspace_id: str, name: str, passages: int = 0) -> None:
    """Raise ``LimitReached`` when a document of that name would be one too many, or too long."""
    held = listed(session, workspace_id=workspace_id)
    others = [row for row in held if row.name != name]
    if passages > MOST_OF_ONE:
        raise LimitReached("document_long", limit=MOST_OF_ONE)
    if len(others) >= MOST_DOCUMENTS:
        raise LimitReached("documents_full", limit=MOST_DOCUMENTS)
    if sum(row.passages for row in others) + passages > MOST_PASSAGES:
        raise LimitReached("passages_full", limit=MOST_PASSAGES)


def put(
    session: Session, actor: Actor, *, name: str, sha256: str, size: int,
    pieces: Sequence[Piece], left_out: int, now: Millis,
) -> StoredDocument:  # fmt: skip
    """Store a document, or replace the one of that name by its next version.

    Raises ``NotAllowed('admins_only')`` and as :func:`check_room`.
    """
    space = lock_as_admin(session, actor)
    check_room(session, workspace_id=space.id, name=name, passages=len(pieces))
    row = _named(session, space.id, name)
    if row is None:
        row = StoredDocument(
            workspace_id=space.id, name=name, version=0, sha256="", size=0, passages=0,
            updated_at=now,
        )  # fmt: skip
    else:
        _clear(session, row)
    row.version += 1
    row.sha256, row.size, row.updated_at = sha256, size, now
    row.passages, row.left_out = len(pieces), left_out
    session.add(row)
    session.flush()
    session.add_all(
        Passage(
            workspace_id=space.id, document_id=row.id, place=place, text=piece.text,
            vector=piece.vector,
        )
        for place, piece in enumerate(pieces)
    )  # fmt: skip
    session.flush()
    return row


def remove(session: Session, actor: Actor, name: str) -> None:
    """Delete a document with its passages.

    Raises ``NotAllowed('admins_only')``, ``NotFound('document_unknown')``.
    """
    space = lock_as_admin(session, actor)
    row = _named(session, space.id, name)
    if row is None:
        raise NotFound("document_unknown", name=name[:80])
    _clear(session, row)
    session.delete(row)
    session.flush()


def search(
    session: Session, query: Any, *, workspace_id: str, room: int, best: int = BEST
) -> tuple[Quoted, ...]:
    """The passages of a workspace that are most like a question's vector, the best first.

    None below :data:`storage.embedding.FLOOR`, nor far below the best; together at most ``room``
    tokens (estimated), so that one too long for what is left makes way for a shorter one.
    """
    rows = session.exec(
        select(Passage.id, Passage.vector).where(Passage.workspace_id == workspace_id)
    ).all()
    scores = embedding.likeness(query, [vector for _, vector in rows])
    ranked = sorted(zip(scores, (key for key, _ in rows), strict=True), reverse=True)
    least = max(embedding.FLOOR, ranked[0][0] - embedding.MARGIN) if ranked else 0.0
    wanted = [key for score, key in ranked if score >= least][: 2 * best]
    found = {
        passage.id: (passage, document)
        for passage, document in session.exec(
            select(Passage, StoredDocument)
            .join(StoredDocument, col(StoredDocument.id) == col(Passage.document_id))
            .where(
                Passage.workspace_id == workspace_id,
                StoredDocument.workspace_id == workspace_id,
                col(Passage.id).in_(wanted),
            )
        )
    }
    chosen: list[Quoted] = []
    for key in wanted:
        if key not in found or len(chosen) == best:
            continue
        passage, document = found[key]
        if (cost := tokens_of(passage.text)) <= room:
            room -= cost
            chosen.append(
                Quoted(
                    document_id=document.id, version=document.version, name=document.name,
                    place=passage.place, text=passage.text,
                )
            )  # fmt: skip
    return tuple(chosen)


def named(quoted: Sequence[Quoted]) -> list[dict[str, Any]]:
    """What a recipe says of the passages that went along: each document once, with its version."""
    found: dict[str, dict[str, Any]] = {}
    for one in quoted:
        entry = found.setdefault(
            one.document_id,
            {"id": one.document_id, "version": one.version, "name": one.name, "passages": []},
        )
        if one.place not in entry["passages"]:
            entry["passages"].append(one.place)
    return list(found.values())


def count(session: Session, *, workspace_id: str) -> int:
    """How many passages a workspace has: none means there is nothing to look for."""
    return session.exec(
        select(func.count()).select_from(Passage).where(Passage.workspace_id == workspace_id)
    ).one()


def _named(session: Session, workspace_id: str, name: str) -> StoredDocument | None:
    return session.exec(
        select(StoredDocument).where(
            StoredDocument.workspace_id == workspace_id, StoredDocument.name == name
        )
    ).first()


def _clear(session: Session, row: StoredDocument) -> None:
    session.execute(
        delete(Passage).where(
            col(Passage.workspace_id) == row.workspace_id, col(Passage.document_id) == row.id
        )
    )
