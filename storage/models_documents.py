"""The tables of a workspace's documents: what an admin gave the chat to look things up in; part of
:mod:`storage.models`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.schema import new_id


class StoredDocument(SQLModel, table=True):
    """One text file of a workspace. It is the workspace's own, not its uploader's."""

    __tablename__ = "stored_document"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    name: str
    """As members read it: cleaned and judged, at most 80 characters."""
    version: int = 1
    """1, then one more each time a file of this name replaces it."""
    sha256: str
    """Of its bytes: the same file again changes nothing."""
    size: int
    """Bytes."""
    passages: int
    """How many of its passages can be found."""
    left_out: int = 0
    """How many the filters would have held: they are not stored."""
    updated_at: int = Field(sa_type=BigInteger)


class Passage(SQLModel, table=True):
    """A piece of a document, short enough to be embedded whole, and its vector."""

    __tablename__ = "passage"
    __table_args__ = (Index("ix_passage_document", "workspace_id", "document_id", "place"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id")
    document_id: str = Field(foreign_key="stored_document.id")
    place: int
    """0, 1, 2 ... in the document."""
    text: str = Field(sa_type=Text)
    vector: bytes = Field(sa_type=LargeBinary)
    """384 numbers of length one, little-endian float16."""
