"""The tables of the review room: decisions, appeals, strikes, reports, the audit log."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.schema import new_id


class Decision(SQLModel, table=True):
    """A moderator's ruling on a case, with its reason; taken back, never edited."""

    id: str = Field(default_factory=new_id, primary_key=True)
    case_id: str = Field(foreign_key="review_case.id", index=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    moderator_id: str = Field(foreign_key="member.id")
    action: str = Field(sa_type=Text)
    """A :class:`storage.review_words.Ruling`."""
    code: str = Field(sa_type=Text)
    """The policy code it rests on; empty for an approval."""
    note: str = Field(default="", sa_type=Text)
    """For moderators and the statement of reasons; plain words."""
    before: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """What an undo puts back: the generation's status and the member's ban."""
    confirmed_by: str | None = Field(default=None, foreign_key="member.id")
    """The second pair of eyes, where the workspace asks for one."""
    blind: bool = False
    """A second look that did not see the first and changes nothing."""
    proposed: bool = False
    """Waits for the second pair of eyes; nothing has happened yet."""
    batch: str | None = Field(default=None, index=True)
    """What the rulings of one bulk act have in common: they are taken back together."""
    undone_at: int | None = Field(default=None, sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)


class Appeal(SQLModel, table=True):
    """A member's request to look again at one decision; decided by somebody else."""

    __table_args__ = (UniqueConstraint("decision_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    case_id: str = Field(foreign_key="review_case.id", index=True)
    decision_id: str = Field(foreign_key="decision.id")
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id")
    text: str = Field(default="", sa_type=Text)
    decided_by: str | None = Field(default=None, foreign_key="member.id")
    upheld: bool | None = None
    """True: the decision stands. False: it is overturned. None: not decided yet."""
    note: str = Field(default="", sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    decided_at: int | None = Field(default=None, sa_type=BigInteger)


class Strike(SQLModel, table=True):
    """A mark against a member that expires; voided when its decision falls."""

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id", index=True)
    case_id: str | None = Field(default=None, foreign_key="review_case.id")
    decision_id: str | None = Field(default=None, foreign_key="decision.id")
    code: str = Field(sa_type=Text)
    weight: int
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger)
    voided_at: int | None = Field(default=None, sa_type=BigInteger)


class Report(SQLModel, table=True):
    """One member's report; several about one generation join one case."""

    __table_args__ = (UniqueConstraint("case_id", "member_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    case_id: str = Field(foreign_key="review_case.id", index=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id", index=True)
    kind: str = Field(default="", sa_type=Text)
    """``ncii`` goes first, with a clock of its own; empty for the rest."""
    created_at: int = Field(sa_type=BigInteger)


class Act(SQLModel, table=True):
    """One line of a workspace's audit log; each holds the hash of the one before."""

    __table_args__ = (UniqueConstraint("workspace_id", "number"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    number: int
    """1, 2, 3 ... without a gap in each workspace."""
    actor_id: str | None = Field(default=None, foreign_key="member.id")
    """None: the machine did it."""
    verb: str = Field(sa_type=Text)
    target: str = Field(sa_type=Text)
    before: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    after: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    at: int = Field(sa_type=BigInteger)
    previous: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    """SHA-256 over everything above, ``previous`` included."""


class SavedView(SQLModel, table=True):
    """A moderator's own name for a filter of the queue."""

    __table_args__ = (UniqueConstraint("workspace_id", "member_id", "name"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id")
    name: str = Field(sa_type=Text)
    filters: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """A :class:`storage.review_queue.QueueFilter`, what differs from its defaults."""
    created_at: int = Field(sa_type=BigInteger)


class CaseTranslation(SQLModel, table=True):
    """What was asked, by machine in a moderator's language; a row without text waits for it."""

    __table_args__ = (UniqueConstraint("case_id", "locale"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    case_id: str = Field(foreign_key="review_case.id")
    locale: str
    """The language it is put into."""
    text: str = Field(default="", sa_type=Text)
    model: str = Field(default="")
    """The chat model that wrote it."""
    tries: int = 0
    created_at: int = Field(sa_type=BigInteger)
    done_at: int | None = Field(default=None, index=True, sa_type=BigInteger)
    """When it was written or given up; None while it waits."""
