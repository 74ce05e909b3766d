"""Indexes for planning a million records: digests, and deliveries that have not ended, are found without reading rows.

Revision ID: 0008
Revises: 0005
"""

from alembic import op

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_confirmed_records_digest", "confirmed_records", ["destination", "object_type", "object_id", "digest"]
    )
    op.drop_index("ix_deliveries_status", "deliveries")
    op.create_index("ix_deliveries_status", "deliveries", ["status", "destination", "object_type"])


def downgrade() -> None:
    op.drop_index("ix_deliveries_status", "deliveries")
    op.create_index("ix_deliveries_status", "deliveries", ["status"])
    op.drop_index("ix_confirmed_records_digest", "confirmed_records")
