"""Late cases, hidden reports, bulk acts, saved views, translations of what was asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("review_case") as case:
        case.add_column(sa.Column("breached_at", sa.BigInteger(), nullable=True))
        case.add_column(sa.Column("shown_as", sa.Text(), nullable=True))
    with op.batch_alter_table("decision") as decision:
        decision.add_column(sa.Column("batch", sa.String(), nullable=True))
    op.create_index("ix_decision_batch", "decision", ["batch"])
    op.create_table(
        "savedview",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("workspace_id", sa.String(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("member_id", sa.String(), sa.ForeignKey("member.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("filters", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("workspace_id", "member_id", "name"),
    )
    op.create_index("ix_savedview_workspace_id", "savedview", ["workspace_id"])
    op.create_table(
        "casetranslation",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("workspace_id", sa.String(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("case_id", sa.String(), sa.ForeignKey("review_case.id"), nullable=False),
        sa.Column("locale", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("case_id", "locale"),
    )
    op.create_index("ix_casetranslation_workspace_id", "casetranslation", ["workspace_id"])
    op.create_index("ix_casetranslation_done_at", "casetranslation", ["done_at"])


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped; restore a backup instead")
