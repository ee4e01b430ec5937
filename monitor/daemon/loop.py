"""The daemon's loop: ticks for slots, jobs and the watchdog, and the delivery threads."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from monitor.clock import utc_now
from monitor.daemon.delivery_threads import Deliveries, DeliveryThreads
from monitor.daemon.failures import Failures
from monitor.daemon.slot_runner import SLOTS, SlotRunner
from monitor.daemon.watchdog import Watchdog
from monitor.stop import Stopped

#: The time that the current cycle has to end when the process is asked to stop.
STOP_TIMEOUT_SECONDS = 6.0
_JOBS, _CLOCK = "jobs", "clock"
#: The number of ticks between two looks into the database, for slots, jobs and messages that other processes
#: have left there, and between two checks of the watchdog.
_LOOK_TICKS: Final = 5
_WATCHDOG_TICKS: Final = 15

#: Calls workers to the queued job, or starts one, unless that was done.
CallWorkers = Callable[[datetime], object]
#: Does some work that can wait, and returns whether more is left; checks the argument between steps.
CleanUp = Callable[[Stopped], bool]


class Daemon:
    """The ticks for slots, jobs and the watchdog, and the delivery threads.

    All state is in the database: a tick finds there what is due. What this process has written itself is
    found at once, and a slot that falls due at the next tick. No tick begins once `stop`, the event of the
    process, is set.
    """

    def __init__(
        self,
        runner: SlotRunner,
        watchdog: Watchdog,
        deliveries: Deliveries,
        call_workers: CallWorkers,
        *,
        tick: timedelta,
        clean_up: CleanUp = lambda _stopped: False,
        stop: threading.Event | None = None,
    ) -> None:
        self._runner = runner
        self._call_workers = call_workers
        self._clean_up = clean_up
        self._stop = stop or threading.Event()
        self._tick = tick
        self._failures = Failures()
        self._look_after = 0.0  #: a time on the monotonic clock
        self._delivery_threads = DeliveryThreads(
            deliveries, pause=_LOOK_TICKS * tick, clock=utc_now, outage=runner.outage
        )
        self._watchdog = watchdog
        self._locks = {name: threading.Lock() for name in (SLOTS, _JOBS, _CLOCK)}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={name: ThreadPoolExecutor(1) for name in self._locks},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        turns = (
            (SLOTS, self._slots, tick),
            (_JOBS, self._jobs, _LOOK_TICKS * tick),
            (_CLOCK, self._clock, _WATCHDOG_TICKS * tick),
        )
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
        for job in self._scheduler.get_jobs():
            if job.next_run_time > utc_now() + 5 * job.trigger.interval:
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
        next_due_at = self._runner.next_due_at
        is_due = next_due_at is not None and utc_now() >= next_due_at
        if is_due or monotonic() >= self._look_after:
            self._turn(SLOTS, self._run_due_slots)

    def _run_due_slots(self) -> None:
        if self._runner.run_due(self._stop.is_set):
            self._delivery_threads.look_now()
            with suppress(JobLookupError):  # the scheduler was shut down meanwhile
                self._scheduler.modify_job(_JOBS, next_run_time=utc_now())
        elif not self._clean_up(self._stop.is_set):
            self._look_after = monotonic() + (_LOOK_TICKS - 0.5) * self._tick.total_seconds()

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
