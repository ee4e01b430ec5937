"""A channel's identifier of a message, so that later messages about the incident can reply to it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column(
        "deliveries",
        sa.Column(
            "receipt",
            sa.Text(),
            nullable=True,
            comment="What the channel calls the message, where later ones can answer it",
        ),
    )


def downgrade() -> None:
    op.drop_column("deliveries", "receipt")
