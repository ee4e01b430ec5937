"""The sections of the configuration that the worker needs."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from distill.training.schedule import Schedule
from monitor.settings import Share
from triggers.settings import AlphaPolicy, Duration, Section


def _unless_off(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever the file holds
    return None if value == "off" else value


#: How often, an hour or more; "off" is None.
Every = Annotated[Annotated[Duration, Field(ge=timedelta(hours=1))] | None, BeforeValidator(_unless_off)]


class RedistillSection(AlphaPolicy):
    """How a student is distilled, from what, and where candidates go."""

    soft_labels: Literal["online"] = "online"
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    seed: int = 2025
    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    student_init: Path | None = None
    registry: Path = Path("registry")
    checkpoint_every: Duration = timedelta(minutes=1)  #: of training; seldomer where saving is slow
    promote: Literal["auto", "manual"] = "auto"
    calibrate_every: Every = timedelta(days=31)  #: how old the temperature of the student may get

    @property
    def schedule(self) -> Schedule:
        """The schedule of each training."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed,
        )

    @property
    def calibration_file(self) -> Path | None:
        """The labelled rows that students are calibrated on: of those that none is trained on."""
        return self.validation or self.test

    @property
    def calibration_due_every(self) -> timedelta | None:
        """How often the student in service is to be calibrated; None: it is not."""
        return self.calibrate_every if self.calibration_file else None


#: Milliseconds above 0; "off" is None.
Milliseconds = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_unless_off)]


class GatesSection(Section):
    """What a candidate must reach; a tie passes."""

    accuracy: Share = 0.905
    rare_class_accuracy: Share = 0.870
    ece: Share = 0.050
    ece_of: Literal["calibrated", "raw"] = "calibrated"  #: at the model's own temperature, or at T = 1
    latency_p95_ms: Milliseconds = 5.0
    agreement: Share = 0.95
