"""What assistants ask and want to write."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("call_id", sa.String, primary_key=True),
        sa.Column("called_at", sa.DateTime, nullable=False),
        sa.Column("asked_by", sa.String, nullable=False),
        sa.Column("tool", sa.String, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("decision", sa.String, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("result_bytes", sa.BigInteger, nullable=False),
        sa.Column("milliseconds", sa.Float, nullable=False),
        sa.Column("delivery_id", sa.String),
        sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index("ix_tool_calls_change", "tool_calls", ["change"])
    op.create_index("ix_tool_calls_called_at", "tool_calls", ["called_at"])
    op.create_table(
        "planned_writes",
        sa.Column("token_hash", sa.String, primary_key=True),
        sa.Column("asked_by", sa.String, nullable=False),
        sa.Column("tool", sa.String, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("planned_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("planned_writes")
    op.drop_index("ix_tool_calls_called_at", "tool_calls")
    op.drop_index("ix_tool_calls_change", "tool_calls")
    op.drop_table("tool_calls")
