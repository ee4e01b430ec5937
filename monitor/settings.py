"""The sections of the configuration that the daemon needs."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from triggers.settings import Duration, Section

Share = Annotated[float, Field(ge=0, le=1)]


class MonitorSection(Section):
    """What is looked at, how often, and how much of it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "default"
    every: Annotated[Duration, Field(ge=timedelta(seconds=1))] | None = None
    cron: str | None = None
    lateness: Duration = timedelta(minutes=10)
    catch_up: Duration = timedelta(hours=24)
    sample_size: Annotated[int, Field(ge=1)] = 10_000
    min_samples: Annotated[int, Field(ge=1)] = 1_000
    max_reject_share: Share = 0.05
    archive: Path = Path("archive")
    archive_days: Annotated[int, Field(ge=1)] = 30

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.every is not None and self.cron is not None:
            raise ValueError("give 'every' or 'cron', not both")
        return self


class TrafficSection(Section):
    """Where the request log lies, and how its fields are named."""

    kind: Literal["files"] = "files"
    uri: Path
    format: Literal["jsonl"] = "jsonl"
    id: str = "id"
    time: str = "time"
    text: str = "text"
    student_label: str = "student_label"
    student_logits: str = "student_logits"
    key: str = "redistill"
    max_text_chars: Annotated[int, Field(ge=1)] = 10_000


class TeacherSection(Section):
    """The larger model: the reference."""

    uri: Path


class StudentSection(Section):
    """The smaller model in service, at the start; promotions are followed from the database."""

    uri: Path
    scores: Literal["model"] = "model"


class MetricsSection(Section):
    """How the distance between the two is measured."""

    temperature: Annotated[float, Field(gt=0)] = 3.0
    resamples: Annotated[int, Field(ge=100)] = 10_000
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (2025, 2026, 2027)
    rare_labels: tuple[str, ...] = ()


class ScoringSection(Section):
    """How the models are run."""

    engine: Literal["local"] = "local"
    tokens_per_batch: Annotated[int, Field(ge=1)] = 4_096
    threads: Annotated[int, Field(ge=0)] = 0  #: 0: as many as torch chooses


class WebSection(Section):
    """Where the probes listen."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
