"""The numbers in a message: each rule and gate with its interval, and the labels that differ most."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from db.records import Evaluation, GateOutcome, Interval, LabelMeasurement, Measurement, RuleOutcome

_SHOWN: Final = 3


def number_of(outcome: RuleOutcome, measured: Measurement | None) -> dict[str, Any]:
    """Return a rule's outcome, with its 95% interval as `low` and `high` if it has one."""
    interval = _interval(outcome.metric, measured) if measured else None
    bounds = {"low": interval.low, "high": interval.high} if interval else {}
    return {**asdict(outcome), **bounds}


def gate_of(outcome: GateOutcome, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return a gate's outcome, with the interval of its number if it was measured."""
    name = outcome.metric or outcome.gate
    for evaluation in evaluations:
        for metric in evaluation.metrics if evaluation.dataset == outcome.dataset else ():
            if metric.name == name:
                return {**asdict(outcome), "low": metric.low, "high": metric.high}
    return asdict(outcome)


def differing(measured: Measurement | None) -> list[dict[str, Any]]:
    """Return the teacher's labels with the most disagreements, the most first: at most three."""
    if measured is None:
        return []
    ranked = sorted(measured.per_label, key=lambda each: (-_disagreeing(each), each.label))
    return [
        {
            "label": each.label,
            "share": each.share,
            "agreement": each.agreement.estimate,
            "low": each.agreement.low,
            "high": each.agreement.high,
        }
        for each in ranked[:_SHOWN]
        if _disagreeing(each) > 0
    ]


def _disagreeing(label: LabelMeasurement) -> float:
    """Return the share of all requests that have this label and disagree; 0 if unknown."""
    share = label.share * (1 - label.agreement.estimate)
    return share if share > 0 else 0.0


def _interval(metric: str, measured: Measurement) -> Interval | None:
    kind, _, label = metric.partition(":")
    if kind == "class_agreement":
        return _of_label(measured.per_label, label)
    skew = measured.serving.skew if measured.serving else None
    return {"agreement": measured.agreement, "kl": measured.kl, "serving_skew": skew}.get(metric)


def _of_label(per_label: Sequence[LabelMeasurement], label: str) -> Interval | None:
    return next((each.agreement for each in per_label if each.label == label), None)
