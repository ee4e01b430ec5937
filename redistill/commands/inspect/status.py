"""`redistill status`: the current state on one screen."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import typer
from rich.text import Text
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
from db.states import RejectReason, Role, TeacherHealth, TeacherReason, Verdict, VerdictReason
from db.views import rows, view
from monitor.clock import utc_now
from monitor.daemon.schedule import longest_window, make_trigger, newest_complete_slot, slot_at
from monitor.settings import MonitorSection
from redistill.commands.options import Config, Json, command, configured, examples
from redistill.database import reading_from
from redistill.display import show
from redistill.display.cleared_windows import advice_on_cleared
from redistill.display.failures import cause
from redistill.display.show import Row
from redistill.display.times import length, relative
from redistill.display.words import accuracy_words, order_words, shadow_words
from redistill.display.words.reject_words import undated_objects
from redistill.display.worker_state import IN_WORDS, worker_of
from triggers.incidents.label_shifts import largest_moves, what_moved
from triggers.incidents.slice_words import first_slices, slice_in_words
from triggers.settings import Rule
from triggers.teacher.advice import advice_on
from triggers.teacher.correctness import pooled
from triggers.teacher.label_evidence import label_evidence, percent

app = command()

_LABELLED_CYCLES = 24
_HINTS = {VerdictReason.NO_RULE_EVALUATED.value: ": `redistill doctor` names the rules"}
_NOT_SENT = "not sent: check that `redistill monitor` runs and that [[alerts]] has the channel"


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


@app.command(epilog=examples("redistill status", "redistill status --json"))
def status(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """Show the last cycle, the rules, the open job and incidents, both models and the next slot."""
    settings, now = configured(ctx, config), utc_now()
    with reading_from(settings) as connection:
        state = read_state(connection, settings.monitor, now, shadow_cycles=settings.redistill.shadow_cycles)
        cleared = advice_on_cleared(connection, settings.monitor.name, settings.teacher)
    if as_json:
        show.print_json(state.document)
    else:
        show.facts([*_facts(state, settings.rules, now), *([("to do", cleared)] if cleared else [])])


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


def _facts(state: State, rules: Sequence[Rule], now: datetime) -> Iterator[tuple[str, show.Cell]]:
    yield "monitor", state.monitor
    yield from _windows(state, now)
    if state.input_drift is not None:
        yield "what moved", what_moved(state.input_drift, state.moves)
    configured_rules = {rule.name: rule for rule in rules}
    for outcome in state.rules:
        name = str(outcome["rule"])
        yield f"rule {name}", _rule(outcome, configured_rules.get(name))
    if state.estimated_accuracy is not None:
        yield "accuracy", accuracy_words.estimated(state.estimated_accuracy)
    yield "who is right", _correctness(state)
    if state.order is not None:
        yield "order", _order(state.order, state.last_cycle)
        yield "lower alpha", label_evidence([state.correctness]).says
    yield "open job", _job(state.open_job, state, now) if state.open_job else "none"
    if state.shadow is not None:
        yield "shadow", str(state.shadow["summary"])
    yield "incidents", _incidents(state.incidents, now) if state.incidents else "none"
    if state.undelivered:
        yield "notifications", _undelivered(state.undelivered)
    if state.teacher_health is not None:
        yield "teacher", _teacher(state.teacher_health)
        if state.teacher_health["health"] == TeacherHealth.UNHEALTHY:
            yield "what to do", advice_on(TeacherReason(str(state.teacher_health["reason"])))
    yield "student", _student(state, now) if state.student else "none yet; the first cycle records it"
    yield "next slot", f"{_window(state.next_slot)}, {_due(state, now)}"


def _windows(state: State, now: datetime) -> Iterator[tuple[str, show.Cell]]:
    if state.quiet is not None and state.quiet_until is not None:
        yield "quiet", _quiet(state.quiet, state.quiet_until, state.min_samples)
    if state.last_cycle is None and state.quiet is None:
        yield (
            "last cycle",
            "none yet; `redistill cycle` runs one now, `redistill monitor` runs each as it is due",
        )
    elif state.last_cycle is not None:
        yield from _cycle(state, state.last_cycle, now)


def _quiet(cycle: Row, until: datetime, min_samples: int) -> str:
    requests = f"{show.count(cycle['n_seen'])} of {show.count(min_samples)} requests"
    since = f"{requests} since {show.time(cycle['window_start'])}"
    return f"{since}; judged with the next windows, at the latest at {show.time(until)}"


def _cycle(state: State, cycle: Row, now: datetime) -> Iterator[tuple[str, show.Cell]]:
    verdict = show.verdict(cycle["verdict"] or cycle["status"])
    why = cause(cycle)
    hint = f": {why}" if why else _HINTS.get(str(cycle["verdict_reason"]), "")
    reason = f" ({cycle['verdict_reason'] or 'last error'}{hint})" if cycle["verdict_reason"] or why else ""
    finished = cycle["finished_at"]
    when = f", {relative(finished, now)}" if isinstance(finished, datetime) else ""
    yield "last cycle", Text.assemble(f"{_window_of(cycle)}: ", verdict, f"{reason}{when}")
    if cycle["n_scored"] is not None:
        seen, rejected = show.count(cycle["n_seen"]), show.count(cycle["n_rejected"])
        repeated = f", {show.count(state.n_repeated)} repeated ids" if state.n_repeated else ""
        undated = f", {undated_objects(state.n_undated)}" if state.n_undated else ""
        scored = f"{show.count(cycle['n_scored'])} scored of {seen}"
        yield "requests", f"{scored}, {rejected} records unusable{repeated}{undated}"
    if cycle["agreement"] is not None:
        yield "agreement", show.estimate(cycle, "agreement")
        yield "KL", f"{show.estimate(cycle, 'kl')} nats"
    if cycle["verdict"] == Verdict.BREACHED and state.slices:
        first = slice_in_words(first_slices(state.slices)[0])
        yield "most excess", f"{first}; `redistill archive slices` has the words"


def _rule(outcome: Row, rule: Rule | None) -> Text:
    value = show.number(outcome["value"])
    line = f"{outcome['reason']}: {value} against {show.decimal(outcome['threshold'])}, "
    if rule and outcome["statistic"] is not None:
        needed = show.number(math.log(rule.alarm_threshold), decimals=2)
        line += f"log wealth {show.number(outcome['statistic'], decimals=2)} of {needed}"
    else:
        line += f"streak {outcome['streak']}" + (f" of {rule.for_cycles}" if rule else "")
    return Text(line, style=show.BAD if outcome["breached"] else "")


def _correctness(state: State) -> str:
    found = state.correctness
    if not state.n_labelled_cycles:
        return "unknown; `redistill labels import FILE` imports true labels"
    of_cycles = f"({show.counted(state.n_labelled_cycles, 'cycle')} with labels)"
    if not found.n_disagreements:
        return f"the models agree on all {show.counted(found.n_labelled, 'labelled request')} {of_cycles}"
    return (
        f"of {show.counted(found.n_disagreements, 'labelled disagreement')} {of_cycles} the teacher is right "
        f"in {percent(found.teacher_right)}, the student in {percent(found.student_right)}, neither in "
        f"{percent(found.both_wrong)}"
    )


def _order(cycle: Row, last: Row | None) -> str:
    is_last = last is not None and cycle["cycle_id"] == last["cycle_id"]
    return order_words.decision(cycle) + ("" if is_last else f" (window {_window_of(cycle)})")


def _job(job: Job, state: State, now: datetime) -> str:
    worker = IN_WORDS.get(state.worker or "")
    more = f" ({worker})" if worker else ""
    last = f"; last error: {job.error}" if job.error and worker else ""
    return (
        f"job {job.job_id}: {job.status}{more}, {_since(job.started_at or job.enqueued_at, now)}, "
        f"alpha {job.alpha_from} -> {job.alpha_to}, ordered by {job.rule or 'a person'}: {job.reason}{last}"
    )


def _incidents(incidents: Sequence[Incident], now: datetime) -> Text:
    lines = (
        f"{incident.incident_id} {incident.kind} ({incident.severity}), "
        f"{relative(incident.opened_at, now)}{_acknowledged(incident)}: {incident.summary}"
        for incident in incidents
    )
    return Text("\n".join(lines), style=show.BAD)


def _acknowledged(incident: Incident) -> str:
    return f", acknowledged by {incident.acknowledged_by}" if incident.acknowledged_by else ""


def _undelivered(undelivered: Sequence[Undelivered]) -> Text:
    lines = (
        f"{each.channel}: {each.n_dead} dead, {each.n_waiting} pending; the last: "
        f"{each.last_error or _NOT_SENT}; `redistill alerts test` tests the channel"
        for each in undelivered
    )
    return Text("\n".join(lines), style=show.BAD)


def _teacher(health: Row) -> Text:
    accuracy = ""
    if health["teacher_accuracy"] is not None:
        accuracy = f"; accuracy by true labels {show.estimate(health, 'teacher_accuracy')}"
    return Text.assemble(
        f"{show.version(health['teacher_version'])}, ",
        show.health(health["health"]),
        f" ({health['reason']}): {health['detail']}{accuracy}",
    )


def _student(state: State, now: datetime) -> str:
    student = state.student
    if student is None or state.student_since is None:
        return "-"
    alpha = "unknown" if student.alpha is None else student.alpha
    return f"{show.version(student.version)}, alpha {alpha}, in service {_since(state.student_since, now)}"


def _due(state: State, now: datetime) -> str:
    if state.next_due_at > now:
        return f"due {relative(state.next_due_at, now)}"
    return f"overdue for {length(now - state.next_due_at)}" if state.last_cycle else "due now"


def _since(then: datetime, now: datetime) -> str:
    return f"for {length(now - then)}"


def _window(slot: Slot) -> str:
    return f"{show.time(slot.window_start)} to {show.time(slot.window_end)}"


def _window_of(cycle: Row) -> str:
    return f"{show.time(cycle['window_start'])} to {show.time(cycle['window_end'])}"
