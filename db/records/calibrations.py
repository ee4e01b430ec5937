"""How sure a student should be, and since when that is known."""

from dataclasses import dataclass
from datetime import datetime

from db.records.jobs import ModelVersion


@dataclass(frozen=True, kw_only=True)
class TemperatureFit:
    """By what a model's logits are divided for it to be as sure as it is right, and what that changes."""

    temperature: float
    n: int  #: labelled rows that it was fitted on, and that all else here is of
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
    dataset: str  #: "validation" or "test": which of the configured files
    sha256: str  #: of that file
    fit: TemperatureFit


@dataclass(frozen=True, kw_only=True)
class ServingStudent:
    """The student in service and its newest calibration, if it has one."""

    model: ModelVersion
    since: datetime  #: when it became the current one
    calibrated_at: datetime | None
    temperature: float | None
