"""The value of a condition's metric in one cycle, and its comparison with the threshold."""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np

from db.records import CyclePoint, Details, Interval, Measurement
from db.states import CycleStatus
from triggers.rules import sequential
from triggers.rules.sequential import Floats, Stratum
from triggers.settings import Condition, Rule

#: A label needs at least this many requests in the sample.
LABEL_SAMPLES = 100
#: The boost assumes independent draws: the sample may be at most one request in this many of the window.
_BOOSTED_PART = 10

Value = Fraction | float


def value_of(metric: str, point: CyclePoint) -> Value | None:
    """Return agreement as a rational, other metrics as a double; None where the cycle has no value."""
    if point.status is not CycleStatus.EVALUATED:
        return None
    kind, _, label = metric.partition(":")
    if label:
        return _of_label(kind, label, point)
    if kind == "agreement":
        return _agreement(point)
    value: float | None = getattr(point, kind)
    return value if value is not None and math.isfinite(value) else None


def missing_of(rule: Rule, point: CyclePoint) -> str:
    """Return, in one line, what the cycle lacks to evaluate the rule's conditions."""
    found = (_missing(each, point) for each in rule.conditions or (rule,))
    return ", ".join(dict.fromkeys(each for each in found if each))


def is_beyond(condition: Condition, value: Value, bound: Decimal) -> bool:
    """Return whether the value is strictly on the wrong side of the bound.

    A rational is compared with the decimal as written, a double with the double nearest to it.
    """
    exact: Value = Fraction(bound) if isinstance(value, Fraction) else float(bound)
    return value < exact if condition.below is not None else value > exact


def interval_is_beyond(condition: Condition, point: CyclePoint, bound: Decimal) -> bool | None:
    """Return whether the whole 95% interval is strictly on the wrong side; None without an interval."""
    interval = _interval(condition.metric or "", point)
    if interval is None or not math.isfinite(interval.low) or not math.isfinite(interval.high):
        return None
    return interval.high < float(bound) if condition.below is not None else interval.low > float(bound)


def increments_key(condition: Condition) -> str:
    """Return the key of a condition's log increments: its metric and level."""
    return f"{condition.metric}>{condition.threshold.normalize():f}"


def log_increments_of(rules: Sequence[Rule], measurement: Measurement) -> Mapping[str, tuple[float, ...]]:
    """Return the cycle's log increments against each level of KL that a sequential condition watches."""
    return {
        increments_key(each): tuple(
            sequential.mean_log_increments(
                measurement.kl_values, float(each.threshold), measurement.weights
            ).tolist()
        )
        for each in _all_conditions(rules)
        if each.mode == "sequential" and each.metric == "kl"
    }


def details_for(rules: Sequence[Rule]) -> Details:
    """Return the details of past cycles that the rules need besides their metrics."""
    conditions = list(_all_conditions(rules))
    watched = {each.metric for each in conditions if each.mode == "sequential"}
    return Details(
        labels=any((each.metric or "").startswith("class_") for each in conditions),
        strata="agreement" in watched,
        log_increments="kl" in watched,
        input_drift=any(each.metric == "input_drift" for each in conditions),
    )


def log_wealth_after(condition: Condition, point: CyclePoint, log_wealth: Floats | None) -> Floats | None:
    """Return the log wealth of a sequential condition after this cycle; None if the cycle has no evidence.

    `log_wealth` is (bets,) before the cycle; None at the start.
    """
    if condition.metric == "agreement":
        return _share_log_wealth(condition, point, log_wealth)
    log_increments = point.log_increments.get(increments_key(condition))
    if log_increments is not None:
        return _add(log_wealth, np.array(log_increments))
    if point.kl_values:
        return _add(log_wealth, sequential.mean_log_increments(point.kl_values, float(condition.threshold)))
    return None


def strata_of(point: CyclePoint) -> Sequence[Stratum]:
    """Return the strata of the cycle's sample that have requests; empty where the counts are not known."""
    # sorted, so that the last bits of a sum do not depend on the source's order
    there = sorted(
        (each for each in point.strata if each.n), key=lambda each: (each.n_seen, each.n, each.disagreements)
    )
    if there:
        seen, n = sum(each.n_seen for each in there), sum(each.n for each in there)
        return [
            Stratum(weight=each.n_seen / seen * n / each.n, n=each.n, errors=each.disagreements)
            for each in there
        ]
    is_counted = point.agreement is None
    if not point.n or point.disagreements is None or not is_counted:
        return ()
    return [Stratum(weight=1.0, n=point.n, errors=point.disagreements)]


def effective_size(strata: Sequence[Stratum]) -> float:
    """Return the size of the uniform sample with the same precision: (Σ w)² / Σ w²; 0 for no requests.

    Example:
        >>> effective_size([Stratum(weight=1.5, n=60, errors=0), Stratum(weight=0.25, n=40, errors=0)])
        72.72727272727273
    """
    squares = math.fsum(each.n * each.weight**2 for each in strata)
    return math.fsum(each.n * each.weight for each in strata) ** 2 / squares if squares else 0.0


def is_small_part(point: CyclePoint) -> bool:
    """Return whether the sample may be treated as independent draws; True for a window of unknown size."""
    return all(_BOOSTED_PART * each.n <= each.n_seen for each in point.strata)


def _all_conditions(rules: Sequence[Rule]) -> Iterator[Condition]:
    for rule in rules:
        yield from rule.conditions or (rule,)


def _share_log_wealth(condition: Condition, point: CyclePoint, log_wealth: Floats | None) -> Floats | None:
    strata = strata_of(point)
    if not strata:
        return None
    level = float(1 - condition.threshold)
    log_increments = sequential.share_log_increments(strata, level)
    before = sequential.start(log_increments) if log_wealth is None else log_wealth
    if len(strata) == 1 and is_small_part(point):
        log_increments = log_increments + sequential.share_boost(
            before, strata[0].n, level, condition.alarm_threshold
        )
    return sequential.add(before, log_increments)


def _add(log_wealth: Floats | None, log_increments: Floats) -> Floats:
    return sequential.add(
        sequential.start(log_increments) if log_wealth is None else log_wealth, log_increments
    )


def _missing(condition: Condition, point: CyclePoint) -> str | None:
    metric = condition.metric or ""
    if value_of(metric, point) is None:
        label = metric.partition(":")[2]
        if not label:
            return f"{metric} was not measured"
        found = point.labels.get(label)
        n = found.n if found else 0
        return f"{metric}: {n} requests with that label, {LABEL_SAMPLES} needed"
    if condition.mode == "interval" and interval_is_beyond(condition, point, condition.threshold) is None:
        return f"{metric} has no interval"
    return None


def _of_label(kind: str, label: str, point: CyclePoint) -> float | None:
    found = point.labels.get(label)
    if found is None or found.n < LABEL_SAMPLES:
        return None
    return found.agreement.estimate if kind == "class_agreement" else found.kl


def _interval(metric: str, point: CyclePoint) -> Interval | None:
    kind, _, label = metric.partition(":")
    if kind != "class_agreement":
        return point.intervals.get(metric)
    found = point.labels.get(label)
    return found.agreement if found is not None else None


def _agreement(point: CyclePoint) -> Fraction | None:
    if point.agreement is not None:
        return point.agreement
    if not point.n or point.disagreements is None:
        return None
    return Fraction(point.n - point.disagreements, point.n)
