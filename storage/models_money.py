"""The tables of credits by hand, settings' history and switches; part of :mod:`storage.models`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.schema import new_id


class TierGrant(SQLModel, table=True):
    """A tier an admin gave a member, until a moment or until taken back."""

    __tablename__ = "tier_grant"

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id", index=True)
    tier_id: str = Field(foreign_key="tier.id")
    by: str = Field(foreign_key="member.id")
    reason: str = ""
    until: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)


class PromoCode(SQLModel, table=True):
    """A code that gives credits, a limited number of times, once per member."""

    __tablename__ = "promo_code"
    __table_args__ = (
        UniqueConstraint("workspace_id", "code"),
        CheckConstraint("uses <= max_uses", name="promo_not_overused"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    code: str
    """Upper case, 4 to 32 letters, digits and dashes."""
    credits: int
    max_uses: int
    uses: int = 0
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
    by: str = Field(foreign_key="member.id")
    created_at: int = Field(sa_type=BigInteger)


class LinkCode(SQLModel, table=True):
    """A one-time code with which a person says: that account elsewhere is me too."""

    __tablename__ = "link_code"

    id: str = Field(primary_key=True)
    """SHA-256 of the code: the row does not give it away."""
    member_id: str = Field(foreign_key="member.id", index=True)
    expires_at: int = Field(sa_type=BigInteger)
    used_at: int | None = Field(default=None, sa_type=BigInteger)


class Intent(SQLModel, table=True):
    """Something a member asked for and has yet to confirm, with everything it needs."""

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id")
    kind: str
    data: dict[str, Any] = Field(sa_type=JSON)
    expires_at: int = Field(sa_type=BigInteger)
    used_at: int | None = Field(default=None, sa_type=BigInteger)


class SettingChange(SQLModel, table=True):
    """One change of a workspace's settings: who, when, before, after."""

    __tablename__ = "setting_change"

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id")
    path: str
    """Dotted: ``limits.burst``; empty when the whole document was replaced."""
    before: dict[str, Any] = Field(sa_type=JSON)
    """``{"value": ...}``, or ``{}`` where nothing was set."""
    after: dict[str, Any] = Field(sa_type=JSON)
    undoes: str | None = None
    """The change this one takes back."""
    created_at: int = Field(sa_type=BigInteger)


class Switch(SQLModel, table=True):
    """An operator's switch, such as *stop*: nothing new anywhere while it is on."""

    id: str = Field(primary_key=True)
    on: bool = False
    note: str = ""
    changed_at: int = Field(sa_type=BigInteger)
