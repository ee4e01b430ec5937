"""The tables. Each table and each column has a comment that states its content and unit."""

from db.tables.columns import ExactAlpha, UTCDateTime, metadata
from db.tables.counts import running_counts
from db.tables.cycles import class_metrics, cycles, erasures, input_drift, leases, objects, rejects, strata
from db.tables.incidents import deliveries, incidents
from db.tables.jobs import (
    archive_owners,
    calibrations,
    evaluations,
    gate_outcomes,
    jobs,
    models,
    promotions,
    registries,
    worker_tasks,
)
from db.tables.names import renames
from db.tables.rules import evidence, rule_bases, rule_outcomes, rule_states, rule_texts
from db.tables.shadows import shadow_cycles, shadows
from db.tables.slices import slices
from db.tables.training import training_epochs
from db.tables.truth import correctness, estimated_accuracy, labels, teacher_calibrations, teacher_metrics

__all__ = [
    "ExactAlpha",
    "UTCDateTime",
    "archive_owners",
    "calibrations",
    "class_metrics",
    "correctness",
    "cycles",
    "deliveries",
    "erasures",
    "estimated_accuracy",
    "evaluations",
    "evidence",
    "gate_outcomes",
    "incidents",
    "input_drift",
    "jobs",
    "labels",
    "leases",
    "metadata",
    "models",
    "objects",
    "promotions",
    "registries",
    "rejects",
    "renames",
    "rule_bases",
    "rule_outcomes",
    "rule_states",
    "rule_texts",
    "running_counts",
    "shadow_cycles",
    "shadows",
    "slices",
    "strata",
    "teacher_calibrations",
    "teacher_metrics",
    "training_epochs",
    "worker_tasks",
]
