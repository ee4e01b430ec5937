"""Slices of a cycle's sample that disagree more than the others. Words are never stored here."""

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from db.tables.columns import BigId, metadata

slices = Table(
    "slices",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "rank",
        Integer,
        primary_key=True,
        comment="1 for the slice whose excess has grown most",
        autoincrement=False,
    ),
    Column("kind", Text, nullable=False, comment="label, confusion or length (see docs/states.md)"),
    Column(
        "name", Text, nullable=False, comment="The teacher's label, or the range of lengths in characters"
    ),
    Column("student_label", Text, comment="The student's label, of a confusion; NULL otherwise"),
    Column("n", Integer, nullable=False, comment="Sampled requests in the slice"),
    Column("n_texts", Integer, nullable=False, comment="Their distinct texts"),
    Column("n_disagreements", Integer, nullable=False, comment="Those of them on which the models disagree"),
    Column("share", Float, nullable=False, comment="Share in [0, 1] of the window's requests"),
    Column("rate", Float, nullable=False, comment="Share in [0, 1] of its requests with a disagreement"),
    Column(
        "excess",
        Float,
        nullable=False,
        comment="(rate - the rate of all requests) * share: its disagreements beyond its traffic",
    ),
    Column("part", Float, nullable=False, comment="Share in [0, 1] of all disagreements of the window"),
    Column(
        "p_value",
        Float,
        nullable=False,
        comment="Probability of as many disagreements by chance, if its texts are like the others",
    ),
    Column("q_value", Float, nullable=False, comment="The same, corrected for all slices that were tested"),
    Column("reference_share", Float, comment="share in the reference; NULL without a reference"),
    Column("reference_rate", Float, comment="rate in the reference; NULL without a reference"),
    Column("reference_excess", Float, comment="excess in the reference; NULL without a reference"),
    Column(
        "q_moved",
        Float,
        comment="Corrected probability by chance of more disagreements than in the reference and "
        "than elsewhere; NULL without a reference",
    ),
    comment="Slices of a cycle's sample that disagree more than the others, at a false discovery rate of "
    "0.05",
)
