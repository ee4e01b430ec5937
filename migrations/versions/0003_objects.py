"""The objects of a bucket that each cycle has read."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "objects",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column("name", sa.Text(), nullable=False, comment="The object's key in its bucket"),
        sa.Column(
            "version", sa.Text(), nullable=False, comment="Its ETag: with other contents it has another"
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_objects_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "name", name=op.f("pk_objects")),
        comment="Objects of a request log in S3 that a cycle has read; kept for 30 days",
    )


def downgrade() -> None:
    op.drop_table("objects")
