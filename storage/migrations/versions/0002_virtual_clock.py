"""Fairness: virtual clocks for returning members, and a bound on being overtaken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, name in (("workspace", "tag"), ("member", "tag"), ("job", "overtaken_ms")):
        op.add_column(
            table, sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        )
    # Counters as they are today: nobody who served long ago starts behind the clock.
    op.execute("UPDATE workspace SET tag = served")
    op.execute("UPDATE member SET tag = served")


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped; restore a backup instead")
