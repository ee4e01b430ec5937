"""The daemon's loop: which slots are due, one attempt at each; and messages and workers meanwhile."""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import attrgetter
from time import monotonic
from typing import TypeVar

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from db import leases
from db.connection import clock, clock_skew
from db.connection.outage import Outage
from db.connection.session import writing
from db.connection.unavailable import AWAY
from db.cycles import ledger, rejudging
from db.cycles.ledger import AttemptEndedError, Gap
from db.errors import LeaseLostError, RedistillError, one_line
from db.heartbeat import Heartbeat
from db.records import Claim, CycleResult, Earlier, Lease, Slot
from monitor.archive import files
from monitor.archive.places import ArchiveReadError, ArchiveWriteError
from monitor.clock import utc_now
from monitor.daemon.delivery_threads import Couriers, Deliver
from monitor.daemon.schedule import due_slots, is_due_again, make_trigger, slot_at, slots_between
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from monitor.stop import Stopped, StoppedError
from triggers.conclude import Conclusion, Policy, conclude, conclude_failure

T = TypeVar("T")

LEASE_SECONDS = 30.0
#: How long the cycle under way may take to end when the process is asked to stop.
PATIENCE_SECONDS = 6.0
_SLOTS, _JOBS, _CLOCK = "slots", "jobs", "clock"

#: Measures one claimed slot; asks the second argument between steps whether to stop.
MeasureSlot = Callable[[Claim, Stopped], CycleResult]
#: Calls the workers to the job that waits, or starts one, if nobody has.
CallWorkers = Callable[[datetime], object]
#: Which slots to attempt, in their order; asked under the lease.
_FindSlots = Callable[[Lease], Iterable[Slot]]
#: Starts an attempt at a slot; None if it has ended already.
_ClaimSlot = Callable[[Connection, Slot, datetime], Claim | None]


class MonitorBusyError(RedistillError):
    """Another process runs the monitor {monitor!r} now: stop it first, or let it do the work."""


class SlotRunner:
    """Attempts slots of one monitor, under its lease."""

    def __init__(self, engine: Engine, section: MonitorSection, measure: MeasureSlot, policy: Policy) -> None:
        self._engine = engine
        self._section = section
        self._trigger = make_trigger(section)
        self._measure = measure
        self._policy = policy
        self._owner = leases.new_owner()
        self._lead = timedelta(0)  #: by how much this process's clock is ahead of the database's
        self.outage = Outage()  #: what this process knows of a database that is away
        self.unchanged: dict[datetime, str] = {}  #: why a window was not judged again, by its end

    def run_due(self, stopped: Stopped) -> int:
        """Attempt every due slot, oldest first; 0 at once if another process holds the monitor."""
        try:
            return self._holding_the_lease(self._due_slots, stopped)
        except MonitorBusyError:
            return 0

    def run(self, slots: Iterable[Slot], stopped: Stopped) -> int:
        """Attempt the given slots, in their order; those that have ended already are left as they are.

        Raises:
            MonitorBusyError: another process holds the monitor.
        """
        return self._holding_the_lease(lambda _lease: slots, stopped)

    def rejudge(self, slots: Iterable[Slot], stopped: Stopped) -> int:
        """Attempt those of the slots that have no verdict; the others are left as they are.

        An attempt that fails leaves its cycle as it was, and its error in `unchanged`.

        Raises:
            MonitorBusyError: another process holds the monitor.
        """
        return self._holding_the_lease(lambda _lease: slots, stopped, rejudging.claim)

    def _holding_the_lease(self, find: _FindSlots, stopped: Stopped, claim: _ClaimSlot = ledger.claim) -> int:
        name = self._section.name
        with writing(self._engine) as connection:
            lease = leases.acquire(connection, f"monitor:{name}", owner=self._owner, seconds=LEASE_SECONDS)
        if lease is None:
            raise MonitorBusyError(monitor=name)
        try:
            with Heartbeat(self._engine, lease, seconds=LEASE_SECONDS) as heartbeat:
                return self._attempt_all(lease, find, lambda: stopped() or heartbeat.lost, claim)
        finally:
            with suppress(*AWAY), writing(self._engine) as connection:  # then it runs out by itself
                leases.release(connection, lease)

    def _attempt_all(self, lease: Lease, find: _FindSlots, stopped: Stopped, claim: _ClaimSlot) -> int:
        done = 0
        with suppress(StoppedError, LeaseLostError):
            for slot in find(lease):
                if stopped():
                    break
                done += self._attempt(lease, slot, stopped, claim)
        return done

    def _due_slots(self, lease: Lease) -> tuple[Slot, ...]:
        section = self._section
        with writing(self._engine) as connection:
            leases.guard(connection, lease)
            database = clock.read(connection)
            self._compare_clocks(database)
            now = self._now()
            oldest, complete = now - section.lateness - section.catch_up, now - section.lateness
            reopened = clock_skew.reopen(connection, section.name, now=database, since=oldest)
            due = due_slots(
                self._trigger,
                section.name,
                last_end=ledger.last_end(connection, section.name, now=now),
                now=now,
                lateness=section.lateness,
                catch_up=section.catch_up,
            )
            ledger.skip(connection, due.skipped, now)
            unfinished = ledger.unfinished(connection, section.name, ended_by=complete)
            ledger.abandon(
                connection, (each.slot for each in unfinished if each.slot.window_end < oldest), now
            )
            gaps = ledger.gaps(connection, section.name, since=oldest, now=complete)
        if reopened:
            structlog.get_logger().warning("clock was ahead", monitor=section.name, slots_again=reopened)
        again = (
            each.slot for each in unfinished if is_due_again(each, now, section.catch_up + section.lateness)
        )
        missed = chain.from_iterable(self._slots_in(gap, oldest) for gap in gaps)
        return tuple(sorted((*again, *missed, *due.run), key=attrgetter("window_end")))

    def _now(self) -> datetime:
        """This process's clock, or the database's where that is earlier."""
        return utc_now() - self._lead

    def _compare_clocks(self, database: datetime) -> None:
        before, lead = self._lead, utc_now() - database
        self._lead = max(lead, timedelta(0))
        if self._lead > clock_skew.SKEW >= before:
            structlog.get_logger().warning("clock is ahead", seconds=round(lead.total_seconds()))

    def _slots_in(self, gap: Gap, oldest: datetime) -> tuple[Slot, ...]:
        name = self._section.name
        start = max(gap.start, slot_at(self._trigger, name, oldest).window_start)
        return slots_between(self._trigger, name, start, gap.end)

    def _attempt(self, lease: Lease, slot: Slot, stopped: Stopped, claim_slot: _ClaimSlot) -> bool:
        with writing(self._engine) as connection:
            leases.guard(connection, lease)
            claim = claim_slot(connection, slot, self._now())
        if claim is None:
            return False
        try:
            self._run(lease, claim, stopped)
        finally:
            if claim.earlier is not None:
                self._sweep(lease, claim, claim.earlier)
        return True

    def _run(self, lease: Lease, claim: Claim, stopped: Stopped) -> None:
        slot = claim.slot
        log = structlog.get_logger().bind(
            monitor=slot.monitor, cycle_id=claim.cycle_id, window_end=slot.window_end.isoformat()
        )
        log.info("cycle started", attempt=claim.attempt)
        try:
            result = self._measure(claim, stopped)
            _report(log, self._insist(lambda: self._conclude(lease, claim, result), stopped))
        except (StoppedError, *AWAY) as error:
            self._insist(lambda: self._give_back(lease, claim), stopped)
            log.info("cycle given back", reason=str(error))
            raise StoppedError from error
        except AttemptEndedError as error:
            log.info("cycle had ended", reason=str(error))
        except LeaseLostError as error:
            log.warning("cycle left to another process", error=str(error))
            raise
        except Exception as error:
            why = _one_line(error)
            if claim.earlier is not None:
                log.exception("cycle left as it was", expected=isinstance(error, RedistillError))
                self.unchanged[slot.window_end] = why
                return
            log.exception("cycle failed", expected=isinstance(error, RedistillError))
            self._insist(lambda: self._fail(lease, claim, why), stopped)

    def _insist(self, write: Callable[[], T], stopped: Stopped) -> T:
        """A measurement may have taken long: it is kept until the database takes it."""
        return self.outage.insist(_SLOTS, write, stopped)

    def _conclude(self, lease: Lease, claim: Claim, result: CycleResult) -> Conclusion:
        return conclude(self._engine, lease, claim, result, self._policy, now=self._now())

    def _fail(self, lease: Lease, claim: Claim, error: str) -> None:
        conclude_failure(self._engine, lease, claim, error, self._policy, now=self._now())

    def _give_back(self, lease: Lease, claim: Claim) -> None:
        if claim.earlier is not None:
            return  # its cycle is as it was
        with suppress(AttemptEndedError), writing(self._engine) as connection:
            leases.guard(connection, lease)
            ledger.lock_for_write(connection, claim)
            ledger.give_back(connection, claim)

    def _sweep(self, lease: Lease, claim: Claim, earlier: Earlier) -> None:
        """Leave one archive of a window that was judged again: the one that is in SQL."""
        try:
            with writing(self._engine) as connection:
                leases.guard(connection, lease)
                uri = rejudging.archive_of(connection, claim.cycle_id)
            files.keep_only(self._section.archive, claim.slot, uri, before=earlier.archive)
        except (LeaseLostError, ArchiveReadError, ArchiveWriteError, *AWAY) as error:
            structlog.get_logger().warning("archive not swept", cycle_id=claim.cycle_id, error=str(error))


def _report(log: structlog.stdlib.BoundLogger, ended: Conclusion) -> None:
    log.info(
        "cycle ended",
        verdict=ended.judgement.verdict.value,
        reason=ended.judgement.reason.value,
        detail=ended.judgement.detail,
        teacher=ended.teacher.health.value,
        order=ended.order.reason.value,
        job_id=ended.order.job_id,
    )


def _one_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error  # without the statement and its values
    text = one_line(cause)
    return text if isinstance(error, RedistillError) else f"{type(error).__name__}: {text}"


class Daemon:
    """Ticks for slots, jobs and the clock, a courier for each channel. The database knows what is due."""

    def __init__(
        self,
        runner: SlotRunner,
        watchdog: Watchdog,
        deliver: Mapping[str, Deliver],
        call_workers: CallWorkers,
        *,
        tick: timedelta,
    ) -> None:
        self._runner = runner
        self._call_workers = call_workers
        self._stop = threading.Event()
        self._tick = tick
        self._couriers = Couriers(deliver, tick=tick, clock=utc_now, outage=runner.outage)
        self._watchdog = watchdog
        self._under_way = {name: threading.Lock() for name in (_SLOTS, _JOBS, _CLOCK)}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={name: ThreadPoolExecutor(1) for name in self._under_way},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        turns = ((_SLOTS, self._slots, tick), (_JOBS, self._jobs, tick), (_CLOCK, self._clock, 5 * tick))
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
        """Whether the ticks go on."""
        return bool(self._scheduler.running) and not self._stop.is_set()

    def start(self) -> None:
        """Begin to tick, in threads of its own."""
        self._scheduler.start()
        self._couriers.start()

    def keep_time(self) -> None:
        """Tick on where the clock was set back, for the next tick was meant for a time that is now far away.

        To be called every second or so.
        """
        latest = utc_now() + 10 * self._tick
        for job in self._scheduler.get_jobs():
            if job.next_run_time > latest:
                structlog.get_logger().warning("clock set back", tick=job.id)
                job.modify(next_run_time=utc_now())

    def stop(self) -> bool:
        """Ask the cycle under way to end at its next batch, and wait for it; a little for the channels.

        False if something hangs: it has to end with the process. Its slot is run by the next one.
        """
        self._stop.set()
        until = monotonic() + PATIENCE_SECONDS
        self._couriers.ask_to_stop()
        self._scheduler.shutdown(wait=False)
        hanging = [name for name, lock in self._under_way.items() if not _is_free(lock, until)]
        self._couriers.stop()
        if hanging:
            structlog.get_logger().warning("left hanging", ticks=hanging)
        return not hanging

    def _slots(self) -> None:
        self._turn(_SLOTS, lambda: self._runner.run_due(self._stop.is_set))

    def _clock(self) -> None:
        self._turn(_CLOCK, lambda: self._watchdog.look(utc_now()))

    def _jobs(self) -> None:
        self._turn(_JOBS, lambda: self._call_workers(utc_now()))

    def _turn(self, name: str, work: Callable[[], object]) -> None:
        with self._under_way[name]:
            if self._stop.is_set():
                return
            try:
                self._runner.outage.turn(name, work)
            except Exception:  # noqa: BLE001 - the top of the daemon: the next tick tries again
                structlog.get_logger().exception("tick failed", tick=name)


def _is_free(lock: threading.Lock, until: float) -> bool:
    """Whether its holder has let go of it by then; who waits for it still gets it."""
    found = lock.acquire(timeout=max(0.0, until - monotonic()))
    if found:
        lock.release()
    return found
