"""Teacher metrics, true labels, and the correctness of both models by these labels."""

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
    Column(
        "n_effective",
        Float,
        nullable=False,
        comment="Size of a uniform sample with the same precision of a share",
    ),
    Column(
        "label_gap",
        Float,
        nullable=False,
        comment="Jensen-Shannon divergence of the teacher's mix of labels from the student's, nats",
    ),
    Column(
        "accuracy",
        Float,
        comment="Share in [0, 1] of the window's traffic that is right by true labels; NULL without labels",
    ),
    Column("accuracy_low", Float, comment="Lower end of its interval, which covers 95% or more"),
    Column("accuracy_high", Float, comment="Upper end of that interval"),
    Column(
        "label_shift",
        Float,
        comment="Jensen-Shannon divergence of the teacher's mix of labels from its reference's, nats; NULL "
        "without a reference",
    ),
    Column(
        "familiar_share",
        Float,
        comment="Share in [0, 1] of the window's requests whose label the student gave in the reference "
        "cycles; NULL without a reference",
    ),
    Column(
        "familiar_shift",
        Float,
        comment="label_shift of those labels, nats; NULL if no request has one of them",
    ),
    Column(
        "familiar_gap",
        Float,
        comment="Jensen-Shannon divergence of those labels from the student's on the same requests, nats",
    ),
    version_column("reference_version", "The teacher whose first cycles are the reference"),
    Column("health", Text, nullable=False, comment="healthy, unhealthy, changed or unknown"),
    Column("reason", Text, nullable=False, comment="Reason for the health (see docs/states.md)"),
    Column("detail", Text, nullable=False, comment="The reason in one line, with the numbers"),
    comment="Measurements of the teacher by itself in a cycle",
)


labels = Table(
    "labels",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("request_hash", Text, primary_key=True, comment="SHA-256 of the request's id"),
    Column("label", Text, comment="The true label; NULL if it is not one of the models' labels"),
    Column("teacher_label", Text, nullable=False, comment="The teacher's top-1 label"),
    Column("student_label", Text, nullable=False, comment="The student's top-1 label"),
    Column("weight", Float, nullable=False, comment="Weight of the request in the cycle; 1 on average"),
    Column("imported_at", UTCDateTime, nullable=False, comment="UTC; when that label was imported"),
    comment="True labels of sampled requests from `redistill labels import`; those of the request log are in "
    "the archive",
)


correctness = Table(
    "correctness",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("n_labelled", Integer, nullable=False, comment="Scored requests whose true label is known"),
    Column("n_disagreements", Integer, nullable=False, comment="Those of them with different top-1 labels"),
    Column(
        "n_out_of_scope",
        Integer,
        nullable=False,
        comment="Disagreements whose true label is not one of the models' labels; both models are wrong",
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
        comment="JSON: count, weight and squared weight of each outcome, from which all shares are computed",
    ),
    comment="Correctness of both models in a cycle, by the true labels of the log and imported ones",
)
