"""What came after a copy was made: the number of the transaction that wrote a row last."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("handoff_decisions", "handoffs", "deliveries")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("change", sa.BigInteger, nullable=False, server_default="0"))
        op.create_index(f"ix_{table}_change", table, ["change"])
    op.create_index("ix_deliveries_status", "deliveries", ["status"])


def downgrade() -> None:
    op.drop_index("ix_deliveries_status", "deliveries")
    for table in TABLES:
        op.drop_index(f"ix_{table}_change", table)
        op.drop_column(table, "change")
