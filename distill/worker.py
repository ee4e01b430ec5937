"""The worker: takes the monitor's job, makes a candidate, has it judged, and promotes or rejects it. While no
job waits it calibrates the student that serves, when that is due.
"""

from threading import Event
from time import monotonic

import structlog
from sqlalchemy import Engine
from structlog.typing import FilteringBoundLogger

from db import leases, queue
from db.connection.outage import Outage
from db.connection.session import writing
from db.connection.unavailable import AWAY
from db.errors import LeaseLostError, RedistillError
from db.heartbeat import Heartbeat
from db.queue import JobNotWantedError
from db.records import Job, Lease
from db.states import JobStatus
from distill.attempt import Attempt
from distill.calibrator import Calibrator
from distill.registry import LinkError
from distill.settle import settle
from monitor.archive.places import ArchiveAwayError
from monitor.clock import utc_now
from monitor.stop import Stopped, StoppedError
from triggers.incidents.announce import Audience
from triggers.incidents.job_outcome import report_job_end
from triggers.transports.port import JobTransport

LEASE_SECONDS = 60.0
#: Between two looks, also where neither database nor queue can be asked.
_LEAST_WAIT_SECONDS = 0.2
#: After a calibration that failed, as the next would do at once.
_CALIBRATION_PAUSE_SECONDS = 3_600.0


class Worker:
    """Runs the jobs of the audience's monitor, one at a time, each under its lease."""

    def __init__(self, engine: Engine, audience: Audience, attempt: Attempt, calibrator: Calibrator) -> None:
        self._engine = engine
        self._audience = audience
        self._attempt = attempt
        self._calibrator = calibrator
        self._calibrate_from = monotonic()
        self._owner = leases.new_owner()
        self._link_told = ""  #: why the registry's link cannot be set, as it was told last

    def run_once(self, stopped: Stopped) -> bool:
        """Take a job, if there is one, and bring it as far as it goes; False if there was none. Then the
        student in service is calibrated, if that is due.

        Raises:
            ArchiveAwayError: what it trains on cannot be read now; it is given back.
        """
        self._point_current()
        self._attempt.sweep(utc_now())
        claimed = self._claim()
        if claimed is None:
            self._calibrate(stopped)
            return False
        job, lease = claimed
        try:
            with Heartbeat(self._engine, lease, seconds=LEASE_SECONDS) as heartbeat:
                self._run(job, lease, lambda: stopped() or heartbeat.lost)
        finally:
            with writing(self._engine) as connection:
                leases.release(connection, lease)
        self._point_current()
        self._attempt.sweep(utc_now())
        return True

    def serve(self, transport: JobTransport, stop: Event) -> None:
        """Run one job after the other, and wait in between, until `stop` is set; also while the database is
        away.
        """
        outage = Outage()
        while not stop.is_set():
            if not outage.turn("jobs", lambda: self._turn(stop.is_set)):
                outage.turn("calls", lambda: transport.wait(stop))
                stop.wait(_LEAST_WAIT_SECONDS)

    def _turn(self, stopped: Stopped) -> bool:
        try:
            return self.run_once(stopped)
        except ArchiveAwayError:  # it was told; the job waits, as one does who has none
            return False

    def _calibrate(self, stopped: Stopped) -> None:
        if monotonic() < self._calibrate_from:
            return
        log = structlog.get_logger().bind(monitor=self._audience.monitor)
        try:
            done = self._calibrator.calibrate_due(self._owner, stopped, utc_now())
        except AWAY:
            raise
        except (StoppedError, LeaseLostError) as error:
            log.info("calibration left", reason=str(error))
        except Exception as error:  # the top of the worker: jobs are taken all the same
            self._calibrate_from = monotonic() + _CALIBRATION_PAUSE_SECONDS
            log.exception("calibration failed", expected=isinstance(error, RedistillError))
        else:
            if done is not None:
                log.info("student calibrated", version=done.version, temperature=done.fit.temperature)

    def _point_current(self) -> None:
        """A link that cannot be set is told, once, and set at a later turn."""
        log = structlog.get_logger().bind(monitor=self._audience.monitor)
        try:
            if self._attempt.point_current():
                log.info("current set")
            self._link_told = ""
        except LinkError as error:
            told, self._link_told = self._link_told, str(error)
            if told != self._link_told:
                log.error("current not set", error=self._link_told)  # noqa: TRY400 - its one line says all

    def _claim(self) -> tuple[Job, Lease] | None:
        with writing(self._engine) as connection:
            return queue.claim(
                connection,
                self._audience.monitor,
                owner=self._owner,
                lease_seconds=LEASE_SECONDS,
                now=utc_now(),
            )

    def _run(self, job: Job, lease: Lease, stopped: Stopped) -> None:
        log = structlog.get_logger().bind(monitor=job.monitor, job_id=job.job_id, attempt=job.attempt)
        try:
            self._attempt_one(job, lease, stopped, log)
        except (LeaseLostError, JobNotWantedError) as error:
            log.warning("job left", reason=str(error))

    def _attempt_one(self, job: Job, lease: Lease, stopped: Stopped, log: FilteringBoundLogger) -> None:
        if job.attempt > queue.MAX_ATTEMPTS:
            last = f"; the last error: {job.error}" if job.error else ""
            self._fail(job, lease, f"given up: {queue.MAX_ATTEMPTS} workers died with it or failed{last}")
            log.error("job given up")
            return
        log.info("job started", alpha=str(job.alpha_to), reason=job.reason)
        try:
            proof = self._attempt.make(job, stopped=stopped, now=utc_now())
            promote = self._attempt.redistill.promote
            settled = settle(self._engine, lease, job, proof, self._audience, promote=promote, now=utc_now())
            log.info("job ended", decision=settled.decision.value, reason=settled.reason)
        except StoppedError:
            self._give_back(job, lease, None)
            log.info("job given back")
        except AWAY as error:  # no fault of the job: it is not failed, and the attempt does not count
            Outage().insist("job", lambda: self._give_back(job, lease, None), stopped)
            log.warning("job given back", reason=str(error))
        except ArchiveAwayError as error:  # nor is this
            self._give_back(job, lease, None)
            log.warning("job given back", reason=str(error))
            raise
        except (LeaseLostError, JobNotWantedError):
            raise
        except RedistillError as error:
            self._fail(job, lease, str(error))
            log.error("job failed", error=str(error))  # noqa: TRY400 - its one line says what to do
        except Exception as error:  # the top of the worker: another attempt may do better
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._give_back(job, lease, text)
            log.exception("attempt failed")

    def _give_back(self, job: Job, lease: Lease, error: str | None) -> None:
        with writing(self._engine) as connection:
            queue.lock_for_write(connection, job, lease)
            queue.requeue(connection, job, error=error)

    def _fail(self, job: Job, lease: Lease, error: str) -> None:
        with writing(self._engine) as connection:
            queue.lock_for_write(connection, job, lease)
            now = utc_now()
            queue.finish(connection, job, JobStatus.FAILED, now=now, error=error)
            report_job_end(connection, job, JobStatus.FAILED, error, self._audience, now=now)
