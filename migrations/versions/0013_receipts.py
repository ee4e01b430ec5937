"""What a channel calls a message, so that later ones about the incident can answer it."""

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
