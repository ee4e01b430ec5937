"""The worker: it runs the monitor's jobs, from training a candidate to promoting or rejecting it.

While no job waits, it calibrates the student in service when that is due.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from threading import Event
from time import monotonic
from typing import TypeVar

import structlog
from sqlalchemy import Engine
from structlog.typing import FilteringBoundLogger

from db import leases, monitors, queue
from db.connection import clock
from db.connection.outage import Outage
from db.connection.session import writing
from db.connection.unavailable import UNAVAILABLE
from db.errors import LeaseLostError, RedistillError, one_line
from db.heartbeat import Heartbeat
from db.queue import JobNotWantedError
from db.records import Job, Lease
from db.registries import LinkTakenError, OtherRegistryError
from db.states import JobStatus
from distill.attempt import Attempt
from distill.calibration.calibrator import Calibrator
from distill.calibration.delivery import CalibrationUndeliveredError
from distill.registry import LinkError, RegistryWriteError
from distill.settle import Proof, settle
from distill.turns import Turn, always
from monitor.archive.places import ArchiveUnavailableError
from monitor.clock import utc_now
from monitor.stop import Stopped, StoppedError
from monitor.storage.store import ArtifactReadError, ArtifactUnavailableError, ArtifactWriteError
from monitor.storage.student_places import ModelLostError
from triggers.incidents.announce import Audience
from triggers.incidents.job_outcome import report_job_end
from triggers.transports.port import JobTransport

LEASE_SECONDS = 60.0
_Done = TypeVar("_Done")
#: The shortest wait between two polls, also while database and queue are unreachable.
_LEAST_WAIT_SECONDS = 0.2
#: The pause between two looks whether the student's calibration is due.
_CALIBRATION_LOOK_SECONDS = 60.0
#: The pause after a failed calibration, as the next one would fail at once.
_CALIBRATION_PAUSE_SECONDS = 3_600.0
#: The pause between two looks at the registry while no job runs: each is a few requests to S3.
_REGISTRY_PAUSE_SECONDS = 10.0
#: The pause between two looks for old versions to delete.
_VERSIONS_PAUSE_SECONDS = 3_600.0


class Worker:
    """The worker of the audience's monitor, which runs one job at a time, each under its lease.

    It computes only in its turn, and waits for an unavailable database outside of it.
    """

    def __init__(
        self,
        engine: Engine,
        audience: Audience,
        attempt: Attempt,
        calibrator: Calibrator,
        turn: Turn | None = None,
    ) -> None:
        self._engine = engine
        self._audience = audience
        self._attempt = attempt
        self._calibrator = calibrator
        self._turn_to_compute = turn or always()
        self._calibrate_from = monotonic()
        self._owner = leases.new_owner()
        self._registry_problem = ""  #: the reason logged last why the registry cannot be used
        self._registry_is_usable = False
        self._tend_from = monotonic()
        self._delete_from = monotonic()

    def run_once(self, stopped: Stopped) -> bool:
        """Run the next job, if there is one, and return whether there was one.

        Without a job, the student in service is calibrated if that is due.

        Raises:
            ArchiveUnavailableError, ArtifactUnavailableError: data or models cannot be read now; the job is
                requeued.
            MonitorRenamedError: the monitor has another name now.
        """
        if not self._tend_registry():
            return False
        with suppress(StoppedError), self._turn_to_compute.taken(stopped):
            claimed = None if stopped() else self._claim()
            if claimed is None:
                self._calibrate(stopped)
                return False
            self._run_claimed(*claimed, stopped)
            self._tend_from = self._delete_from = monotonic()
            self._tend_registry()
            return True
        return False

    def serve(self, transport: JobTransport, stop: Event) -> None:
        """Run one job after the other and wait in between until `stop` is set.

        An unreachable database does not end the loop.
        """
        outage = Outage()
        while not stop.is_set():
            if not outage.attempt("jobs", lambda: self._turn(stop.is_set)):
                outage.attempt("calls", lambda: transport.wait(stop))
                stop.wait(_LEAST_WAIT_SECONDS)

    def _turn(self, stopped: Stopped) -> bool:
        try:
            return self.run_once(stopped)
        except (ArchiveUnavailableError, ArtifactUnavailableError):  # logged already; wait as without a job
            return False

    def _calibrate(self, stopped: Stopped) -> None:
        if monotonic() < self._calibrate_from:
            return
        self._calibrate_from = monotonic() + _CALIBRATION_LOOK_SECONDS
        log = structlog.get_logger().bind(monitor=self._audience.monitor)
        # the teacher comes first: its temperature, once stored, is used for students
        self._calibrated(self._calibrator.of_teacher.calibrate_due, stopped, log.bind(role="teacher"))
        done = self._calibrated(self._calibrator.calibrate_due, stopped, log)
        if done is not None:
            log.info("student calibrated", version=done.version, temperature=done.fit.temperature)
            self._tend_from = monotonic()
            self._tend_registry()  # delivers the temperature

    def _calibrated(
        self,
        calibrate_due: Callable[[str, Stopped, datetime], _Done | None],
        stopped: Stopped,
        log: FilteringBoundLogger,
    ) -> _Done | None:
        """Return what was calibrated; None if nothing was, also because it failed."""
        try:
            return calibrate_due(self._owner, stopped, self._now())
        except UNAVAILABLE:
            raise
        except StoppedError:
            log.info("calibration stopped")
        except LeaseLostError as error:
            log.warning("calibration left to another process", error=str(error))
        except Exception as error:  # the top of the worker: it still runs jobs
            self._calibrate_from = monotonic() + _CALIBRATION_PAUSE_SECONDS
            expected = isinstance(error, RedistillError)
            why = one_line(error)
            log.exception("calibration failed", expected=expected, error=why, exc_info=not expected)
        return None

    def _tend_registry(self) -> bool:
        """Confirm the registry, set its link and remove what ended jobs left; return whether jobs can run.

        This is done now and then. A problem is logged once.
        """
        if monotonic() < self._tend_from:
            return self._registry_is_usable
        log = structlog.get_logger().bind(monitor=self._audience.monitor)
        problem, event = "", ""
        self._registry_is_usable = True
        try:
            self._confirm_registry()
            if self._attempt.point_current():
                log.info("current set")
            if self._attempt.deliver_calibration():
                log.info("calibration delivered")
            self._attempt.sweep(utc_now())
            self._delete_old_versions(log)
        except UNAVAILABLE:
            raise
        except (LinkError, ModelLostError) as error:  # SQL still records which student is in service
            problem, event = str(error), "current not set"
        except CalibrationUndeliveredError as error:  # the same
            problem, event = str(error), "calibration not delivered"
        except (ArtifactReadError, OtherRegistryError, LinkTakenError) as error:
            problem, event = str(error), "registry not usable"
            self._registry_is_usable = False
        if problem and problem != self._registry_problem:
            log.error(event, error=problem)
        self._registry_problem = problem
        self._tend_from = monotonic() + _REGISTRY_PAUSE_SECONDS
        return self._registry_is_usable

    def _delete_old_versions(self, log: FilteringBoundLogger) -> None:
        if monotonic() < self._delete_from:
            return
        self._delete_from = monotonic() + _VERSIONS_PAUSE_SECONDS
        try:
            deleted = self._attempt.delete_old_versions(utc_now())
        except ArtifactWriteError as error:
            log.error("old versions not deleted", error=str(error))  # noqa: TRY400 - the message says what to do
            return
        if deleted:
            log.info("old versions deleted", n=len(deleted), versions=[version[:12] for version in deleted])

    def _confirm_registry(self) -> None:
        """Confirm the registry. If it cannot be written, the next job fails and reports that.

        A job that waits for the right registry says so in its row.
        """
        try:
            self._attempt.confirm_registry(clock.agreed(self._engine, utc_now()))
        except RegistryWriteError:
            return
        except (ArtifactReadError, OtherRegistryError, LinkTakenError) as error:
            with writing(self._engine) as connection:
                job = queue.open_job(connection, self._audience.monitor)
                if job is not None and job.status is JobStatus.QUEUED:
                    queue.note_error(connection, job.job_id, str(error))
            raise

    def _now(self) -> datetime:
        return clock.agreed(self._engine, utc_now())

    def _claim(self) -> tuple[Job, Lease] | None:
        with writing(self._engine) as connection:
            monitors.refuse_renamed(connection, self._audience.monitor)
            return queue.claim(
                connection,
                self._audience.monitor,
                owner=self._owner,
                lease_seconds=LEASE_SECONDS,
                now=clock.capped_by_database(connection, utc_now()),
            )

    def _run_claimed(self, job: Job, lease: Lease, stopped: Stopped) -> None:
        try:
            with Heartbeat(self._engine, lease, seconds=LEASE_SECONDS) as heartbeat:
                self._run(job, lease, lambda: stopped() or heartbeat.lost)
        finally:
            with writing(self._engine) as connection:
                leases.release(connection, lease)

    def _run(self, job: Job, lease: Lease, stopped: Stopped) -> None:
        log = structlog.get_logger().bind(monitor=job.monitor, job_id=job.job_id, attempt=job.attempt)
        try:
            self._attempt_one(job, lease, stopped, log)
        except LeaseLostError as error:
            log.warning("job left to another process", error=str(error))
        except JobNotWantedError as error:
            log.warning("job no longer wanted", reason=str(error))

    def _attempt_one(self, job: Job, lease: Lease, stopped: Stopped, log: FilteringBoundLogger) -> None:
        if job.attempt > queue.MAX_ATTEMPTS:
            last = f"; the last error: {job.error}" if job.error else ""
            given_up = f"given up: {queue.MAX_ATTEMPTS} attempts crashed or failed{last}"
            self._fail(job, lease, given_up)
            log.error("job given up", error=given_up)
            return
        log.info("job started", alpha=str(job.alpha_to), reason=job.reason)
        try:
            proof = self._make(job, stopped)
            promote = self._attempt.redistill.promote
            settled = settle(
                self._engine, lease, job, proof, self._audience, promote=promote, now=self._now()
            )
            log.info("job ended", decision=settled.decision.value, reason=settled.reason)
        except StoppedError:
            self._requeue(job, lease, None)
            log.info("job given back")
        except UNAVAILABLE as error:  # not the job's fault: it does not fail, and the attempt does not count
            Outage().retry("job", lambda: self._requeue(job, lease, None), stopped)
            log.warning("job waits for the database", error=str(error))
        except (ArchiveUnavailableError, ArtifactUnavailableError) as error:  # the same
            self._requeue(job, lease, None)
            is_archive = isinstance(error, ArchiveUnavailableError)
            log.warning("job waits for its archive" if is_archive else "job waits for S3", error=str(error))
            raise
        except (LeaseLostError, JobNotWantedError):
            raise
        except RedistillError as error:
            self._fail(job, lease, str(error))
            log.error("job failed", error=str(error))  # noqa: TRY400 - the message says what to do
        except Exception as error:  # the top of the worker: another attempt may succeed
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._requeue(job, lease, text)
            log.exception("attempt failed")

    def _make(self, job: Job, stopped: Stopped) -> Proof:
        try:
            return self._attempt.make(job, stopped=stopped, now=utc_now())
        finally:
            self._turn_to_compute.give()

    def _requeue(self, job: Job, lease: Lease, error: str | None) -> None:
        with writing(self._engine) as connection:
            queue.lock_for_write(connection, job, lease)
            queue.requeue(connection, job, error=error)

    def _fail(self, job: Job, lease: Lease, error: str) -> None:
        with writing(self._engine) as connection:
            queue.lock_for_write(connection, job, lease)
            now = clock.capped_by_database(connection, utc_now())
            queue.finish(connection, job, JobStatus.FAILED, now=now, error=error)
            report_job_end(connection, job, JobStatus.FAILED, error, self._audience, now=now)
