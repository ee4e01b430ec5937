"""The tables. Every one, and every column, has a comment that says what it holds and its unit."""

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite, which has no time zones, stores it as naive UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time rather than guess its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time cannot be stored: {value!r}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ExactAlpha(TypeDecorator[Decimal]):
    """An alpha in thousandths: NUMERIC(4, 3), and on SQLite the REAL nearest to it."""

    impl = Numeric(4, 3, asdecimal=False)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> float | None:
        """Both drivers take the nearest double, which three decimals survive."""
        del dialect
        return None if value is None else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> Decimal | None:
        """0.6 comes back as Decimal('0.6'), never as 0.6000000000000001."""
        del dialect
        if value is None:
            return None
        return Decimal(f"{value:.3f}").normalize()


BigId = BigInteger().with_variant(Integer, "sqlite")


def _id(comment: str) -> Column[int]:
    return Column("id", BigId, primary_key=True, comment=comment)


def _version(name: str, comment: str, *, nullable: bool = True) -> Column[str]:
    return Column(name, Text, nullable=nullable, comment=f"{comment}; SHA-256 of its files")


leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True, comment="What is leased: monitor:NAME, job:ID or erasure:NAME"),
    Column("owner", Text, nullable=False, comment="Host, process and start of the holder"),
    Column("token", BigInteger, nullable=False, comment="Fencing token; grows at each new holder"),
    Column(
        "expires_at",
        UTCDateTime,
        nullable=False,
        comment="UTC, by the database's clock; after it anyone may take the lease",
    ),
    comment="Who may write for a monitor or a job",
)

cycles = Table(
    "cycles",
    metadata,
    _id("The cycle's number"),
    Column("monitor", Text, nullable=False, comment="The monitor's name"),
    Column("window_start", UTCDateTime, nullable=False, comment="UTC; first instant in the window"),
    Column("window_end", UTCDateTime, nullable=False, comment="UTC; first instant after the window"),
    Column(
        "status",
        Text,
        nullable=False,
        comment="running, evaluated, inconclusive, failed or skipped",
    ),
    Column("verdict", Text, comment="healthy, breached, inconclusive or failed; NULL while running"),
    Column("verdict_reason", Text, comment="Why the verdict is what it is"),
    Column("attempt", Integer, nullable=False, comment="1 for the first try of the slot"),
    Column("error", Text, comment="What ended a failed attempt, in one line"),
    Column("started_at", UTCDateTime, comment="UTC; start of the last attempt"),
    Column("finished_at", UTCDateTime, comment="UTC; when the result was committed"),
    Column("n_seen", BigInteger, comment="Distinct usable requests in the window"),
    Column("n_sampled", Integer, comment="Requests in the sample"),
    Column("n_scored", Integer, comment="Sampled requests scored by both models"),
    Column("n_rejected", BigInteger, comment="Unusable records of the window"),
    Column("n_disagreements", Integer, comment="Scored requests with different top-1 labels"),
    Column("agreement", Float, comment="Share in [0, 1] with the same top-1 label"),
    Column("agreement_exact", Text, comment="The same as a fraction of whole numbers"),
    Column("agreement_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("agreement_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column(
        "kl",
        Float,
        comment="Mean KL(teacher || student) at `temperature`, nats, without the T^2 factor",
    ),
    Column("kl_low", Float, comment="Lower end of its 95% bootstrap interval, nats"),
    Column("kl_high", Float, comment="Upper end of its 95% bootstrap interval, nats"),
    Column("kl_p50", Float, comment="Median of KL over requests, nats"),
    Column("kl_p95", Float, comment="95th percentile of KL over requests, nats"),
    Column("kl_p99", Float, comment="99th percentile of KL over requests, nats"),
    Column("kl_t1", Float, comment="Mean KL(teacher || student) at temperature 1, nats"),
    Column("js", Float, comment="Mean Jensen-Shannon divergence at `temperature`, nats"),
    Column("n_recorded", Integer, comment="Scored requests whose student logits the log has"),
    Column("n_rescored", Integer, comment="Of them scored by the student too"),
    Column("serving_skew", Float, comment="Share in [0, 1] to which it gives another label than was served"),
    Column("serving_skew_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("serving_skew_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column("temperature", Float, comment="The softmax temperature T of kl and js"),
    _version("teacher_version", "The teacher that scored the sample"),
    _version("student_version", "The student that scored the sample"),
    Column(
        "alpha",
        ExactAlpha,
        comment="Weight of the KL term with which that student was distilled; lower alpha = more "
        "weight on hard labels; NULL if unknown",
    ),
    Column("archive", Text, comment="Where the sample lies (texts are there, never in SQL)"),
    Column("archive_sha256", Text, comment="SHA-256 of the archive's bytes"),
    UniqueConstraint("monitor", "window_end"),
    comment="One row a slot: what was measured and judged",
)

teacher_metrics = Table(
    "teacher_metrics",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("confidence", Float, nullable=False, comment="Mean probability of the first label at T = 1"),
    Column("confidence_low", Float, nullable=False, comment="Lower end of its 95% bootstrap interval"),
    Column("confidence_high", Float, nullable=False, comment="Upper end of its 95% bootstrap interval"),
    Column("entropy", Float, nullable=False, comment="Mean entropy over the labels at T = 1, nats"),
    Column("entropy_low", Float, nullable=False, comment="Lower end of its 95% bootstrap interval, nats"),
    Column("entropy_high", Float, nullable=False, comment="Upper end of its 95% bootstrap interval, nats"),
    Column("n_effective", Float, nullable=False, comment="Size of a uniform sample as sure of a share"),
    Column(
        "label_gap",
        Float,
        nullable=False,
        comment="Jensen-Shannon divergence of its mix of labels from the student's, nats",
    ),
    Column("accuracy", Float, comment="Share right of the window's traffic, by true labels; NULL without"),
    Column("accuracy_low", Float, comment="Lower end of its interval, which covers 95% or more"),
    Column("accuracy_high", Float, comment="Upper end of that interval"),
    Column(
        "label_shift",
        Float,
        comment="Jensen-Shannon divergence of its mix of labels from its reference's, nats; NULL without one",
    ),
    _version("reference_version", "The teacher whose first cycles are the reference"),
    Column("health", Text, nullable=False, comment="healthy, unhealthy, changed or unknown"),
    Column("reason", Text, nullable=False, comment="Why the health is what it is"),
    Column("detail", Text, nullable=False, comment="The same in one line, with the numbers"),
    comment="What a cycle says about the teacher by itself",
)

class_metrics = Table(
    "class_metrics",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("label", Text, primary_key=True, comment="The teacher's top-1 label"),
    Column("n", Integer, nullable=False, comment="Scored requests with that label"),
    Column("share", Float, nullable=False, comment="Their share in [0, 1] of the window's requests"),
    Column("agreement", Float, nullable=False, comment="Share of them with the same top-1 label"),
    Column("agreement_low", Float, nullable=False, comment="Lower end of its 95% Wilson interval"),
    Column("agreement_high", Float, nullable=False, comment="Upper end of its 95% Wilson interval"),
    Column("kl", Float, nullable=False, comment="Their mean KL(teacher || student), nats"),
    comment="Agreement and KL of a cycle by the teacher's label",
)

strata = Table(
    "strata",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "student_label",
        Text,
        primary_key=True,
        comment="The label that the log recorded; empty: none, or the sample is uniform",
    ),
    Column("n_seen", BigInteger, nullable=False, comment="Distinct usable requests of the window"),
    Column("n", Integer, nullable=False, comment="Of them in the sample"),
    Column("n_disagreements", Integer, nullable=False, comment="Of those with different top-1 labels"),
    comment="How a cycle's sample was drawn: agreement is the sum of n_seen * (n - n_disagreements) / n, "
    "divided by that of n_seen",
)

rejects = Table(
    "rejects",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("reason", Text, primary_key=True, comment="Why the records could not be used"),
    Column("n", BigInteger, nullable=False, comment="How many records"),
    Column("example_hash", Text, nullable=False, comment="SHA-256 of the first example's bytes"),
    Column("example_object", Text, nullable=False, comment="The object (file) of that example"),
    comment="Records of a window that could not be used, by reason",
)

objects = Table(
    "objects",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("name", Text, primary_key=True, comment="The object's key in its bucket"),
    Column("version", Text, nullable=False, comment="Its ETag: with other contents it has another"),
    comment="Objects of a request log in S3 that a cycle has read; kept for 30 days",
)

erasures = Table(
    "erasures",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("sha256_after", Text, primary_key=True, comment="SHA-256 of its archive's bytes now"),
    Column("sha256_before", Text, nullable=False, comment="SHA-256 of its bytes before"),
    Column("n", Integer, nullable=False, comment="Requests that were taken out"),
    Column("begun_at", UTCDateTime, nullable=False, comment="UTC; when it was asked for"),
    Column("finished_at", UTCDateTime, comment="UTC; when the new file was in its place"),
    comment="Requests taken out of a cycle's archive by `redistill archive erase`; its numbers stay",
)

labels = Table(
    "labels",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("request_hash", Text, primary_key=True, comment="SHA-256 of the request's id"),
    Column("label", Text, comment="The true label; NULL: it is none of the models' labels"),
    Column("teacher_label", Text, nullable=False, comment="The teacher's top-1 label"),
    Column("student_label", Text, nullable=False, comment="The student's top-1 label"),
    Column("weight", Float, nullable=False, comment="How much it counts in the cycle, 1 in the mean"),
    Column("imported_at", UTCDateTime, nullable=False, comment="UTC; when that label came"),
    comment="True labels of sampled requests that `redistill labels import` brought; those that the request "
    "log had are in the archive",
)

correctness = Table(
    "correctness",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("n_labelled", Integer, nullable=False, comment="Scored requests whose true label is known"),
    Column("n_disagreements", Integer, nullable=False, comment="Of them with different top-1 labels"),
    Column(
        "n_out_of_scope",
        Integer,
        nullable=False,
        comment="Of these whose true label is none of the models' labels; both are wrong about them",
    ),
    Column("teacher_right", Float, comment="Share in [0, 1] of the disagreements; NULL without any"),
    Column("teacher_right_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("teacher_right_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column("student_right", Float, comment="Share in [0, 1] of the disagreements; NULL without any"),
    Column("student_right_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("student_right_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column("both_wrong", Float, comment="Share in [0, 1] of the disagreements; NULL without any"),
    Column("both_wrong_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("both_wrong_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column("teacher_accuracy", Float, comment="Share in [0, 1] of all labelled requests; NULL without any"),
    Column("teacher_accuracy_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("teacher_accuracy_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column("student_accuracy", Float, comment="Share in [0, 1] of all labelled requests; NULL without any"),
    Column("student_accuracy_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("student_accuracy_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column(
        "tallies",
        Text,
        nullable=False,
        comment="JSON: count, weight and squared weight of each outcome, of which all was computed",
    ),
    comment="Who is right in a cycle, of the requests whose true label is known, the log's and imported ones",
)

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

input_drift = Table(
    "input_drift",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "reference_cycle_id",
        BigId,
        ForeignKey("cycles.id"),
        nullable=False,
        comment="The earlier, healthy cycle that it is compared with",
    ),
    Column("n", Integer, nullable=False, comment="Texts of the cycle that were compared"),
    Column("n_reference", Integer, nullable=False, comment="Texts of the reference"),
    Column(
        "accuracy",
        Float,
        nullable=False,
        comment="Share in [0, 1] of texts that a classifier gives to the right one of the two; 0.5: chance",
    ),
    Column("p_value", Float, nullable=False, comment="How often as much comes of chance, in (0, 1]"),
    Column("psi", Float, nullable=False, comment="Population stability index of the teacher's labels, nats"),
    Column("psi_low", Float, nullable=False, comment="Lower end of its 95% interval, nats"),
    Column("psi_high", Float, nullable=False, comment="Upper end of its 95% interval, nats"),
    Column("js", Float, nullable=False, comment="Jensen-Shannon divergence of the teacher's labels, nats"),
    Column("js_low", Float, nullable=False, comment="Lower end of its 95% interval, nats"),
    Column("js_high", Float, nullable=False, comment="Upper end of its 95% interval, nats"),
    comment="How the requests of a cycle differ from those of an earlier, healthy one",
)

jobs = Table(
    "jobs",
    metadata,
    _id("The job's number"),
    Column("monitor", Text, nullable=False, comment="The monitor whose student is re-distilled"),
    Column("cycle_id", BigId, ForeignKey("cycles.id"), comment="The cycle that ordered it"),
    Column("rule", Text, comment="The rule that fired; NULL if a person ordered it"),
    Column("reason", Text, nullable=False, comment="Why, in one line, with the numbers"),
    _version("teacher_version", "The teacher to distil from", nullable=False),
    _version("student_version", "The incumbent student", nullable=False),
    Column("alpha_from", ExactAlpha, nullable=False, comment="The ladder's alpha before this job"),
    Column(
        "alpha_to",
        ExactAlpha,
        nullable=False,
        comment="Weight of the KL term in this job's loss; 1 - alpha is that of the hard labels",
    ),
    Column("temperature", Float, nullable=False, comment="The softmax temperature T of the loss"),
    Column("soft_labels", Text, nullable=False, comment="online: the teacher runs while training"),
    Column(
        "status",
        Text,
        nullable=False,
        comment="queued, running, succeeded, rejected, failed or cancelled",
    ),
    Column("attempt", Integer, nullable=False, comment="How often a worker has taken it"),
    Column("error", Text, comment="What ended the last failed attempt, in one line"),
    Column("enqueued_at", UTCDateTime, nullable=False, comment="UTC"),
    Column("started_at", UTCDateTime, comment="UTC; when the last attempt began"),
    Column("finished_at", UTCDateTime, comment="UTC; when it reached a final status"),
    _version("candidate_version", "The student that it made"),
    Column("decision", Text, comment="promoted, held or rejected"),
    Column("decision_reason", Text, comment="Why, in one line, with the numbers"),
    Column(
        "evidence", Text, comment="JSON: what true labels said when it was ordered; NULL: there were none"
    ),
    comment="Orders for a re-distillation: the queue and its history",
)
Index(
    "uq_jobs_open",
    jobs.c.monitor,
    unique=True,
    sqlite_where=text("status IN ('queued', 'running')"),
    postgresql_where=text("status IN ('queued', 'running')"),
)

gate_outcomes = Table(
    "gate_outcomes",
    metadata,
    Column("job_id", BigId, ForeignKey("jobs.id"), primary_key=True, comment="The job"),
    Column("gate", Text, primary_key=True, comment="The gate's metric"),
    Column("dataset", Text, primary_key=True, comment="test or condemned (see evaluations)"),
    Column("value", Float, comment="The candidate's value; NULL if it could not be measured"),
    Column("threshold", Float, nullable=False, comment="The gate's threshold, in the same unit"),
    Column("result", Text, nullable=False, comment="pass or fail"),
    comment="What each gate said of a job's candidate",
)

models = Table(
    "models",
    metadata,
    _id("A row number"),
    Column("monitor", Text, nullable=False, comment="The monitor that uses or made it"),
    Column("version", Text, nullable=False, comment="SHA-256 of weights, config and tokenizer"),
    Column("role", Text, nullable=False, comment="teacher or student"),
    Column("uri", Text, nullable=False, comment="The directory in save_pretrained layout"),
    _version("parent_version", "The version from which training started"),
    Column("job_id", BigId, ForeignKey("jobs.id"), comment="The job that made it"),
    Column("alpha", ExactAlpha, comment="Weight of the KL term in its distillation, if known"),
    Column("temperature", Float, comment="The temperature T of its distillation, if known"),
    Column("created_at", UTCDateTime, nullable=False, comment="UTC; when it was first recorded"),
    UniqueConstraint("monitor", "role", "version"),
    comment="Model versions that were seen or made",
)

promotions = Table(
    "promotions",
    metadata,
    _id("A row number"),
    Column("monitor", Text, nullable=False, comment="The monitor"),
    Column("role", Text, nullable=False, comment="teacher or student"),
    Column("version", Text, nullable=False, comment="The version that became current"),
    Column("reason", Text, nullable=False, comment="configured, gates_passed, manual or rollback"),
    Column("promoted_at", UTCDateTime, nullable=False, comment="UTC; current from here on"),
    Column("retired_at", UTCDateTime, comment="UTC; current until here; NULL: it is the current one"),
    comment="Which version was the current one, and when",
)
Index(
    "uq_promotions_current",
    promotions.c.monitor,
    promotions.c.role,
    unique=True,
    sqlite_where=text("retired_at IS NULL"),
    postgresql_where=text("retired_at IS NULL"),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("version", Text, primary_key=True, comment="The evaluated model version"),
    Column("job_id", BigId, ForeignKey("jobs.id"), primary_key=True, comment="The job that asked"),
    Column(
        "dataset",
        Text,
        primary_key=True,
        comment="test: the labelled test set; condemned: the held-out part of the archived sample",
    ),
    Column("metric", Text, primary_key=True, comment="The metric's name (see docs/metrics.md)"),
    Column("value", Float, comment="Its value; ms for latency, nats for kl; NULL if undefined"),
    Column("low", Float, comment="Lower end of its 95% interval"),
    Column("high", Float, comment="Upper end of its 95% interval"),
    Column("n", Integer, nullable=False, comment="Rows that it was computed from"),
    Column("spread", Float, comment="How far apart a bound lies by different seeds; 0 if none is drawn"),
    comment="What a job measured on its incumbent and its candidate",
)

incidents = Table(
    "incidents",
    metadata,
    _id("The incident's number"),
    Column("monitor", Text, nullable=False, comment="The monitor"),
    Column("kind", Text, nullable=False, comment="What it is about, such as drift or blind"),
    Column("severity", Text, nullable=False, comment="info, warning, error or critical"),
    Column("state", Text, nullable=False, comment="firing or resolved"),
    Column("summary", Text, nullable=False, comment="What is wrong, in one line, with the numbers"),
    Column("opened_at", UTCDateTime, nullable=False, comment="UTC"),
    Column("acknowledged_at", UTCDateTime, comment="UTC; when a person took it; NULL so far"),
    Column("resolved_at", UTCDateTime, comment="UTC"),
    Column("cycle_id", BigId, ForeignKey("cycles.id"), comment="The cycle that opened it"),
    Column("job_id", BigId, ForeignKey("jobs.id"), comment="The job that was ordered with it"),
    comment="What the on-call was told",
)
Index(
    "uq_incidents_firing",
    incidents.c.monitor,
    incidents.c.kind,
    unique=True,
    sqlite_where=text("state = 'firing'"),
    postgresql_where=text("state = 'firing'"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id("The message's number"),
    Column("incident_id", BigId, ForeignKey("incidents.id"), nullable=False, comment="Its incident"),
    Column("channel", Text, nullable=False, comment="The channel's name in the configuration"),
    Column("event", Text, nullable=False, comment="firing or resolved"),
    Column("dedup_key", Text, nullable=False, comment="The same for all messages of an incident"),
    Column("payload", Text, nullable=False, comment="JSON, schema redistill.incident/1"),
    Column("state", Text, nullable=False, comment="pending, delivered or dead"),
    Column("attempts", Integer, nullable=False, comment="How often it was sent"),
    Column("next_attempt_at", UTCDateTime, nullable=False, comment="UTC; not sent before"),
    Column("delivered_at", UTCDateTime, comment="UTC; when the channel accepted it"),
    Column("last_error", Text, comment="What the last failed attempt met"),
    UniqueConstraint("incident_id", "channel", "event"),
    Index("ix_deliveries_state_next_attempt_at", "state", "next_attempt_at"),
    comment="The outbox: messages written with the decision, sent after it",
)
