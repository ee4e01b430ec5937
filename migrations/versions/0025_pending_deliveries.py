"""An index that finds the next message of a channel, however many wait or were delivered."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    op.create_index(
        "ix_deliveries_channel_id",
        "deliveries",
        ["channel", "id"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_channel_id", "deliveries")
