"""The facts of a monitor's state, in words."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.text import Text

from db.records import (
    Incident,
    Job,
    Slot,
    Undelivered,
)
from db.states import TeacherHealth, TeacherReason, Verdict, VerdictReason
from redistill.display import show
from redistill.display.failures import cause
from redistill.display.show import Row
from redistill.display.times import length, relative
from redistill.display.words import accuracy_words, order_words
from redistill.display.words.reject_words import undated_objects
from redistill.display.worker_state import IN_WORDS
from redistill.status.state import State
from triggers.incidents.label_shifts import what_moved
from triggers.incidents.slice_words import first_slices, slice_in_words
from triggers.settings import Rule
from triggers.teacher.advice import advice_on
from triggers.teacher.label_evidence import label_evidence, percent

_HINTS = {VerdictReason.NO_RULE_EVALUATED.value: ": `redistill doctor` names the rules"}
_NOT_SENT = "not sent: check that `redistill monitor` runs and that [[alerts]] has the channel"


def facts(state: State, rules: Sequence[Rule], now: datetime) -> Iterator[tuple[str, show.Cell]]:
    """Yield the name and the text of each fact, in the order in which an operator needs them."""
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
