"""The relative gates: the candidate against its incumbent, on the same rows of the test set."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from db.records import GateOutcome, Metric
from db.states import GateResult
from distill.evaluation.comparison import COST_CHANGE, CRITICAL_CHANGE, GAIN, RARE_GAIN
from distill.evaluation.power import WANTED, power, rows_needed

_Metrics = Mapping[str, Metric]


@dataclass(frozen=True, kw_only=True)
class _Relative:
    """A gate, the metric of the change from the incumbent, and the bounds of that change."""

    gate: str
    metric: str
    margin: float  #: a change for the worse within it passes; in the unit of the metric
    tolerated: float  #: a candidate that is certainly worse by more fails
    sign: float  #: 1 if a higher metric is worse, -1 if a lower one is

    def result(self, found: Metric) -> GateResult:
        """Return the result for the measured change; NaN fails."""
        worse = self.sign * found.value
        least, most = sorted((self.sign * found.low, self.sign * found.high))
        if math.isnan(worse) or least > self.tolerated:
            return GateResult.FAIL
        if most <= self.margin:
            return GateResult.PASS
        return GateResult.WORSE if least > 0 and worse > self.margin else GateResult.INCONCLUSIVE


#: The gates, in their order.
RELATIVE: Final = (
    "relative_accuracy",
    "relative_rare_class_accuracy",
    "relative_critical_misroutes",
    "relative_cost",
)


def relative_gates(
    dataset: str, candidate: _Metrics, *, margin: float, misroute_cost: float
) -> tuple[GateOutcome, ...]:
    """Return the outcome of each relative gate whose metric was measured for the candidate.

    The metrics are the paired changes from the incumbent: see `labelled_comparison`. A gate passes if the
    worse bound of the 95% interval is within the margin, and fails if the whole interval is beyond it. If
    neither is shown, but the value is beyond the margin and the whole interval is on the worse side of 0, the
    candidate is worse, and a person decides. Otherwise the gate is inconclusive: the test set shows neither
    that the candidate is worse, nor that it is within the margin.

    The margin of relative_cost is that of as many more misroutes at the price of an ordinary one:
    `margin` times `misroute_cost`. No increase of critical misroutes is tolerated: that gate fails as soon as
    the whole interval is above 0, and passes if an increase by the margin is ruled out.

    Example:
        >>> def gain(value: float, half: float) -> dict[str, Metric]:
        ...     return {GAIN: Metric(name=GAIN, value=value, low=value - half, high=value + half, n=5_500)}
        >>> for value, half in ((0, 0.006), (-0.012, 0.006), (-0.012, 0.02), (-0.02, 0.006)):
        ...     (outcome,) = relative_gates("test", gain(value, half), margin=0.01, misroute_cost=1)
        ...     print(outcome.gate, outcome.value, outcome.threshold, outcome.result.value)
        relative_accuracy 0 -0.01 pass
        relative_accuracy -0.012 -0.01 worse
        relative_accuracy -0.012 -0.01 inconclusive
        relative_accuracy -0.02 -0.01 fail
    """
    return tuple(
        GateOutcome(
            gate=gate.gate,
            dataset=dataset,
            value=candidate[gate.metric].value,
            threshold=gate.sign * gate.margin,
            result=gate.result(candidate[gate.metric]),
            metric=gate.metric,
            detail=_detail(gate, candidate[gate.metric]),
        )
        for gate in _gates(margin, misroute_cost)
        if gate.metric in candidate
    )


def _gates(margin: float, misroute_cost: float) -> Iterator[_Relative]:
    metrics = (GAIN, RARE_GAIN, CRITICAL_CHANGE, COST_CHANGE)
    for gate, metric in zip(RELATIVE, metrics, strict=True):
        of_gate = margin * misroute_cost if metric == COST_CHANGE else margin
        yield _Relative(
            gate=gate,
            metric=metric,
            margin=of_gate,
            tolerated=0.0 if metric == CRITICAL_CHANGE else of_gate,
            sign=-1.0 if metric in {GAIN, RARE_GAIN} else 1.0,
        )


def _detail(gate: _Relative, found: Metric) -> str:
    interval = f"[{found.low:+.3g}, {found.high:+.3g}]"
    change = f"{found.value:+.3g} {interval} from the incumbent on {found.n:,} rows"
    if gate.result(found) is not GateResult.INCONCLUSIVE:
        return change
    half = (found.high - found.low) / 2
    needed = rows_needed(found.n, half, gate.margin)
    more = f", on {needed:,} rows in {WANTED:.0%}" if needed is not None else ""
    return f"{change}; an equal candidate passes on these in {power(half, gate.margin):.0%} of cases{more}"
