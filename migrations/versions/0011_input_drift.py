"""Input drift: the difference between a cycle's requests and those of an earlier, healthy cycle."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

NUMBERS = (
    (
        "accuracy",
        "Share in [0, 1] of texts that a classifier gives to the right one of the two; 0.5: chance",
    ),
    ("p_value", "How often as much comes of chance, in (0, 1]"),
    ("psi", "Population stability index of the teacher's labels, nats"),
    ("psi_low", "Lower end of its 95% interval, nats"),
    ("psi_high", "Upper end of its 95% interval, nats"),
    ("js", "Jensen-Shannon divergence of the teacher's labels, nats"),
    ("js_low", "Lower end of its 95% interval, nats"),
    ("js_high", "Upper end of its 95% interval, nats"),
)
VIEW = """
    CREATE VIEW input_history AS
    SELECT c.monitor, d.cycle_id, c.window_end, d.reference_cycle_id,
        r.window_end AS reference_window_end, d.n, d.n_reference, d.accuracy AS input_drift, d.p_value,
        d.psi, d.psi_low, d.psi_high, d.js, d.js_low, d.js_high
    FROM input_drift d
    JOIN cycles c ON c.id = d.cycle_id
    JOIN cycles r ON r.id = d.reference_cycle_id
"""
COMMENT = "How what users write has moved since an earlier, healthy cycle; one row a cycle that has one"


def upgrade() -> None:
    op.create_table(
        "input_drift",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column(
            "reference_cycle_id",
            BIG_ID,
            nullable=False,
            comment="The earlier, healthy cycle that it is compared with",
        ),
        sa.Column("n", sa.Integer(), nullable=False, comment="Texts of the cycle that were compared"),
        sa.Column("n_reference", sa.Integer(), nullable=False, comment="Texts of the reference"),
        *(sa.Column(name, sa.Float(), nullable=False, comment=comment) for name, comment in NUMBERS),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_input_drift_cycle_id_cycles")),
        sa.ForeignKeyConstraint(
            ["reference_cycle_id"], ["cycles.id"], name=op.f("fk_input_drift_reference_cycle_id_cycles")
        ),
        sa.PrimaryKeyConstraint("cycle_id", name=op.f("pk_input_drift")),
        comment="How the requests of a cycle differ from those of an earlier, healthy one",
    )
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW input_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW input_history")
    op.drop_table("input_drift")
