"""Teacher metrics and calibrations, true labels, correctness by these labels, and estimated accuracy."""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text

from db.tables.columns import BigId, UTCDateTime, metadata, row_id, version_column

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


estimated_accuracy = Table(
    "estimated_accuracy",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "estimated_accuracy",
        Float,
        comment="Estimated share in [0, 1] of the window's traffic that the student answers right; NULL if "
        "no estimate can be believed",
    ),
    Column("estimated_accuracy_low", Float, comment="Lower end of its 95% interval"),
    Column("estimated_accuracy_high", Float, comment="Upper end of its 95% interval"),
    Column("method", Text, comment="teacher_confidence or prediction_powered; NULL without an estimate"),
    Column(
        "reason", Text, nullable=False, comment="Reason for showing or withholding it (see docs/states.md)"
    ),
    Column(
        "n_labels",
        Integer,
        nullable=False,
        comment="Requests of the sample whose true label counts; 0 if the labelled ones were selected",
    ),
    Column("teacher_temperature", Float, comment="The teacher's calibration temperature; NULL without one"),
    Column(
        "by_confidence",
        Float,
        comment="Mean probability of the student's labels by the calibrated teacher, even if it is not shown",
    ),
    Column("by_confidence_low", Float, comment="Lower end of its 95% interval"),
    Column("by_confidence_high", Float, comment="Upper end of its 95% interval"),
    Column(
        "rectifier",
        Float,
        comment="On the labelled requests, the student's accuracy minus the one that the teacher expects",
    ),
    Column(
        "contradicted",
        Boolean,
        comment="Whether these labels contradict the calibrated teacher; NULL if they are too few to decide",
    ),
    Column(
        "teacher_contradicted",
        Boolean,
        nullable=False,
        comment="The same by the newest labels so far of this teacher that were enough to decide",
    ),
    comment="The student's accuracy in a cycle, estimated from the teacher's confidence and true labels",
)


teacher_calibrations = Table(
    "teacher_calibrations",
    metadata,
    row_id("A row number; a version's newest row holds its temperature"),
    Column("monitor", Text, nullable=False, comment="The monitor whose teacher it is"),
    version_column("version", "The calibrated teacher", nullable=False),
    Column("sha256", Text, nullable=False, comment="SHA-256 of the labelled file"),
    Column(
        "temperature",
        Float,
        nullable=False,
        comment="Divisor of the logits that makes confidence match accuracy; in [0.05, 20]",
    ),
    Column("n", Integer, nullable=False, comment="Rows of the file"),
    Column("ece_before", Float, nullable=False, comment="Expected calibration error at T = 1, in [0, 1]"),
    Column(
        "ece_after",
        Float,
        nullable=False,
        comment="Expected calibration error at the fitted temperature, in [0, 1]",
    ),
    Column("calibrated_at", UTCDateTime, nullable=False, comment="UTC"),
    Index("ix_teacher_calibrations_monitor_version_id", "monitor", "version", "id"),
    comment="Temperatures fitted to teachers on the labelled file (validation, or else test)",
)
