"""The outcomes, texts and states of rules."""

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
    Column("streak", Integer, nullable=False, comment="Consecutive breached evaluated cycles up to this one"),
    Column("fired", Boolean, nullable=False, comment="The streak has reached the rule's for_cycles"),
    Column("reason", Text, nullable=False, comment="Reason for the outcome (see docs/states.md)"),
    Column(
        "statistic", Float, comment="Log of the mean wealth of a sequential rule's bets; NULL for other rules"
    ),
    Column("rule_version", Text, comment="SHA-256 of the rule's text (see rule_texts)"),
    comment="Outcome of each rule at each cycle",
)


rule_texts = Table(
    "rule_texts",
    metadata,
    Column("version", Text, primary_key=True, comment="SHA-256 of the text"),
    Column("text", Text, nullable=False, comment="The rule with all its keys, as JSON"),
    Column("first_used_at", UTCDateTime, nullable=False, comment="UTC; when it first judged a cycle"),
    comment="Texts of the rules that have judged cycles",
)


rule_states = Table(
    "rule_states",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("rule_version", Text, primary_key=True, comment="SHA-256 of the rule's text (see rule_texts)"),
    Column(
        "cycle_id",
        BigId,
        ForeignKey("cycles.id"),
        nullable=False,
        comment="The cycle after which this is the state",
    ),
    Column(
        "state", Text, nullable=False, comment="JSON: streak, log wealth and what else the rule depends on"
    ),
    comment="State of each rule after the last judged cycle; it can be recomputed from the cycles",
)


rule_bases = Table(
    "rule_bases",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("rule_version", Text, primary_key=True, comment="SHA-256 of the rule's text (see rule_texts)"),
    Column(
        "window_end",
        UTCDateTime,
        nullable=False,
        comment="UTC; end of the last window that the state includes; its cycle may have been deleted",
    ),
    Column("state", Text, nullable=False, comment="JSON, as in rule_states"),
    comment="State of each rule after the windows that may be deleted; it stands for their cycles",
)


evidence = Table(
    "evidence",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("key", Text, primary_key=True, comment="The metric and the level, such as kl>0.15"),
    Column("gains", Text, nullable=False, comment="JSON: the log increment of each bet at this cycle"),
    comment="Log increments of a cycle's requests on a level of KL, for sequential rules",
)
