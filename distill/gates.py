"""What a candidate must reach before it may serve."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from db.records import Evaluation, GateOutcome, Metric
from db.states import GateResult
from distill.settings import GatesSection

#: The data sets of an `Evaluation` that gates look at.
TEST: Final = "test"
CONDEMNED: Final = "condemned"

#: Below so many rows the plain ECE is mostly its own bias, and the debiased one is judged.
_ENOUGH_FOR_PLAIN_ECE: Final = 1_000

_Metrics = Mapping[str, Metric]


def judge(gates: GatesSection, evaluations: Sequence[Evaluation]) -> tuple[GateOutcome, ...]:
    """What each gate says of a candidate with these evaluations, in a fixed order.

    On the test set: accuracy, rare_class_accuracy and agreement at least, ece and latency_p95_ms at
    most the threshold; on the condemned sample: agreement at least. A tie passes. A metric that is
    absent or NaN fails its gate (with the value NaN): what was not measured was not reached. Two
    gates do not apply and are left out: rare_class_accuracy when the evaluation of the test set has
    no such metric, as no rare labels are configured, and those of the condemned sample when there
    is no evaluation on one, as no cycle ordered the job. With less than 1,000 rows the value of the
    gate ece is the metric ece_debiased: the plain one of a calibrated model is about .026 at n = 500.
    """
    metrics = {evaluation.dataset: _by_name(evaluation) for evaluation in evaluations}
    test = metrics.get(TEST, {})
    outcomes = [
        _at_least("accuracy", TEST, _value(test, "accuracy"), gates.accuracy),
        _at_most("ece", TEST, _ece(test), gates.ece),
        _at_most("latency_p95_ms", TEST, _value(test, "latency_p95_ms"), gates.latency_p95_ms),
        _at_least("agreement", TEST, _value(test, "agreement"), gates.agreement),
    ]
    if "rare_class_accuracy" in test:
        rare = _value(test, "rare_class_accuracy")
        outcomes.insert(1, _at_least("rare_class_accuracy", TEST, rare, gates.rare_class_accuracy))
    if CONDEMNED in metrics:
        agreement = _value(metrics[CONDEMNED], "agreement")
        outcomes.append(_at_least("agreement", CONDEMNED, agreement, gates.agreement))
    return tuple(outcomes)


def passed(outcomes: Sequence[GateOutcome]) -> bool:
    """Whether a candidate with these outcomes may serve: there are some, and none failed."""
    return bool(outcomes) and all(outcome.result is GateResult.PASS for outcome in outcomes)


def _by_name(evaluation: Evaluation) -> _Metrics:
    return {metric.name: metric for metric in evaluation.metrics}


def _value(metrics: _Metrics, name: str) -> float:
    return metrics[name].value if name in metrics else math.nan


def _ece(metrics: _Metrics) -> float:
    plain = metrics.get("ece")
    if plain is not None and plain.n >= _ENOUGH_FOR_PLAIN_ECE:
        return plain.value
    return _value(metrics, "ece_debiased")


def _at_least(gate: str, dataset: str, value: float, threshold: float) -> GateOutcome:
    return _outcome(gate, dataset, value, threshold, reached=value >= threshold)


def _at_most(gate: str, dataset: str, value: float, threshold: float) -> GateOutcome:
    return _outcome(gate, dataset, value, threshold, reached=value <= threshold)


def _outcome(gate: str, dataset: str, value: float, threshold: float, *, reached: bool) -> GateOutcome:
    return GateOutcome(
        gate=gate,
        dataset=dataset,
        value=value,
        threshold=threshold,
        result=GateResult.PASS if reached else GateResult.FAIL,
    )
