"""A student in service, with the files and the traffic that it is calibrated on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Engine

from db import leases
from db.records import Calibration, ModelVersion
from db.states import Role
from db.tables import calibrations as table
from distill.calibration.calibrator import Calibrator
from distill.settings import RedistillSection
from distill.worker import Worker
from monitor.scoring.models import load
from monitor.stop import never_stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.student_places import StudentPlaces
from redistill.display.progress import show_nothing
from tests.support.processes.workers import Office
from tests.support.records.cycles import MONITOR, make_audience, stored
from tests.support.world.models import CORPUS
from triggers.calibration_settings import CalibrationPolicy
from triggers.transports.sql import SqlTransport

LABELS: Final = ("faq", "returns", "order_tracking")
MONTH: Final = timedelta(days=31)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A student in service since START, its teacher, and the labelled file that they are calibrated on."""

    engine: Engine
    folder: Path

    @property
    def student(self) -> ModelVersion:
        directory = self.folder / "student"
        return ModelVersion(
            monitor=MONITOR, version=load(directory).version, role=Role.STUDENT, uri=str(directory)
        )

    @property
    def validation(self) -> Path:
        return self.folder / "validation.jsonl"

    def calibrator(
        self,
        engine: Engine | None = None,
        *,
        policy: CalibrationPolicy | None = None,
        labels_are_random: bool = True,
        **section: Any,  # noqa: ANN401 - of [redistill]
    ) -> Calibrator:
        return Calibrator(
            engine=engine or self.engine,
            monitor=MONITOR,
            section=RedistillSection(**{"validation": self.validation, **section}),
            policy=policy or CalibrationPolicy(),
            labels_are_random=labels_are_random,
            artifacts=Artifacts(),
            places=StudentPlaces(artifacts=Artifacts(), registry=self.folder, configured=self.folder),
            teacher=self.folder / "teacher",
            tokens_per_batch=1_024,
            show=show_nothing,
            kept=timedelta(days=30),
        )

    def due(self, now: datetime, **options: Any) -> Calibration | None:  # noqa: ANN401 - of `calibrator`
        return self.calibrator(**options).calibrate_due(leases.new_owner(), never_stopped, now)

    def worker(self, **options: Any) -> Worker:  # noqa: ANN401 - as above
        """It finds no job, and would not know what to do with one."""
        office = Office(engine=self.engine, transport=SqlTransport())
        return Worker(self.engine, make_audience(), office.attempt, self.calibrator(**options))  # type: ignore[arg-type]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        return [*stored(self.engine, table)]


def write_rows(path: Path, n: int, labels: tuple[str, ...] = LABELS) -> None:
    rng = np.random.default_rng(3)
    words = sorted(set(" ".join(CORPUS).split()))
    rows = [
        {"text": " ".join(rng.choice(words, 5)), "label": str(rng.choice(labels, p=[0.6, 0.3, 0.1]))}
        for _ in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
