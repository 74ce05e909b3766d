"""Which action a delivery belongs to, and a hash of what a record was wanted to hold when nothing was left to write."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("action_key", sa.String))
    op.create_index("ix_deliveries_action_key", "deliveries", ["action_key"])
    op.add_column("confirmed_records", sa.Column("digest", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("confirmed_records", "digest")
    op.drop_index("ix_deliveries_action_key", "deliveries")
    op.drop_column("deliveries", "action_key")
