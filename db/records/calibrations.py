"""Calibrations of students, and the calibrated student in service."""

from dataclasses import dataclass
from datetime import datetime

from db.records.jobs import ModelVersion
from db.states import CalibrationSource


@dataclass(frozen=True, kw_only=True)
class TemperatureFit:
    """The temperature by which a model's logits are divided so that its confidence matches its accuracy."""

    temperature: float
    n: int  #: rows on which it was fitted and the other numbers were measured
    nll_before: float  #: nats
    nll_after: float
    ece_before: float
    ece_after: float
    ece_debiased_before: float
    ece_debiased_after: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The fit of one student."""

    version: str
    dataset: str  #: the configured file, "validation" or "test"; "traffic" for archived requests
    sha256: str  #: of that file, or of the hashes of the archives
    fit: TemperatureFit
    source: CalibrationSource = CalibrationSource.FILE
    rows_until: datetime | None = None  #: the end of the newest window; a file dates from its first use


@dataclass(frozen=True, kw_only=True)
class CalibrationInForce:
    """The newest calibration of a version."""

    temperature: float
    source: CalibrationSource
    n: int
    sha256: str  #: of the file, or of the hashes of the archives
    rows_until: datetime  #: the end of the newest window of its rows; for a file when it was first used
    calibrated_at: datetime


@dataclass(frozen=True, kw_only=True)
class ServingStudent:
    """The student in service and its newest calibration, if it has one."""

    model: ModelVersion
    since: datetime  #: when it became the current one
    calibration: CalibrationInForce | None
