"""The erasures of requests from archives."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column("sha256_after", sa.Text(), nullable=False, comment="SHA-256 of its archive's bytes now"),
        sa.Column("sha256_before", sa.Text(), nullable=False, comment="SHA-256 of its bytes before"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Requests that were taken out"),
        sa.Column("begun_at", UTC_TIME, nullable=False, comment="UTC; when it was asked for"),
        sa.Column("finished_at", UTC_TIME, comment="UTC; when the new file was in its place"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_erasures_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "sha256_after", name=op.f("pk_erasures")),
        comment="Requests taken out of a cycle's archive by `redistill archive erase`; its numbers stay",
    )
    _say_what_is_leased("monitor:NAME, job:ID or erasure:NAME")


def downgrade() -> None:
    _say_what_is_leased("monitor:NAME or job:ID")
    op.drop_table("erasures")


def _say_what_is_leased(names: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON COLUMN leases.name IS 'What is leased: {names}'")
