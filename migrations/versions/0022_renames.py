"""The earlier names of monitors."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "renames",
        sa.Column("old_name", sa.Text(), nullable=False, comment="A name that the monitor had"),
        sa.Column("new_name", sa.Text(), nullable=False, comment="The monitor's name now"),
        sa.Column(
            "renamed_at", sa.DateTime(timezone=True), nullable=False, comment="UTC; when it lost the old name"
        ),
        sa.PrimaryKeyConstraint("old_name", name=op.f("pk_renames")),
        comment="Earlier names of monitors, under which no process may work any more",
    )


def downgrade() -> None:
    op.drop_table("renames")
