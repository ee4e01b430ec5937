"""Calibrations of students, and the calibrated student in service."""

from dataclasses import dataclass
from datetime import datetime

from db.records.jobs import ModelVersion


@dataclass(frozen=True, kw_only=True)
class TemperatureFit:
    """The temperature by which a model's logits are divided so that its confidence matches its accuracy."""

    temperature: float
    n: int  #: labelled rows on which it was fitted and the other numbers were measured
    nll_before: float  #: nats
    nll_after: float
    ece_before: float
    ece_after: float
    ece_debiased_before: float
    ece_debiased_after: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The fit of one student on one labelled file."""

    version: str
    dataset: str  #: the configured file: "validation" or "test"
    sha256: str  #: of that file
    fit: TemperatureFit


@dataclass(frozen=True, kw_only=True)
class ServingStudent:
    """The student in service and its newest calibration, if it has one."""

    model: ModelVersion
    since: datetime  #: when it became the current one
    calibrated_at: datetime | None
    temperature: float | None
