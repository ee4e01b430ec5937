"""The daemon's loop: ticks for slots, jobs and the watchdog, and the delivery threads."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from monitor.clock import utc_now
from monitor.daemon.delivery_threads import Deliver, DeliveryThreads
from monitor.daemon.failures import Failures
from monitor.daemon.slot_runner import SLOTS, SlotRunner
from monitor.daemon.watchdog import Watchdog

#: The time that the current cycle has to end when the process is asked to stop.
STOP_TIMEOUT_SECONDS = 6.0
_JOBS, _CLOCK = "jobs", "clock"

#: Calls workers to the queued job, or starts one, unless that was done.
CallWorkers = Callable[[datetime], object]


class Daemon:
    """The ticks for slots, jobs and the watchdog, and the delivery threads.

    All state is in the database: a tick finds there what is due. No tick begins once `stop`, the event of
    the process, is set.
    """

    def __init__(
        self,
        runner: SlotRunner,
        watchdog: Watchdog,
        deliver: Mapping[str, Deliver],
        call_workers: CallWorkers,
        *,
        tick: timedelta,
        stop: threading.Event | None = None,
    ) -> None:
        self._runner = runner
        self._call_workers = call_workers
        self._stop = stop or threading.Event()
        self._tick = tick
        self._failures = Failures()
        self._delivery_threads = DeliveryThreads(deliver, tick=tick, clock=utc_now, outage=runner.outage)
        self._watchdog = watchdog
        self._locks = {name: threading.Lock() for name in (SLOTS, _JOBS, _CLOCK)}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={name: ThreadPoolExecutor(1) for name in self._locks},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        turns = ((SLOTS, self._slots, tick), (_JOBS, self._jobs, tick), (_CLOCK, self._clock, 5 * tick))
        for name, turn, every in turns:
            self._scheduler.add_job(
                turn,
                "interval",
                seconds=every.total_seconds(),
                id=name,
                executor=name,
                next_run_time=utc_now(),
            )

    @property
    def is_running(self) -> bool:
        """Return whether the daemon ticks."""
        return bool(self._scheduler.running) and not self._stop.is_set()

    def start(self) -> None:
        """Start the ticks and the deliveries, in threads of their own."""
        self._scheduler.start()
        self._delivery_threads.start()

    def reschedule_after_clock_change(self) -> None:
        """Reschedule the ticks if the clock was set back, which puts their next times far into the future.

        Call this about every second.
        """
        latest = utc_now() + 10 * self._tick
        for job in self._scheduler.get_jobs():
            if job.next_run_time > latest:
                structlog.get_logger().warning("clock set back", tick=job.id)
                job.modify(next_run_time=utc_now())

    def stop(self) -> bool:
        """Ask the current cycle to end at its next batch, and wait for it and for the delivery threads.

        Return False if a tick hangs: it ends with the process, and the next process runs its slot.
        """
        self._stop.set()
        until = monotonic() + STOP_TIMEOUT_SECONDS
        self._delivery_threads.ask_to_stop()
        self._scheduler.shutdown(wait=False)
        hanging = [name for name, lock in self._locks.items() if not _is_released(lock, until)]
        self._delivery_threads.stop()
        if hanging:
            structlog.get_logger().warning("left hanging", ticks=hanging)
        return not hanging

    def _slots(self) -> None:
        self._turn(SLOTS, lambda: self._runner.run_due(self._stop.is_set))

    def _clock(self) -> None:
        self._turn(_CLOCK, lambda: self._watchdog.check(utc_now()))

    def _jobs(self) -> None:
        self._turn(_JOBS, lambda: self._call_workers(utc_now()))

    def _turn(self, name: str, work: Callable[[], object]) -> None:
        with self._locks[name]:
            if self._stop.is_set():
                return
            self._failures.attempt(name, lambda: self._runner.outage.attempt(name, work))


def _is_released(lock: threading.Lock, until: float) -> bool:
    """Return whether the lock is released by `until`; threads that wait for it still get it."""
    found = lock.acquire(timeout=max(0.0, until - monotonic()))
    if found:
        lock.release()
    return found
