"""What sellers answer to handoffs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "handoff_feedback",
        sa.Column("feedback_id", sa.String, primary_key=True),
        sa.Column("handoff_id", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("answered_by", sa.String),
        sa.Column("answered_at", sa.DateTime, nullable=False),
        sa.Column("until", sa.DateTime),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index("ix_handoff_feedback_change", "handoff_feedback", ["change"])
    op.create_index("ix_handoff_feedback_handoff_id", "handoff_feedback", ["handoff_id"])


def downgrade() -> None:
    op.drop_table("handoff_feedback")
