"""The review room: decisions, appeals, strikes, reports, and an audit log nobody can rewrite."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SQLITE_APPEND_ONLY = (
    """CREATE TRIGGER act_no_update BEFORE UPDATE ON act
    BEGIN SELECT RAISE(ABORT, 'audit lines are permanent'); END""",
    """CREATE TRIGGER act_no_delete BEFORE DELETE ON act
    BEGIN SELECT RAISE(ABORT, 'audit lines are permanent'); END""",
)
POSTGRES_APPEND_ONLY = (
    """CREATE FUNCTION act_is_permanent() RETURNS trigger AS $$
    BEGIN RAISE EXCEPTION 'audit lines are permanent'; END $$ LANGUAGE plpgsql""",
    """CREATE TRIGGER act_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON act
    FOR EACH STATEMENT EXECUTE FUNCTION act_is_permanent()""",
)


def _id() -> sa.Column:
    return sa.Column("id", sa.String(), primary_key=True)


def _ref(name: str, target: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.String(), sa.ForeignKey(f"{target}.id"), nullable=nullable)


def _at(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def upgrade() -> None:
    with op.batch_alter_table("review_case") as case:
        case.add_column(
            sa.Column("severity", sa.Integer(), nullable=False, server_default=sa.text("1"))
        )
        case.add_column(_at("due_at", nullable=True))
        case.add_column(
            sa.Column("escalated", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        case.add_column(sa.Column("claimed_by", sa.String(), nullable=True))
        case.add_column(_at("claimed_until", nullable=True))
        case.add_column(_at("decided_at", nullable=True))
        case.add_column(_at("announced_at", nullable=True))
        case.create_foreign_key("fk_case_claimed_by", "member", ["claimed_by"], ["id"])
    op.create_table(
        "decision", _id(), _ref("case_id", "review_case"), _ref("workspace_id", "workspace"),
        _ref("moderator_id", "member"),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        _ref("confirmed_by", "member", nullable=True),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("proposed", sa.Boolean(), nullable=False),
        _at("undone_at", nullable=True), _at("created_at"),
    )
    op.create_table(
        "appeal", _id(), _ref("case_id", "review_case"), _ref("decision_id", "decision"),
        _ref("workspace_id", "workspace"), _ref("member_id", "member"),
        sa.Column("text", sa.Text(), nullable=False),
        _ref("decided_by", "member", nullable=True),
        sa.Column("upheld", sa.Boolean(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        _at("created_at"), _at("decided_at", nullable=True),
        sa.UniqueConstraint("decision_id"),
    )
    op.create_table(
        "strike", _id(), _ref("workspace_id", "workspace"), _ref("member_id", "member"),
        _ref("case_id", "review_case", nullable=True),
        _ref("decision_id", "decision", nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        _at("created_at"), _at("expires_at"), _at("voided_at", nullable=True),
    )
    op.create_table(
        "report", _id(), _ref("case_id", "review_case"), _ref("workspace_id", "workspace"),
        _ref("member_id", "member"), sa.Column("kind", sa.Text(), nullable=False),
        _at("created_at"), sa.UniqueConstraint("case_id", "member_id"),
    )
    op.create_table(
        "act", _id(), _ref("workspace_id", "workspace"),
        sa.Column("number", sa.Integer(), nullable=False),
        _ref("actor_id", "member", nullable=True),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        _at("at"),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.UniqueConstraint("workspace_id", "number"),
    )
    for table, columns in (
        ("decision", ("case_id", "workspace_id")),
        ("appeal", ("case_id", "workspace_id")),
        ("strike", ("workspace_id", "member_id")),
        ("report", ("case_id", "workspace_id", "member_id")),
        ("act", ("workspace_id",)),
    ):
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in SQLITE_APPEND_ONLY if sqlite else POSTGRES_APPEND_ONLY:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped; restore a backup instead")
