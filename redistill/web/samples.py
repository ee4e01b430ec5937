"""The values of a monitor's metrics, from its state and its configuration."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from db.queue import OPEN
from db.states import DeliveryState, IncidentKind, JobStatus, RejectReason, TeacherHealth, Verdict
from db.telemetry.counts import BUCKETS, INFINITE
from db.telemetry.state import EndedCycle, EvaluatedCycle, MonitorState
from redistill.configuration.settings import Settings

_STAGES: Final = ("read", "score", "measure", "archive")
_SETTLED: Final = (DeliveryState.DELIVERED, DeliveryState.DEAD)
_ENDS: Final = tuple(each for each in JobStatus if each not in OPEN)


class Sample(NamedTuple):
    """One value of a metric, or of a part of a histogram."""

    metric: str  #: the name in the catalogue
    labels: Mapping[str, str]
    value: float
    part: str = ""  #: _bucket, _count or _sum


def samples(settings: Settings, state: MonitorState) -> Iterator[Sample]:
    """Yield all samples. A number that does not exist yet has none; counts and states have zeros."""
    yield Sample("redistill_lateness_seconds", {}, settings.monitor.lateness.total_seconds())
    yield from _newest(state.ended)
    if state.evaluated is not None:
        yield from _judged(state.evaluated, by_label=settings.web.by_label)
    yield from _rules(settings, state)
    yield from _models(state)
    yield from _work(settings, state)
    yield from _counted(settings, state)


def _newest(ended: EndedCycle | None) -> Iterator[Sample]:
    if ended is not None:
        length = ended.window_end - ended.window_start
        yield Sample("redistill_window_end_timestamp_seconds", {}, ended.window_end.timestamp())
        yield Sample("redistill_window_seconds", {}, length.total_seconds())
    verdict = None if ended is None else ended.verdict
    yield from _with_zeros("redistill_verdict", "verdict", Verdict, {} if verdict is None else {verdict: 1})


def _judged(cycle: EvaluatedCycle, *, by_label: bool) -> Iterator[Sample]:
    yield Sample("redistill_judged_window_end_timestamp_seconds", {}, cycle.window_end.timestamp())
    for end, agreement, kl in zip(("", "_low", "_high"), cycle.agreement, cycle.kl, strict=True):
        yield Sample(f"redistill_agreement{end}_ratio", {}, agreement)
        yield Sample(f"redistill_kl{end}_nats", {}, kl)
    if cycle.input_drift is not None:
        yield Sample("redistill_input_drift_ratio", {}, cycle.input_drift)
    if cycle.label_mix_psi is not None:
        yield Sample("redistill_label_mix_psi_nats", {}, cycle.label_mix_psi)
    for each in cycle.labels if by_label else ():
        yield Sample("redistill_class_agreement_ratio", {"label": each.label}, each.agreement)
        yield Sample("redistill_class_share_ratio", {"label": each.label}, each.share)


def _rules(settings: Settings, state: MonitorState) -> Iterator[Sample]:
    names = [rule.name for rule in settings.rules]
    yield from _with_zeros("redistill_rule_streak_cycles", "rule", names, state.streaks)
    thresholds = {
        (rule.name, condition.metric or ""): condition.threshold
        for rule in settings.rules
        for condition in reversed(rule.conditions or (rule,))
    }
    for (rule, metric), threshold in thresholds.items():
        yield Sample("redistill_rule_threshold", {"rule": rule, "metric": metric}, float(threshold))


def _models(state: MonitorState) -> Iterator[Sample]:
    yield Sample("redistill_teacher_healthy", {}, float(state.teacher is not TeacherHealth.UNHEALTHY))
    if state.student is not None:
        yield Sample("redistill_student_info", {"version": state.student.version}, 1)
        if state.student.alpha is not None:
            yield Sample("redistill_student_alpha_ratio", {}, float(state.student.alpha))


def _work(settings: Settings, state: MonitorState) -> Iterator[Sample]:
    job = state.job
    yield from _with_zeros("redistill_jobs_open", "status", OPEN, {} if job is None else {job.status: 1})
    if job is not None:
        yield Sample("redistill_job_enqueued_timestamp_seconds", {}, job.enqueued_at.timestamp())
    for lease, expires_at in sorted(state.leases.items()):
        yield Sample("redistill_lease_expires_timestamp_seconds", {"lease": lease}, expires_at.timestamp())
    open_kinds = {str(kind): 1 for kind in state.incidents}
    yield from _with_zeros("redistill_incidents_open", "kind", IncidentKind, open_kinds)
    channels = [alert.name for alert in settings.alerts]
    channels += sorted(state.pending.keys() - set(channels))
    yield from _with_zeros("redistill_deliveries_pending", "channel", channels, state.pending)


def _counted(settings: Settings, state: MonitorState) -> Iterator[Sample]:
    channels = [alert.name for alert in settings.alerts]
    for name, zeros in (
        ("cycles_total", [{"verdict": each} for each in Verdict]),
        ("jobs_total", [{"status": each} for each in _ENDS]),
        ("deliveries_total", [{"channel": one, "state": each} for one in channels for each in _SETTLED]),
        ("records_rejected_total", [{"reason": each} for each in RejectReason]),
    ):
        for labels, value in _summed(zeros, state.counts.get(name, ())):
            yield Sample(f"redistill_{name}", labels, value)
    for name, rows in (
        ("cycle_stage_seconds", [{"stage": each} for each in _STAGES]),
        ("training_seconds", [{}]),
        ("delivery_seconds", [{"channel": each} for each in channels]),
    ):
        yield from _histogram(name, rows, state.counts)


Row = tuple[Mapping[str, str], float]


def _histogram(
    name: str, zeros: Sequence[Mapping[str, str]], counts: Mapping[str, Sequence[Row]]
) -> Iterator[Sample]:
    """Yield a histogram, of whose observations each is stored in one bucket, with cumulative buckets."""
    stored = {_key(labels): value for labels, value in counts.get(f"{name}_bucket", ())}
    for labels, total in _summed(zeros, counts.get(f"{name}_sum", ())):
        n = 0.0
        for bound in (*map(str, BUCKETS), INFINITE):
            n += stored.get(_key({**labels, "le": bound}), 0)
            yield Sample(f"redistill_{name}", {**labels, "le": bound}, n, "_bucket")
        yield Sample(f"redistill_{name}", labels, n, "_count")
        yield Sample(f"redistill_{name}", labels, total, "_sum")


def _summed(zeros: Iterable[Mapping[str, str]], rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the stored values, with a zero for the labels that are expected and not stored yet."""
    found = {_key(labels): (labels, 0.0) for labels in zeros}
    found |= {_key(labels): (labels, value) for labels, value in rows}
    yield from found.values()


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _with_zeros(
    metric: str, label: str, known: Iterable[str | StrEnum], values: Mapping[str, float]
) -> Iterator[Sample]:
    for each in known:
        yield Sample(metric, {label: str(each)}, values.get(each, 0))
