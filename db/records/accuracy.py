"""The student's accuracy on a window's traffic, estimated without labels or with few."""

from dataclasses import dataclass

from db.records.intervals import Interval
from db.states import AccuracyMethod, AccuracyReason


@dataclass(frozen=True, kw_only=True)
class AccuracyEstimates:
    """The estimates from one sample, before it is decided which of them can be believed."""

    teacher_temperature: float | None  #: the teacher's calibration temperature; None: it is not calibrated
    by_confidence: Interval | None  #: from the calibrated teacher alone; None without a calibration
    n_labels: int  #: labelled requests that count: all, or none if they are not a random part of the sample
    by_labels: Interval | None  #: prediction-powered; None with too few labels
    #: On the labelled requests, the student's accuracy minus the one that the teacher expects; None without
    #: labels or a calibration.
    rectifier: float | None
    contradicted: bool | None  #: whether the labels contradict the teacher; None: too few to decide


@dataclass(frozen=True, kw_only=True)
class EstimatedAccuracy:
    """The estimate that is shown, or the reason why none is."""

    reason: AccuracyReason
    method: AccuracyMethod | None = None  #: None: no estimate can be believed
    accuracy: Interval | None = None
