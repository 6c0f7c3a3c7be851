"""Tiers with more limits, tier grants, codes, linked members, settings history, switches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIER_COLUMNS = (
    ("max_side", sa.Integer(), "2048"),
    ("max_steps", sa.Integer(), "150"),
    ("max_count", sa.Integer(), "4"),
    ("models", sa.JSON(), "'[]'"),
    ("adapters", sa.Boolean(), None),
    ("private", sa.Boolean(), None),
    ("retention_days", sa.Integer(), "0"),
    ("price_cents", sa.Integer(), "0"),
)
TIERS = (
    # id, longest side, steps, adapters, private, price in cents
    ("free", 1024, 100, False, True, 0),
    ("pro", 2048, 150, True, True, 900),
    ("team", 2048, 150, True, True, 2900),
)


def _default(kind: sa.types.TypeEngine, text: str | None) -> sa.TextClause | sa.True_:
    return sa.true() if text is None else sa.text(text)


def upgrade() -> None:
    for name, kind, text in TIER_COLUMNS:
        op.add_column(
            "tier", sa.Column(name, kind, nullable=False, server_default=_default(kind, text))
        )
    tier = sa.table(
        "tier", sa.column("id"), sa.column("max_side"), sa.column("max_steps"),
        sa.column("adapters", sa.Boolean()), sa.column("private", sa.Boolean()),
        sa.column("price_cents"),
    )
    for id_, side, steps, adapters, private, price in TIERS:
        op.execute(
            tier.update().where(tier.c.id == id_).values(
                max_side=side, max_steps=steps, adapters=adapters, private=private,
                price_cents=price,
            )
        )
    with op.batch_alter_table("member") as member:
        member.add_column(sa.Column("linked_to", sa.String(), nullable=True))
        member.add_column(
            sa.Column("roles", sa.JSON(), nullable=False, server_default=sa.text("'[]'"))
        )
        member.add_column(sa.Column("banned_until", sa.BigInteger(), nullable=True))
        member.add_column(
            sa.Column("bucket", sa.Integer(), nullable=False, server_default=sa.text("0"))
        )
        member.add_column(sa.Column("bucket_at", sa.BigInteger(), nullable=True))
        member.add_column(sa.Column("account_created_at", sa.BigInteger(), nullable=True))
        member.create_foreign_key("fk_member_linked_to", "member", ["linked_to"], ["id"])
        member.create_index("ix_member_linked_to", ["linked_to"])
    op.create_table(
        "tier_grant",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("workspace_id", sa.String(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("member_id", sa.String(), sa.ForeignKey("member.id"), nullable=False),
        sa.Column("tier_id", sa.String(), sa.ForeignKey("tier.id"), nullable=False),
        sa.Column("by", sa.String(), sa.ForeignKey("member.id"), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_tier_grant_workspace_id", "tier_grant", ["workspace_id"])
    op.create_index("ix_tier_grant_member_id", "tier_grant", ["member_id"])
    op.create_table(
        "promo_code",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("workspace_id", sa.String(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("by", sa.String(), sa.ForeignKey("member.id"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("workspace_id", "code"),
        sa.CheckConstraint("uses <= max_uses", name="promo_not_overused"),
    )
    op.create_index("ix_promo_code_workspace_id", "promo_code", ["workspace_id"])
    op.create_table(
        "link_code",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("member_id", sa.String(), sa.ForeignKey("member.id"), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
    )
    op.create_index("ix_link_code_member_id", "link_code", ["member_id"])
    op.create_table(
        "setting_change",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("workspace_id", sa.String(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("member_id", sa.String(), sa.ForeignKey("member.id"), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("undoes", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_setting_change_workspace_id", "setting_change", ["workspace_id"])
    op.create_table(
        "switch",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("on", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped; restore a backup instead")
