"""What the rules said, and where they stand."""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, Table, Text

from db.tables.columns import BigId, UTCDateTime, metadata

rule_outcomes = Table(
    "rule_outcomes",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("rule", Text, primary_key=True, comment="The rule's name"),
    Column("metric", Text, nullable=False, comment="The metric that the rule watches"),
    Column("value", Float, comment="The metric's value; NULL if the cycle was not evaluated"),
    Column("threshold", Float, nullable=False, comment="The rule's threshold, in the metric's unit"),
    Column("breached", Boolean, nullable=False, comment="Strictly on the wrong side at this cycle"),
    Column("streak", Integer, nullable=False, comment="Breached evaluated cycles in a row to here"),
    Column("fired", Boolean, nullable=False, comment="The streak has reached the rule's for_cycles"),
    Column("reason", Text, nullable=False, comment="Why it fired or did not"),
    Column("statistic", Float, comment="Of a sequential rule: the log of its evidence; NULL otherwise"),
    Column("rule_version", Text, comment="SHA-256 of the rule's text (see rule_texts)"),
    comment="What each rule said at each cycle",
)


rule_texts = Table(
    "rule_texts",
    metadata,
    Column("version", Text, primary_key=True, comment="SHA-256 of the text"),
    Column("text", Text, nullable=False, comment="The rule with all its keys, as JSON"),
    Column("first_used_at", UTCDateTime, nullable=False, comment="UTC; when it first judged a cycle"),
    comment="The rules that have judged cycles, as they were",
)


rule_states = Table(
    "rule_states",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("rule_version", Text, primary_key=True, comment="SHA-256 of the rule's text (see rule_texts)"),
    Column(
        "cycle_id", BigId, ForeignKey("cycles.id"), nullable=False, comment="The cycle after which it is so"
    ),
    Column(
        "state", Text, nullable=False, comment="JSON: streak, evidence and what else the rule looks back at"
    ),
    comment="Where each rule stands after the last judged cycle; can be computed from the cycles",
)


evidence = Table(
    "evidence",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("key", Text, primary_key=True, comment="The metric and the level, such as kl>0.15"),
    Column("gains", Text, nullable=False, comment="JSON: the log of what each bet on it has gained"),
    comment="What a cycle's requests say against a level of KL, for sequential rules",
)
