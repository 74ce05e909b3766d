"""Packages as Block Kit; what the automation rules decided, notices, and whom marketing keeps or gives up."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("handoffs", sa.Column("package_blocks", sa.Text))
    op.create_index("ix_handoff_decisions_decided_at", "handoff_decisions", ["decided_at"])
    op.create_table(
        "rule_decisions",
        sa.Column("decision_id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("rule", "subject_type", "subject_id")),
        sa.Column("user_id", sa.String),
        sa.Column("account_id", sa.String),
        sa.Column("occurrence", sa.String, nullable=False),
        sa.Column("decision", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recipient_id", sa.String),
        sa.Column("decided_at", sa.DateTime, nullable=False),
        _change(),
    )
    op.create_table(
        "notices",
        sa.Column("notice_id", sa.String, primary_key=True),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("recipient_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String),
        sa.Column("account_id", sa.String),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        _change(),
    )
    op.create_table(
        "mql_overlap",
        sa.Column("handoff_id", sa.String, primary_key=True),
        sa.Column("contact_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("account_id", sa.String),
        sa.Column("email", sa.String),
        sa.Column("lifecycle_stage", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("paused_at", sa.DateTime, nullable=False),
        sa.Column("recycled_at", sa.DateTime),
        sa.Column("recycled_reason", sa.Text),
        _change(),
    )
    op.create_table(
        "audience_members",
        sa.Column("member_id", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("contact_id", sa.String),
        sa.Column("account_id", sa.String),
        sa.Column("playbook", sa.String, nullable=False),
        sa.Column("next_step", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("joined_at", sa.DateTime, nullable=False),
        sa.Column("left_at", sa.DateTime),
        _change(),
    )
    for table, column in INDEXES:
        op.create_index(f"ix_{table}_{column}", table, [column])


INDEXES = (
    ("rule_decisions", "change"),
    ("rule_decisions", "decided_at"),
    ("notices", "status"),
    ("mql_overlap", "change"),
    ("mql_overlap", "status"),
    ("audience_members", "change"),
    ("audience_members", "left_at"),
)


def _change() -> sa.Column[int]:
    return sa.Column("change", sa.BigInteger, nullable=False, server_default="0")


def downgrade() -> None:
    for table in ("audience_members", "mql_overlap", "notices", "rule_decisions"):
        op.drop_table(table)
    op.drop_index("ix_handoff_decisions_decided_at", "handoff_decisions")
    op.drop_column("handoffs", "package_blocks")
