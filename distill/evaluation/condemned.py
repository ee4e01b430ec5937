"""The gates of the held-out part of the condemned sample: the sample of the cycle that ordered the job."""

import math
from collections.abc import Mapping
from dataclasses import replace

from db.records import GateOutcome, Metric
from db.states import GateResult
from distill.evaluation.comparison import AGREEMENT_GAIN, GAIN, OVER_TEACHER

_Metrics = Mapping[str, Metric]


def condemned_gates(
    dataset: str,
    candidate: _Metrics,
    incumbent: _Metrics,
    *,
    threshold: float,
    teacher_min_accuracy: float | None,
) -> tuple[GateOutcome, ...]:
    """Return the outcome of agreement with the teacher or, if the teacher is at fault, of accuracy and it.

    Agreement passes at or above the threshold. Below it, the candidate does not fail if it is shown to be
    better than the incumbent: if the whole interval of agreement_gain is above 0. It is then inconclusive if
    its own interval reaches the threshold, and otherwise it improves: the drift is smaller, but not over. Any
    other candidate fails, since ending the drift is the purpose of the job: neither the incumbent's value nor
    a wide interval excuses it.

    The teacher is at fault if true labels of the sample show it: the whole interval of accuracy_over_teacher
    is above 0, or that of teacher_accuracy below `teacher_min_accuracy`. The candidate must then be right on
    more of the labelled requests than the incumbent, and agreement is only reported. With None for
    `teacher_min_accuracy`, because the labelled requests were not drawn at random, agreement is the gate.
    """
    agreement = _agreement(dataset, candidate, incumbent, threshold)
    fault = _fault_of_teacher(candidate, teacher_min_accuracy)
    if fault is None:
        return (agreement,)
    reported = replace(agreement, result=GateResult.REPORTED, detail=fault)
    return (_accuracy_in_place_of_agreement(dataset, candidate, fault), reported)


def _agreement(dataset: str, candidate: _Metrics, incumbent: _Metrics, threshold: float) -> GateOutcome:
    measured, gain = candidate.get("agreement"), candidate.get(AGREEMENT_GAIN)
    return GateOutcome(
        gate="agreement",
        dataset=dataset,
        value=math.nan if measured is None else measured.value,
        threshold=threshold,
        result=_result(measured, gain, threshold),
        metric="agreement",
        incumbent_value=incumbent["agreement"].value if "agreement" in incumbent else None,
        detail=None if gain is None else f"a gain of {_with_interval(gain)} over the incumbent",
    )


def _result(agreement: Metric | None, gain: Metric | None, threshold: float) -> GateResult:
    if agreement is None or math.isnan(agreement.value):
        return GateResult.FAIL
    if agreement.value >= threshold:
        return GateResult.PASS
    if gain is None or not gain.low > 0:
        return GateResult.FAIL
    return GateResult.INCONCLUSIVE if agreement.high >= threshold else GateResult.IMPROVES


def _fault_of_teacher(condemned: _Metrics, min_accuracy: float | None) -> str | None:
    """Return how true labels show that the teacher is at fault, or None if they do not."""
    if min_accuracy is None or GAIN not in condemned:
        return None
    teacher, over = condemned["teacher_accuracy"], condemned[OVER_TEACHER]
    found = f"of {teacher.n} labelled requests the teacher is right on {_with_interval(teacher)}"
    if over.low > 0:
        return f"{found}, the candidate on {_with_interval(condemned['accuracy'])}"
    return f"{found}, below min_accuracy {min_accuracy:g}" if teacher.high < min_accuracy else None


def _accuracy_in_place_of_agreement(dataset: str, condemned: _Metrics, fault: str) -> GateOutcome:
    accuracy, gain = condemned["accuracy"], condemned[GAIN]
    before = accuracy.value - gain.value
    return GateOutcome(
        gate="accuracy",
        dataset=dataset,
        value=accuracy.value,
        threshold=before,
        result=GateResult.PASS if gain.value > 0 else GateResult.FAIL,
        metric="accuracy",
        incumbent_value=before,
        detail=f"a gain of {_with_interval(gain)} over the incumbent; in place of agreement: {fault}",
    )


def _with_interval(metric: Metric) -> str:
    return f"{metric.value:.3g} [{metric.low:.3g}, {metric.high:.3g}]"
