"""The tables of what was judged: decision records and picture hashes; part of
:mod:`storage.models`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.schema import new_id


class DecisionRecord(SQLModel, table=True):
    """One judged content: what it was, what was found, by which rules, what was done and why."""

    __tablename__ = "decision_record"
    __table_args__ = (
        Index("ix_decision_member", "member_id", "id"),
        Index("ix_decision_workspace", "workspace_id", "id"),
        Index("ix_decision_key", "workspace_id", "key"),
        Index("ix_decision_expires", "expires_at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id")
    member_id: str | None = Field(default=None, foreign_key="member.id")
    key: str = ""
    """The invocation's key: finds the job that a prompt became."""
    job_id: str | None = None
    generation_id: str | None = None
    surface: str
    text: str = Field(default="", sa_type=Text)
    """What was typed or answered, personal data masked; empty for pictures and sealed content."""
    normalised: str = Field(default="", sa_type=Text)
    """The text as the filters saw it after undoing disguises, masked as well."""
    sealed: str | None = Field(default=None, sa_type=Text)
    """Child-abuse text, encrypted; only for the operator's duty to report."""
    image_sha256: str | None = None
    image_hash: str | None = None
    """PDQ, 64 hexadecimal digits."""
    outcome: str
    flags: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    scores: dict[str, float] = Field(default_factory=dict, sa_type=JSON)
    thresholds: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """The workspace's differences from the default lines at that time."""
    versions: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    ms: int = 0
    statement: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger)


class PictureHash(SQLModel, table=True):
    """A perceptual hash of a picture that was made here, denied or decided by a person."""

    __tablename__ = "picture_hash"
    __table_args__ = (Index("ix_picture_hash_bank", "bank", "workspace_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str | None = Field(default=None, foreign_key="workspace.id")
    """None: for every workspace of this studio."""
    bank: str
    """``made``, ``deny`` or ``allow`` (a moderator looked and let it pass)."""
    pdq: str
    quality: int = 0
    file_sha256: str | None = Field(default=None, index=True)
    generation_id: str | None = None
    category: str = ""
    """Why it is denied: a policy code."""
    created_at: int = Field(sa_type=BigInteger)


class LearnedLabel(SQLModel, table=True):
    """What a decided case says about one text; what a workspace's own heads learn from."""

    __tablename__ = "learned_label"
    __table_args__ = (UniqueConstraint("workspace_id", "record_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id", index=True)
    """Who wrote or asked for it: texts of one person never stand on both sides of a split."""
    case_id: str = Field(foreign_key="review_case.id")
    record_id: str
    """The decision record it was read from, which ends earlier than the label."""
    surface: str
    text: str = Field(sa_type=Text)
    """Personal data masked, as in the record."""
    codes: dict[str, int] = Field(sa_type=JSON)
    """Policy code to 1 (a violation, said a moderator) or 0 (not one)."""
    created_at: int = Field(sa_type=BigInteger)


class LearnedHead(SQLModel, table=True):
    """One attempt to learn from a workspace's decisions: what came of it, and the weights."""

    __tablename__ = "learned_head"
    __table_args__ = (UniqueConstraint("workspace_id", "number"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    number: int
    """1, 2, 3 ... of this workspace: two workers never make the same one."""
    base: str
    """The shipped heads' version it was made beside; with others it is not used."""
    version: str = ""
    """The first digits of the weights' hash; empty when nothing was promoted."""
    active: bool = False
    weights: bytes | None = Field(default=None, sa_type=LargeBinary)
    """Numbers only; kept of the active one alone."""
    report: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """Per code: labels, figures before and after, the gate, and why it was promoted or not."""
    created_at: int = Field(sa_type=BigInteger)
