"""The runner of slots: finds those that are due and attempts each, under the lease of the monitor."""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from db import leases, monitors
from db.connection import clock, clock_skew
from db.connection.outage import Outage
from db.connection.session import writing
from db.connection.unavailable import UNAVAILABLE
from db.cycles import ledger, rejudging, windows
from db.cycles.ledger import AttemptEndedError
from db.cycles.windows import Gap
from db.errors import LeaseLostError, RedistillError, one_line
from db.heartbeat import Heartbeat
from db.records import Claim, CycleResult, EarlierResult, Lease, QuietResult, Slot
from db.states import Verdict
from monitor.archive import files
from monitor.archive.places import ArchiveReadError, ArchiveWriteError
from monitor.clock import utc_now
from monitor.daemon.schedule import (
    due_slots,
    is_due_again,
    longest_window,
    make_trigger,
    slot_at,
    slots_after,
)
from monitor.daemon.slot_reports import report, report_quiet, report_without_result
from monitor.settings import MonitorSection
from monitor.stop import Stopped, StoppedError
from triggers.conclude import Conclusion, Policy, conclude, conclude_failure
from triggers.conclude_quiet import conclude_quiet

T = TypeVar("T")

LEASE_SECONDS = 30.0
SLOTS: Final = "slots"  #: the name of the thread that runs slots, in `Outage` and in logs

#: Measures one claimed slot; checks the second argument between steps.
MeasureSlot = Callable[[Claim, Stopped], CycleResult | QuietResult]
#: Returns the slots to attempt, in order; called in the transaction that takes the lease.
_FindSlots = Callable[[Connection], Iterable[Slot]]
#: Hears of a cycle that has ended with this verdict; its result is None if it failed.
CycleEnded = Callable[[Claim, Verdict, CycleResult | None], None]
#: Starts an attempt at a slot; None if the slot has ended.
_ClaimSlot = Callable[[Connection, Slot, datetime], Claim | None]


def unheard(_claim: Claim, _verdict: Verdict, _result: CycleResult | None) -> None:
    """Ignore the end of a cycle."""


class MonitorBusyError(RedistillError):
    """Another process is running the monitor {monitor!r}: stop it first, or leave the work to it."""


class SlotRunner:
    """The attempts at slots of one monitor, under its lease."""

    def __init__(
        self,
        engine: Engine,
        section: MonitorSection,
        measure: MeasureSlot,
        policy: Policy,
        ended: CycleEnded = unheard,
    ) -> None:
        self._engine = engine
        self._section = section
        self._trigger = make_trigger(section)
        self._measure = measure
        self._policy = policy
        self._ended = ended
        self._owner = leases.new_owner()
        self._ahead_by = timedelta(0)  #: by how much this process's clock is ahead of the database's
        self.outage = Outage()  #: of the database, as this process knows it
        self.unchanged: dict[datetime, str] = {}  #: by the end of a window, why it could not be judged again
        self.next_due_at: datetime | None = None  #: as of the last search; None: unknown

    def run_due(self, stopped: Stopped) -> int:
        """Attempt every due slot, oldest first, and return the number; 0 if another process has the lease.

        Raises:
            MonitorRenamedError: the monitor has another name now.
        """
        try:
            return self._run_under_lease(self._due_slots, stopped)
        except MonitorBusyError:
            self.next_due_at = None
            return 0

    def run(self, slots: Iterable[Slot], stopped: Stopped) -> int:
        """Attempt the given slots in order, except those that have ended, and return the number attempted.

        Raises:
            MonitorBusyError: another process holds the lease of the monitor.
        """
        return self._run_under_lease(lambda _connection: slots, stopped)

    def rejudge(self, slots: Iterable[Slot], stopped: Stopped) -> int:
        """Attempt the given slots that have no verdict, and return the number attempted.

        A failed attempt leaves its cycle as it was; its error is in `unchanged`.

        Raises:
            MonitorBusyError: another process holds the lease of the monitor.
        """
        return self._run_under_lease(lambda _connection: slots, stopped, rejudging.claim)

    def _run_under_lease(self, find: _FindSlots, stopped: Stopped, claim: _ClaimSlot | None = None) -> int:
        name, claim = self._section.name, claim or partial(ledger.claim, max_window=self._section.max_window)
        with writing(self._engine) as connection:
            lease = leases.acquire(connection, f"monitor:{name}", owner=self._owner, seconds=0)
            monitors.refuse_renamed(connection, name)  # now, as a change of the name locks the lease
            if lease is None:
                raise MonitorBusyError(monitor=name)
            self._compare_clocks(clock.read(connection))
            slots = tuple(find(connection))
            if not slots:
                return 0
            leases.renew(connection, lease, seconds=LEASE_SECONDS)
        try:
            with Heartbeat(self._engine, lease, seconds=LEASE_SECONDS) as heartbeat:
                return self._attempt_all(lease, slots, lambda: stopped() or heartbeat.lost, claim)
        finally:
            with suppress(*UNAVAILABLE), writing(self._engine) as connection:  # the lease then expires
                leases.release(connection, lease)

    def _attempt_all(self, lease: Lease, slots: Collection[Slot], stopped: Stopped, claim: _ClaimSlot) -> int:
        done, ends = 0, {slot.window_end for slot in slots}
        with suppress(StoppedError, LeaseLostError):
            for slot in slots:
                if stopped():
                    break
                done += self._attempt(lease, slot, stopped, claim, ends)
        return done

    def _due_slots(self, connection: Connection) -> tuple[Slot, ...]:
        section, now = self._section, self._now()
        oldest, complete = now - section.lateness - section.catch_up, now - section.lateness
        reopened = clock_skew.reopen(connection, section.name, now=clock.read(connection), since=oldest)
        last_end = windows.last_end(connection, section.name, now=now)
        due = due_slots(
            self._trigger,
            section.name,
            last_end=last_end,
            now=now,
            lateness=section.lateness,
            catch_up=section.catch_up,
        )
        ledger.skip(connection, due.skipped, now)
        unfinished = windows.unfinished(connection, section.name, since=oldest, ended_by=complete)
        if any(each.slot.window_end < oldest for each in unfinished):
            ledger.abandon(connection, section.name, ended_before=oldest, now=now)
        gaps = windows.gaps(connection, section.name, since=oldest, now=complete)
        if reopened:
            structlog.get_logger().warning("clock was ahead", monitor=section.name, slots_again=reopened)
        again = (
            each.slot for each in unfinished if is_due_again(each, now, section.catch_up + section.lateness)
        )
        missed = chain.from_iterable(self._slots_in(gap, oldest) for gap in gaps)
        found = tuple(sorted((*again, *missed, *due.run), key=attrgetter("window_end")))
        self.next_due_at = None if found or last_end is None else self._due_after(last_end)
        return found

    def _due_after(self, last_end: datetime) -> datetime:
        following = slot_at(self._trigger, self._section.name, last_end)
        return following.window_end + self._section.lateness

    def _now(self) -> datetime:
        """Return the time of this process's clock or of the database's, whichever is earlier."""
        return utc_now() - self._ahead_by

    def _compare_clocks(self, database: datetime) -> None:
        before, ahead_by = self._ahead_by, utc_now() - database
        self._ahead_by = max(ahead_by, timedelta(0))
        if self._ahead_by > clock_skew.SKEW >= before:
            structlog.get_logger().warning("clock is ahead", seconds=round(ahead_by.total_seconds()))

    def _slots_in(self, gap: Gap, oldest: datetime) -> tuple[Slot, ...]:
        name = self._section.name
        start = max(gap.start, slot_at(self._trigger, name, oldest).window_start)
        return slots_after(self._trigger, name, start, gap.end)

    def _attempt(
        self,
        lease: Lease,
        slot: Slot,
        stopped: Stopped,
        claim_slot: _ClaimSlot,
        ends: Collection[datetime],
    ) -> bool:
        with writing(self._engine) as connection:
            leases.guard(connection, lease)
            claim = claim_slot(connection, slot, self._now())
            if claim is None:
                return False
            claim = replace(claim, may_wait=self._may_wait(connection, claim, ends))
        try:
            self._run(lease, claim, stopped)
        finally:
            if claim.earlier is not None:
                self._delete_other_archives(lease, claim, claim.earlier)
        return True

    def _may_wait(self, connection: Connection, claim: Claim, ends: Collection[datetime]) -> bool:
        """Return whether the next slot may extend the window: it will be attempted, and nothing covers it.

        `ends` are the ends of the slots that are attempted now; later the daemon attempts slots that fell due
        less than `catch_up` ago. A window that is judged again keeps its bounds.
        """
        section, slot = self._section, claim.slot
        following = slot_at(self._trigger, section.name, slot.window_end).window_end
        return (
            claim.earlier is None
            and following <= longest_window(self._trigger, slot, section.max_window)
            and (following in ends or following + section.lateness + section.catch_up >= self._now())
            and not windows.is_covered(connection, slot.monitor, slot.window_end, following)
        )

    def _run(self, lease: Lease, claim: Claim, stopped: Stopped) -> None:
        slot = claim.slot
        log = structlog.get_logger().bind(
            monitor=slot.monitor, cycle_id=claim.cycle_id, window_end=slot.window_end.isoformat()
        )
        log.info("cycle started", attempt=claim.attempt)
        try:
            self._measure_and_conclude(lease, claim, stopped, log)
        except LeaseLostError as error:
            log.warning("cycle left to another process", error=str(error))
            raise

    def _measure_and_conclude(
        self, lease: Lease, claim: Claim, stopped: Stopped, log: FilteringBoundLogger
    ) -> None:
        try:
            result = self._measure(claim, stopped)
            if isinstance(result, QuietResult):
                self._retry_until_written(partial(self._wait, lease, claim, result), stopped)
                section = self._section
                judged_by = longest_window(self._trigger, claim.slot, section.max_window)
                report_quiet(log, claim, result, min_samples=section.min_samples, judged_by=judged_by)
                return
            conclusion = self._retry_until_written(partial(self._conclude, lease, claim, result), stopped)
            report(log, conclusion)
            self._ended(claim, conclusion.judgement.verdict, result)
        except (StoppedError, *UNAVAILABLE) as error:
            self._retry_until_written(lambda: self._give_back(lease, claim), stopped)
            report_without_result(log, claim, error)
            raise StoppedError from error
        except AttemptEndedError as error:
            log.info("cycle had ended", reason=str(error))
        except LeaseLostError:
            raise
        except Exception as error:
            why, expected = _one_line(error), isinstance(error, RedistillError)
            event = "cycle failed" if claim.earlier is None else "cycle left as it was"
            log.exception(event, expected=expected, error=why, exc_info=not expected)
            if claim.earlier is not None:
                self.unchanged[claim.slot.window_end] = why
                return
            self._retry_until_written(lambda: self._fail(lease, claim, why), stopped)
            self._ended(claim, Verdict.FAILED, None)

    def _retry_until_written(self, write: Callable[[], T], stopped: Stopped) -> T:
        """Retry the write until the database accepts it: the measurement may have taken long."""
        return self.outage.retry(SLOTS, write, stopped)

    def _conclude(self, lease: Lease, claim: Claim, result: CycleResult) -> Conclusion:
        return conclude(self._engine, lease, claim, result, self._policy, now=self._now())

    def _wait(self, lease: Lease, claim: Claim, result: QuietResult) -> None:
        conclude_quiet(self._engine, lease, claim, result, self._policy.audience, now=self._now())

    def _fail(self, lease: Lease, claim: Claim, error: str) -> None:
        conclude_failure(self._engine, lease, claim, error, self._policy, now=self._now())

    def _give_back(self, lease: Lease, claim: Claim) -> None:
        if claim.earlier is not None:
            return  # the attempt changed nothing
        with suppress(AttemptEndedError), writing(self._engine) as connection:
            leases.guard(connection, lease)
            ledger.lock_for_write(connection, claim)
            ledger.give_back(connection, claim)

    def _delete_other_archives(self, lease: Lease, claim: Claim, earlier: EarlierResult) -> None:
        """Delete the archives of a window that was judged again, except the one that SQL names."""
        try:
            with writing(self._engine) as connection:
                leases.guard(connection, lease)
                uri = rejudging.archive_of(connection, claim.cycle_id)
            files.keep_only(self._section.archive, claim.slot, uri, before=earlier.archive)
        except (LeaseLostError, ArchiveReadError, ArchiveWriteError, *UNAVAILABLE) as error:
            structlog.get_logger().warning("archive not swept", cycle_id=claim.cycle_id, error=str(error))


def _one_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error  # without the statement and its values
    text = one_line(cause)
    return text if isinstance(error, RedistillError) else f"{type(error).__name__}: {text}"
