"""What is known of who is right: the teacher by itself, and true labels."""

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from db.tables.columns import BigId, UTCDateTime, metadata, version_column

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
    Column(
        "familiar_share",
        Float,
        comment="Share in [0, 1] of the window's requests whose label the student gave in the reference "
        "cycles; NULL without a reference",
    ),
    Column(
        "familiar_shift", Float, comment="label_shift among those labels, nats; NULL without such requests"
    ),
    Column(
        "familiar_gap",
        Float,
        comment="Jensen-Shannon divergence of those labels from the student's on the same requests, nats",
    ),
    version_column("reference_version", "The teacher whose first cycles are the reference"),
    Column("health", Text, nullable=False, comment="healthy, unhealthy, changed or unknown"),
    Column("reason", Text, nullable=False, comment="Why the health is what it is"),
    Column("detail", Text, nullable=False, comment="The same in one line, with the numbers"),
    comment="What a cycle says about the teacher by itself",
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
