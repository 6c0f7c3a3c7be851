"""What an adapter notes about a card: uploaded files, an open stream."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("post", sa.Column("extra", sa.JSON(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped; restore a backup instead")
