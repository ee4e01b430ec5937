"""Real workers whose attempts train nothing, and the calls that they wait for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
from sqlalchemy import Engine

from db import queue
from db.connection.session import reading, writing
from db.records import Calibration, GateOutcome, Job, ModelVersion
from db.states import GateResult, Role
from distill.calibration.calibrator import Calibrator
from distill.evaluation.temperature import calibrate
from distill.settings import RedistillSection
from distill.settle import Proof
from distill.worker import Worker
from monitor.stop import Stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.student_places import StudentPlaces
from redistill.display.progress import show_nothing
from tests.support.records.cycles import UNCALIBRATED
from tests.support.records.factories import make_new_job
from tests.support.world.installation import now
from triggers.incidents.announce import Audience
from triggers.settings import IncidentPolicy
from triggers.transports.calls import JobCalls
from triggers.transports.port import JobTransport

if TYPE_CHECKING:
    from distill.attempt import Attempt

MONITOR = "mangaassist"


def rejected(job: Job, _stopped: Stopped) -> Proof:
    """A candidate that fails its gate, at once."""
    candidate = ModelVersion(
        monitor=job.monitor,
        version=f"candidate-{job.job_id}",
        role=Role.STUDENT,
        uri="nowhere",
        job_id=job.job_id,
        alpha=job.alpha_to,
        temperature=job.temperature,
    )
    gate = GateOutcome(gate="accuracy", dataset="test", value=0.5, threshold=0.9, result=GateResult.FAIL)
    return Proof(
        candidate=candidate,
        incumbent=candidate,
        candidate_evaluations=(),
        incumbent_evaluations=(),
        gates=(gate,),
        calibration=calibration_of(candidate),
    )


def calibration_of(candidate: ModelVersion) -> Calibration:
    """By three rows."""
    fit = calibrate([[1.0, 0.0]] * 3, [0, 0, 1])
    return Calibration(version=candidate.version, dataset="test", sha256="00", fit=fit)


@dataclass(kw_only=True)
class FakeAttempt:
    """Notes which jobs were attempted."""

    work: Callable[[Job, Stopped], Proof] = rejected
    attempted: list[int] = field(default_factory=list)
    redistill: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(promote="auto"))

    def confirm_registry(self, now: datetime) -> None:
        """It has none."""

    def delete_old_versions(self, now: datetime) -> tuple[str, ...]:
        """It has none."""
        del now
        return ()

    def point_current(self) -> bool:
        """Nobody serves."""
        return False

    def deliver_calibration(self) -> bool:
        """As for `point_current`."""
        return False

    def sweep(self, now: datetime) -> None:
        """Nothing is left behind."""

    def make(self, job: Job, *, stopped: Stopped, now: datetime) -> Proof:  # noqa: ARG002 - as Attempt
        self.attempted.append(job.job_id)
        return self.work(job, stopped)


@dataclass(kw_only=True)
class Office:
    """One monitor's jobs: who orders and calls, and who works."""

    engine: Engine
    transport: JobTransport
    monitor: str = MONITOR
    attempt: FakeAttempt = field(default_factory=FakeAttempt)

    def __post_init__(self) -> None:
        self.calls = self.new_calls()

    def new_calls(self) -> JobCalls:
        """What a daemon has that was just started."""
        return JobCalls(
            engine=self.engine,
            monitor=self.monitor,
            transport=self.transport,
            rng=np.random.default_rng(7),
        )

    def order(self) -> int:
        """A committed job to which nobody is called yet."""
        with writing(self.engine) as connection:
            return queue.enqueue(connection, make_new_job(self.monitor), now())

    def call(self) -> int:
        return self.calls.call_due(now())

    def job(self, job_id: int) -> Job:
        with reading(self.engine) as connection:
            return queue.get(connection, job_id)

    def worker(self) -> Worker:
        audience = Audience(monitor=self.monitor, alerts=(), policy=IncidentPolicy())
        calibrator = without_labels(self.engine, self.monitor)
        return Worker(self.engine, audience, cast("Attempt", self.attempt), calibrator)

    @contextmanager
    def working(self, count: int = 1) -> Iterator[None]:
        """So many workers for the length of the block."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self.worker().serve, args=(self.transport, stop)) for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def without_labels(engine: Engine, monitor: str) -> Calibrator:
    """It is named no labelled file, so nothing is ever due."""
    return Calibrator(
        engine=engine,
        monitor=monitor,
        section=RedistillSection(),
        policy=UNCALIBRATED,
        labels_are_random=True,
        artifacts=Artifacts(),
        places=StudentPlaces(artifacts=Artifacts(), registry=Path("registry"), configured=Path("student")),
        teacher=Path("teacher"),
        tokens_per_batch=1_024,
        show=show_nothing,
        kept=timedelta(days=30),
    )
