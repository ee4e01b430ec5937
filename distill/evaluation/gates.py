"""The gates: what a candidate must pass before it may be promoted."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from db.records import Evaluation, GateOutcome, Metric
from db.states import GateResult
from distill.evaluation.churn import CHURN, NEGATIVE_FLIPS
from distill.evaluation.condemned import condemned_gates
from distill.evaluation.relative_gates import relative_gates
from distill.settings import GatesSection

#: The data sets whose evaluations the gates check.
TEST: Final = "test"
CONDEMNED: Final = "condemned"

LATENCY: Final = "latency_p95_ms"
#: The gates for which lower is better.
AT_MOST: Final = frozenset({"ece", LATENCY, CHURN, NEGATIVE_FLIPS})
#: The latency of the candidate as a multiple of the incumbent's, both timed in turn: the ratio of the two
#: P95, and the median of the ratios over the texts.
LATENCY_RATIO: Final = "latency_ratio"
LATENCY_RATIO_MEDIAN: Final = "latency_ratio_median"
LATENCY_RATIOS: Final = (LATENCY_RATIO, LATENCY_RATIO_MEDIAN)
#: A candidate is slower than its incumbent if the whole intervals of both ratios are above this value.
SLOWER: Final = 1.10

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
    misroute_cost: float = 1.0,
    teacher_min_accuracy: float | None = None,
) -> tuple[GateOutcome, ...]:
    """Check a candidate by its evaluations and those of the student in service; the order is fixed.

    On the test set, accuracy, rare_class_accuracy and agreement must be at least the threshold, and ece,
    latency_p95_ms, churn and negative_flips at most the threshold; a tie passes. A gate that is not met has
    one of three results:

    - It is waived if the candidate is not worse than its incumbent. For latency_p95_ms: if the interval of
      latency_ratio or that of latency_ratio_median is not wholly above 1.10. The two are then equally fast,
      and the load of the machine decided on which side of the threshold each is. For the others: if the
      incumbent does not meet the gate either, and the candidate's value is at least as good as the
      incumbent's, or the incumbent's value is inside the candidate's 95% interval (bounds included).
    - Otherwise it fails if the whole 95% interval is on the wrong side of the threshold. A metric that is
      absent or NaN also fails its gate, with the value NaN.
    - Otherwise it is inconclusive: see `undecided`.

    Unless `margin` is off, the candidate is also compared with the incumbent on the same rows: see
    `relative_gates`.

    On the condemned sample, agreement must be at least the threshold, or accuracy at least the incumbent's if
    the teacher is at fault: see `condemned_gates`.

    Gates that do not apply are left out: rare_class_accuracy if the test set was evaluated without it,
    because no rare labels are configured; latency_p95_ms, churn and negative_flips if they are off; the gate
    of the condemned sample if there is no evaluation on one, because no cycle ordered the job.

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
        ece 0.06 0.05 inconclusive
        agreement 0.93 0.95 waived
    """
    measured, before = _by_dataset(candidate), _by_dataset(incumbent)
    test, test_before = measured.get(TEST, {}), before.get(TEST, {})
    outcomes = tuple(_outcome(gate, test, test_before, processor) for gate in _gates(gates, test))
    if gates.margin is not None:
        outcomes += relative_gates(TEST, test, margin=gates.margin, misroute_cost=misroute_cost)
    if CONDEMNED not in measured:
        return outcomes
    return outcomes + condemned_gates(
        CONDEMNED,
        measured[CONDEMNED],
        before.get(CONDEMNED, {}),
        threshold=gates.agreement,
        teacher_min_accuracy=teacher_min_accuracy,
    )


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


def undecided(
    outcomes: Sequence[GateOutcome], on_inconclusive: Literal["pass", "hold"]
) -> tuple[GateOutcome, ...]:
    """Return the outcomes for which a person decides on a candidate that did not fail.

    They are those that show the candidate to be worse than its incumbent and, with "hold", those that are
    inconclusive.

    Example:
        >>> accuracy = Metric(name="accuracy", value=0.9, low=0.89, high=0.91, n=5_500)
        >>> outcomes = check(GatesSection(), [Evaluation(dataset=TEST, metrics=(accuracy,))])
        >>> [outcome.gate for outcome in undecided(outcomes, "hold")], undecided(outcomes, "pass")
        (['accuracy'], ())
    """
    results = {GateResult.WORSE} | ({GateResult.INCONCLUSIVE} if on_inconclusive == "hold" else set())
    return tuple(outcome for outcome in outcomes if outcome.result in results)


def _gates(gates: GatesSection, test: _Metrics) -> Iterator[_Gate]:
    yield _gate("accuracy", gates.accuracy)
    if "rare_class_accuracy" in test:
        yield _gate("rare_class_accuracy", gates.rare_class_accuracy)
    yield _Gate(name="ece", metric=_ece(gates, test), threshold=gates.ece)
    if gates.latency_p95_ms is not None:
        yield _gate(LATENCY, gates.latency_p95_ms)
    yield _gate("agreement", gates.agreement)
    for name, most in ((CHURN, gates.max_churn), (NEGATIVE_FLIPS, gates.max_negative_flips)):
        if most is not None and name in test:
            yield _gate(name, most)


def _gate(name: str, threshold: float) -> _Gate:
    return _Gate(name=name, metric=name, threshold=threshold)


def _ece(gates: GatesSection, metrics: _Metrics) -> str:
    name = "ece" if gates.ece_of == "raw" else "ece_calibrated"
    plain = metrics.get(name)
    enough = plain is not None and plain.n >= _ENOUGH_FOR_PLAIN_ECE
    return name if enough else f"{name}_debiased"


def _outcome(gate: _Gate, candidate: _Metrics, incumbent: _Metrics, processor: str | None) -> GateOutcome:
    return GateOutcome(
        gate=gate.name,
        dataset=TEST,
        value=_value(candidate, gate.metric),
        threshold=gate.threshold,
        result=_result(gate, candidate, incumbent),
        metric=gate.metric,
        incumbent_value=incumbent[gate.metric].value if gate.metric in incumbent else None,
        detail=_detail(gate, candidate, processor),
    )


def _result(gate: _Gate, candidate: _Metrics, incumbent: _Metrics) -> GateResult:
    found = candidate.get(gate.metric)
    if found is None or math.isnan(found.value):
        return GateResult.FAIL
    if gate.is_met(found.value):
        return GateResult.PASS
    if _is_no_worse(gate, candidate, incumbent):
        return GateResult.WAIVED
    better_bound = found.low if gate.name in AT_MOST else found.high
    return GateResult.INCONCLUSIVE if gate.is_met(better_bound) else GateResult.FAIL


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
