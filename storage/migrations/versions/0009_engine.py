"""Learned paces, the recipe cache, pictures made again to compare, and what was foreseen."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pace",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("n", sa.Float(), nullable=False),
        sa.Column("x", sa.Float(), nullable=False),
        sa.Column("y", sa.Float(), nullable=False),
        sa.Column("xx", sa.Float(), nullable=False),
        sa.Column("xy", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.add_column(
        "job", sa.Column("cached", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("job", sa.Column("again_of", sa.String(), nullable=True))
    op.add_column("job", sa.Column("predicted_ms", sa.BigInteger(), nullable=True))
    op.add_column("generation", sa.Column("recipe_key", sa.String(), nullable=True))
    op.create_index("ix_generation_recipe", "generation", ["workspace_id", "recipe_key"])


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped; restore a backup instead")
