"""What fired for handoffs that wait: what is left of one that is withdrawn is decided again.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "handoff_firings",
        sa.Column("handoff_id", sa.String, primary_key=True),
        sa.Column("firings", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("handoff_firings")
