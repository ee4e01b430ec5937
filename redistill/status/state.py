"""The current state of a monitor, from one consistent view of the database."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from db import incidents, outbox, queue, versions
from db.cycles import history, labels, windows
from db.records import (
    Correctness,
    Incident,
    InputDrift,
    Job,
    ModelVersion,
    ShareChange,
    Slice,
    Slot,
    Undelivered,
)
from db.states import RejectReason, Role, VerdictReason
from db.views import rows, view
from monitor.daemon.schedule import longest_window, make_trigger, newest_complete_slot, slot_at
from monitor.settings import MonitorSection
from redistill.display.show import Row
from redistill.display.words import order_words, shadow_words
from redistill.display.worker_state import worker_of
from triggers.incidents.label_shifts import largest_moves
from triggers.teacher.correctness import pooled

_LABELLED_CYCLES = 24


@dataclass(frozen=True, kw_only=True)
class State:
    """The current state of a monitor in the database."""

    monitor: str
    last_cycle: Row | None  #: without a quiet one
    quiet: Row | None  #: the newest cycle, if its window waits for more requests
    quiet_until: datetime | None  #: when that window is judged at the latest
    min_samples: int
    n_repeated: int  #: records of the last cycle whose id had occurred before
    n_undated: int  #: objects that the last cycle read, without a usable time and modified after its window
    rules: tuple[Row, ...]  #: outcome of each rule at the last cycle
    input_drift: InputDrift | None  #: of the last cycle
    moves: tuple[ShareChange, ...]  #: the labels whose shares changed most
    slices: tuple[Slice, ...]  #: of the last cycle, that disagree most, the first one first
    order: Row | None  #: newest cycle at which a rule fired, with its decision; None after a healthy cycle
    open_job: Job | None
    shadow: Mapping[str, object] | None  #: of the candidate in shadow
    worker: str | None  #: of the open job (see redistill/display/worker_state.py)
    incidents: tuple[Incident, ...]
    undelivered: tuple[Undelivered, ...]  #: notifications that were not accepted or not sent
    teacher: ModelVersion | None
    teacher_health: Row | None  #: health of the teacher in the last cycle with scores
    student: ModelVersion | None
    student_since: datetime | None
    estimated_accuracy: Row | None  #: of the student, in the last cycle with scores
    n_labelled_cycles: int  #: newest cycles with true labels, at most 24
    correctness: Correctness  #: over these cycles
    next_slot: Slot
    next_due_at: datetime

    @property
    def document(self) -> Mapping[str, object]:
        """The state for --json; `worker_is_gone` is older than `worker`."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**own, "worker_is_gone": self.worker == "gone"}


def read_state(
    connection: Connection, monitor: MonitorSection, now: datetime, *, shadow_cycles: int
) -> State:
    """Return the state, from one consistent view of the database."""
    newest = rows(connection, "cycle_history", monitor=monitor.name, order_by="window_end", newest=2)
    quiet = newest[-1] if newest and newest[-1]["verdict_reason"] == VerdictReason.QUIET else None
    cycles = newest[:-1] if quiet else newest[-1:]
    labelled = labels.correctness_of(connection, monitor.name, newest=_LABELLED_CYCLES)
    health = rows(connection, "teacher_history", monitor=monitor.name, order_by="window_end", newest=1)
    accuracy = rows(connection, "accuracy_history", monitor=monitor.name, order_by="window_end", newest=1)
    job = queue.open_job(connection, monitor.name)
    worker = worker_of(connection, job.job_id, job.status) if job else None
    drift, moves = _drift_of(connection, cycles[0]["cycle_id"]) if cycles else (None, ())
    next_slot = _next_slot(monitor, windows.last_end(connection, monitor.name, now=now), now)
    return State(
        monitor=monitor.name,
        last_cycle=cycles[0] if cycles else None,
        quiet=quiet,
        quiet_until=_judged_by(monitor, quiet) if quiet else None,
        min_samples=monitor.min_samples,
        n_repeated=_counted(connection, cycles[0], RejectReason.REPEATED_ID) if cycles else 0,
        n_undated=_counted(connection, cycles[0], RejectReason.UNDATED_OBJECT) if cycles else 0,
        rules=_rules_of(connection, cycles[0]) if cycles else (),
        input_drift=drift,
        moves=moves,
        slices=history.slices_of(connection, int(str(cycles[0]["cycle_id"]))) if cycles else (),
        order=order_words.standing_order(connection, monitor.name),
        open_job=job,
        shadow=shadow_words.document(connection, monitor.name, shadow_cycles),
        worker=worker,
        incidents=incidents.firing(connection, monitor.name),
        undelivered=outbox.undelivered(connection, monitor.name, now),
        teacher=versions.current(connection, monitor.name, Role.TEACHER),
        teacher_health=health[0] if health else None,
        student=versions.current(connection, monitor.name, Role.STUDENT),
        student_since=versions.current_since(connection, monitor.name, Role.STUDENT),
        estimated_accuracy=accuracy[0] if accuracy else None,
        n_labelled_cycles=len(labelled),
        correctness=pooled(each.correctness for each in labelled),
        next_slot=next_slot,
        next_due_at=next_slot.window_end + monitor.lateness,
    )


def _counted(connection: Connection, cycle: Row, reason: RejectReason) -> int:
    source = view("reject_history")
    of_cycle = (source.c.cycle_id == cycle["cycle_id"], source.c.reason == reason.value)
    return connection.scalar(select(source.c.n).where(*of_cycle)) or 0


def _rules_of(connection: Connection, cycle: Row) -> tuple[Row, ...]:
    source = view("rule_history")
    query = select(source).where(source.c.cycle_id == cycle["cycle_id"]).order_by(source.c.rule)
    found = connection.execute(query).mappings()
    # SQLite has no booleans
    return tuple({**row, "breached": bool(row["breached"]), "fired": bool(row["fired"])} for row in found)


def _drift_of(connection: Connection, cycle_id: Any) -> tuple[InputDrift | None, tuple[ShareChange, ...]]:  # noqa: ANN401 - as the view gives it
    drift = history.input_drift_of(connection, cycle_id)
    if drift is None:
        return None, ()
    then, now = (history.label_shares(connection, each) for each in (drift.reference_cycle_id, cycle_id))
    return drift, largest_moves(then, now)


def _next_slot(monitor: MonitorSection, last_end: datetime | None, now: datetime) -> Slot:
    trigger = make_trigger(monitor)
    if last_end is None:
        return newest_complete_slot(trigger, monitor.name, now=now, lateness=monitor.lateness)
    return replace(slot_at(trigger, monitor.name, last_end), window_start=last_end)


def _judged_by(monitor: MonitorSection, quiet: Mapping[str, Any]) -> datetime:
    slot = Slot(monitor=monitor.name, window_start=quiet["window_start"], window_end=quiet["window_end"])
    return longest_window(make_trigger(monitor), slot, monitor.max_window) + monitor.lateness
