"""The gates: what a candidate must pass before it may be promoted."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from db.records import Evaluation, GateOutcome, Metric
from db.states import GateResult
from distill.settings import GatesSection

#: The data sets whose evaluations the gates check.
TEST: Final = "test"
CONDEMNED: Final = "condemned"

LATENCY: Final = "latency_p95_ms"
#: The gates for which lower is better.
AT_MOST: Final = frozenset({"ece", LATENCY})
#: The latency of the candidate as a multiple of the incumbent's, both timed in turn: the ratio of the two
#: P95, and the median of the ratios over the texts.
LATENCY_RATIO: Final = "latency_ratio"
LATENCY_RATIO_MEDIAN: Final = "latency_ratio_median"
LATENCY_RATIOS: Final = (LATENCY_RATIO, LATENCY_RATIO_MEDIAN)
#: A candidate is slower than its incumbent if the whole intervals of both ratios are above this value.
SLOWER: Final = 1.10

#: Of a candidate on the labelled requests of the condemned sample: its accuracy minus the incumbent's, and
#: minus the teacher's.
GAIN: Final = "accuracy_gain"
OVER_TEACHER: Final = "accuracy_over_teacher"

#: With fewer rows the plain ECE is mostly its own bias, so the gate uses the debiased value.
_ENOUGH_FOR_PLAIN_ECE: Final = 1_000

_Metrics = Mapping[str, Metric]


@dataclass(frozen=True, kw_only=True)
class _Gate:
    """A threshold and the metric that is compared with it."""

    name: str
    metric: str
    threshold: float

    def is_met(self, value: float) -> bool:
        """Return whether the value reaches the threshold; a tie does, NaN does not."""
        return self.is_as_good(value, self.threshold)

    def is_as_good(self, value: float, other: float) -> bool:
        """Return whether the value is at least as good as the other one; NaN is not."""
        return value <= other if self.name in AT_MOST else value >= other


def check(
    gates: GatesSection,
    candidate: Sequence[Evaluation],
    incumbent: Sequence[Evaluation] = (),
    *,
    processor: str | None = None,
    teacher_min_accuracy: float | None = None,
) -> tuple[GateOutcome, ...]:
    """Check a candidate by its evaluations and those of the student in service; the order is fixed.

    On the test set, accuracy, rare_class_accuracy and agreement must be at least the threshold, and ece and
    latency_p95_ms at most the threshold; on the condemned sample, agreement must be at least the threshold.
    A tie passes. A metric that is absent or NaN fails its gate with the value NaN.

    A gate of the test set that is not met is waived, and does not reject the candidate, if the candidate is
    no worse than its incumbent:

    - The incumbent does not meet the gate either, and the candidate's value is at least as good as the
      incumbent's, or the incumbent's value is inside the candidate's 95% interval (bounds included).
    - For latency_p95_ms: the interval of latency_ratio or that of latency_ratio_median is not wholly
      above 1.10. The two are then equally fast, and the load of the machine decided on which side of the
      threshold each is.

    The gate of the condemned sample is never waived, as the job exists to end that drift. If true labels of
    that sample show that the teacher is at fault, accuracy replaces agreement there: the candidate must be
    right on more of the labelled requests than the incumbent, and agreement is only reported. The teacher is
    at fault if the whole interval of accuracy_over_teacher is above 0, or that of teacher_accuracy below
    `teacher_min_accuracy`. With None for the latter, because the labelled requests were not drawn at random,
    agreement is the gate.

    Gates that do not apply are left out: rare_class_accuracy if the test set was evaluated without it,
    because no rare labels are configured; latency_p95_ms if it is off; the gate of the condemned sample if
    there is no evaluation on one, because no cycle ordered the job.

    The gate ece checks ece_calibrated, or ece with `ece_of = "raw"`; with fewer than 1,000 rows it checks the
    debiased value, as the plain one of a calibrated model is about .026 at n = 500. `processor` names the
    processor on which the latency was measured.

    Example:
        >>> def evaluation(**values: float) -> Evaluation:
        ...     metrics = (Metric(name=name, value=value, low=value - 0.02, high=value + 0.02, n=1_000)
        ...                for name, value in values.items())
        ...     return Evaluation(dataset=TEST, metrics=tuple(metrics))
        >>> candidate = evaluation(accuracy=0.91, ece_calibrated=0.06, agreement=0.93)
        >>> incumbent = evaluation(accuracy=0.92, ece_calibrated=0.03, agreement=0.94)
        >>> section = GatesSection(latency_p95_ms="off")
        >>> for outcome in check(section, [candidate], [incumbent]):
        ...     print(outcome.gate, outcome.value, outcome.threshold, outcome.result.value)
        accuracy 0.91 0.905 pass
        ece 0.06 0.05 fail
        agreement 0.93 0.95 waived
    """
    measured, before = _by_dataset(candidate), _by_dataset(incumbent)
    outcomes = [
        _outcome(gate, dataset, measured.get(dataset, {}), before.get(dataset, {}), processor)
        for dataset, gate in _gates(gates, measured)
    ]
    condemned = measured.get(CONDEMNED, {})
    fault = _fault_of_teacher(condemned, teacher_min_accuracy)
    if fault is None:
        return tuple(outcomes)
    *others, agreement = outcomes
    reported = replace(agreement, result=GateResult.REPORTED, detail=fault)
    return (*others, _accuracy_in_place_of_agreement(condemned, fault), reported)


def passed(outcomes: Sequence[GateOutcome]) -> bool:
    """Return whether a candidate with these outcomes may be promoted: there are some, and none failed.

    Example:
        >>> accuracy = Metric(name="accuracy", value=0.93, low=0.91, high=0.95, n=1_000)
        >>> outcomes = check(GatesSection(), [Evaluation(dataset=TEST, metrics=(accuracy,))])
        >>> [outcome.gate for outcome in outcomes if outcome.result is GateResult.FAIL]  # not measured
        ['ece', 'latency_p95_ms', 'agreement']
        >>> passed(outcomes)
        False
    """
    return bool(outcomes) and all(outcome.result is not GateResult.FAIL for outcome in outcomes)


def _gates(gates: GatesSection, measured: Mapping[str, _Metrics]) -> Iterator[tuple[str, _Gate]]:
    test = measured.get(TEST, {})
    yield TEST, _gate("accuracy", gates.accuracy)
    if "rare_class_accuracy" in test:
        yield TEST, _gate("rare_class_accuracy", gates.rare_class_accuracy)
    yield TEST, _Gate(name="ece", metric=_ece(gates, test), threshold=gates.ece)
    if gates.latency_p95_ms is not None:
        yield TEST, _gate(LATENCY, gates.latency_p95_ms)
    yield TEST, _gate("agreement", gates.agreement)
    if CONDEMNED in measured:
        yield CONDEMNED, _gate("agreement", gates.agreement)


def _fault_of_teacher(condemned: _Metrics, min_accuracy: float | None) -> str | None:
    """Return how true labels show that the teacher is at fault, or None if they do not."""
    if min_accuracy is None or GAIN not in condemned:
        return None
    teacher, over = condemned["teacher_accuracy"], condemned[OVER_TEACHER]
    found = f"of {teacher.n} labelled requests the teacher is right on {_with_interval(teacher)}"
    if over.low > 0:
        return f"{found}, the candidate on {_with_interval(condemned['accuracy'])}"
    return f"{found}, below min_accuracy {min_accuracy:g}" if teacher.high < min_accuracy else None


def _accuracy_in_place_of_agreement(condemned: _Metrics, fault: str) -> GateOutcome:
    accuracy, gain = condemned["accuracy"], condemned[GAIN]
    before = accuracy.value - gain.value
    return GateOutcome(
        gate="accuracy",
        dataset=CONDEMNED,
        value=accuracy.value,
        threshold=before,
        result=GateResult.PASS if gain.value > 0 else GateResult.FAIL,
        metric="accuracy",
        incumbent_value=before,
        detail=f"a gain of {_with_interval(gain)} over the incumbent; in place of agreement: {fault}",
    )


def _with_interval(metric: Metric) -> str:
    return f"{metric.value:.3g} [{metric.low:.3g}, {metric.high:.3g}]"


def _gate(name: str, threshold: float) -> _Gate:
    return _Gate(name=name, metric=name, threshold=threshold)


def _ece(gates: GatesSection, metrics: _Metrics) -> str:
    name = "ece" if gates.ece_of == "raw" else "ece_calibrated"
    plain = metrics.get(name)
    enough = plain is not None and plain.n >= _ENOUGH_FOR_PLAIN_ECE
    return name if enough else f"{name}_debiased"


def _outcome(
    gate: _Gate, dataset: str, candidate: _Metrics, incumbent: _Metrics, processor: str | None
) -> GateOutcome:
    value = _value(candidate, gate.metric)
    if gate.is_met(value):
        result = GateResult.PASS
    elif dataset == TEST and not math.isnan(value) and _is_no_worse(gate, candidate, incumbent):
        result = GateResult.WAIVED
    else:
        result = GateResult.FAIL
    return GateOutcome(
        gate=gate.name,
        dataset=dataset,
        value=value,
        threshold=gate.threshold,
        result=result,
        metric=gate.metric,
        incumbent_value=incumbent[gate.metric].value if gate.metric in incumbent else None,
        detail=_detail(gate, candidate, processor),
    )


def _is_no_worse(gate: _Gate, candidate: _Metrics, incumbent: _Metrics) -> bool:
    if gate.metric == LATENCY:
        return any(name in candidate and candidate[name].low <= SLOWER for name in LATENCY_RATIOS)
    before, found = _value(incumbent, gate.metric), candidate[gate.metric]
    if math.isnan(before) or gate.is_met(before):
        return False
    return gate.is_as_good(found.value, before) or found.low <= before <= found.high


def _detail(gate: _Gate, candidate: _Metrics, processor: str | None) -> str | None:
    if gate.metric == LATENCY and LATENCY_RATIO in candidate:
        ratio = candidate[LATENCY_RATIO]
        times = f"{ratio.value:.3g} [{ratio.low:.3g}, {ratio.high:.3g}] times the incumbent's"
        return f"{times}, on {processor}" if processor else times
    if gate.metric == LATENCY:
        return processor and f"on {processor}"
    if gate.name == "ece":
        raw = gate.metric.replace("_calibrated", "")
        return "at T = 1" if raw == gate.metric else f"calibrated; {_value(candidate, raw):.4g} at T = 1"
    return None


def _by_dataset(evaluations: Sequence[Evaluation]) -> Mapping[str, _Metrics]:
    return {each.dataset: {metric.name: metric for metric in each.metrics} for each in evaluations}


def _value(metrics: _Metrics, name: str) -> float:
    return metrics[name].value if name in metrics else math.nan
