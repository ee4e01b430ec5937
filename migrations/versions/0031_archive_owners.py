"""The id by which a monitor recognises the folders of its archives."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.create_table(
        "archive_owners",
        sa.Column("monitor", sa.Text(), primary_key=True, comment="The monitor"),
        sa.Column(
            "owner_id",
            sa.Text(),
            nullable=False,
            comment="The id in owner.json beside its archives; a UUID",
        ),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="UTC; when a cycle recorded it",
        ),
        comment="The id of the archives of each monitor, so that no other database replaces them",
    )


def downgrade() -> None:
    op.drop_table("archive_owners")
