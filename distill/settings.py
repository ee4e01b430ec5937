"""The sections of the configuration that the worker needs."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from monitor.settings import Share
from triggers.settings import AlphaPolicy, Duration, Section


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


class GatesSection(Section):
    """What a candidate must reach; a tie passes."""

    accuracy: Share = 0.905
    rare_class_accuracy: Share = 0.870
    ece: Share = 0.050
    latency_p95_ms: Annotated[float, Field(gt=0)] = 5.0
    agreement: Share = 0.95
