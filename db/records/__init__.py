"""Frozen values that cross package boundaries. Times are aware UTC; shares are in [0, 1]; KL is in nats."""

from db.records.accuracy import AccuracyEstimates, EstimatedAccuracy
from db.records.calibrations import Calibration, CalibrationInForce, ServingStudent, TemperatureFit
from db.records.cycles import (
    Archive,
    ArchivedCycle,
    Claim,
    CycleResult,
    EarlierResult,
    Erasure,
    Lease,
    QuietResult,
    QuietWindow,
    SampledCycle,
    Slot,
)
from db.records.incidents import Delivery, Incident, Undelivered
from db.records.intervals import Interval
from db.records.jobs import Evaluation, GateOutcome, Job, Metric, ModelVersion, NewJob, WorkerTask
from db.records.measurements import (
    Correctness,
    InputDrift,
    LabelMeasurement,
    LateLabel,
    Measurement,
    MixShift,
    OutcomeTally,
    Serving,
    ShareChange,
    TeacherMeasurement,
)
from db.records.points import CyclePoint, Details, KnownTeacher, RuleOutcome, StratumCount, TeacherPoint
from db.records.shadows import Shadow, ShadowNumbers, ShadowScores, ShadowTotals
from db.records.slices import Slice, SliceNumbers
from db.records.traffic import ObjectVersion, Reject, Stratum, Traffic
from db.records.training import TrainedEpoch

__all__ = [
    "AccuracyEstimates",
    "Archive",
    "ArchivedCycle",
    "Calibration",
    "CalibrationInForce",
    "Claim",
    "Correctness",
    "CyclePoint",
    "CycleResult",
    "Delivery",
    "Details",
    "EarlierResult",
    "Erasure",
    "EstimatedAccuracy",
    "Evaluation",
    "GateOutcome",
    "Incident",
    "InputDrift",
    "Interval",
    "Job",
    "KnownTeacher",
    "LabelMeasurement",
    "LateLabel",
    "Lease",
    "Measurement",
    "Metric",
    "MixShift",
    "ModelVersion",
    "NewJob",
    "ObjectVersion",
    "OutcomeTally",
    "QuietResult",
    "QuietWindow",
    "Reject",
    "RuleOutcome",
    "SampledCycle",
    "Serving",
    "ServingStudent",
    "Shadow",
    "ShadowNumbers",
    "ShadowScores",
    "ShadowTotals",
    "ShareChange",
    "Slice",
    "SliceNumbers",
    "Slot",
    "Stratum",
    "StratumCount",
    "TeacherMeasurement",
    "TeacherPoint",
    "TemperatureFit",
    "Traffic",
    "TrainedEpoch",
    "Undelivered",
    "WorkerTask",
]
