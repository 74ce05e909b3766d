"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_table(
        "handoff_decisions",
        sa.Column("decision_id", sa.String, primary_key=True),
        sa.Column("candidate_key", sa.String, nullable=False),
        sa.Column("handoff_id", sa.String),
        sa.Column("user_id", sa.String),
        sa.Column("account_id", sa.String),
        sa.Column("triggers", sa.Text, nullable=False),
        sa.Column("priority", sa.String, nullable=False),
        sa.Column("decision", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "handoffs",
        sa.Column("handoff_id", sa.String, primary_key=True),
        sa.Column("candidate_key", sa.String, nullable=False),
        sa.Column("user_id", sa.String),
        sa.Column("account_id", sa.String),
        sa.Column("trigger", sa.String, nullable=False),
        sa.Column("triggers", sa.Text, nullable=False),
        sa.Column("priority", sa.String, nullable=False),
        sa.Column("handoff_type", sa.String, nullable=False),
        sa.Column("recipient_id", sa.String, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("package_markdown", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("classification", sa.String),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    op.create_index("ix_handoffs_status", "handoffs", ["status"])
    op.create_index("ix_handoffs_created_at", "handoffs", ["created_at"])
    op.create_table(
        "trigger_states",
        sa.Column("subject_type", sa.String, primary_key=True),
        sa.Column("subject_id", sa.String, primary_key=True),
        sa.Column("trigger", sa.String, primary_key=True),
        sa.Column("occurrence", sa.String),
        sa.Column("is_armed", sa.Boolean, nullable=False),
        sa.Column("changed_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "candidates",
        sa.Column("candidate_key", sa.String, primary_key=True),
        sa.Column("subject_type", sa.String, nullable=False),
        sa.Column("subject_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String),
        sa.Column("account_id", sa.String),
        sa.Column("triggers", sa.Text, nullable=False),
        sa.Column("priority", sa.String, nullable=False),
        sa.Column("explicit_request", sa.Boolean, nullable=False),
        sa.Column("first_seen_at", sa.DateTime, nullable=False),
        sa.Column("last_decision", sa.String, nullable=False),
    )
    op.create_table(
        "routing_turns",
        sa.Column("team", sa.String, primary_key=True),
        sa.Column("owner_id", sa.String, primary_key=True),
        sa.Column("assigned_seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", sa.String, primary_key=True),
        sa.Column("destination", sa.String, nullable=False),
        sa.Column("object_type", sa.String, nullable=False),
        sa.Column("object_id", sa.String, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("payload_hash", sa.String, nullable=False),
        sa.Column("requested_at", sa.DateTime, nullable=False),
        sa.Column("confirmed_at", sa.DateTime),
    )
    op.create_index("ix_deliveries_object", "deliveries", ["destination", "object_type", "object_id"])
    op.create_table(
        "confirmed_records",
        sa.Column("destination", sa.String, primary_key=True),
        sa.Column("object_type", sa.String, primary_key=True),
        sa.Column("object_id", sa.String, primary_key=True),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("confirmed_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("confirmed_records")
    op.drop_table("deliveries")
    op.drop_table("routing_turns")
    op.drop_table("candidates")
    op.drop_table("trigger_states")
    op.drop_table("handoffs")
    op.drop_table("handoff_decisions")
    op.drop_table("meta")
