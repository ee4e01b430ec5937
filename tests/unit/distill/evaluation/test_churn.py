"""Churn and negative flips: what they count, and their optional gates."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from db.records import Evaluation, Metric
from db.states import GateResult
from distill.evaluation.churn import CHURN, NEGATIVE_FLIPS, churn_metrics
from distill.evaluation.comparison import GAIN, labelled_comparison
from distill.evaluation.gates import TEST, check
from distill.settings import GatesSection
from monitor.settings import MetricsSection

NAMES = ["faq", "returns", "escalation"]
LABELS = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=60)


def logits(predicted: list[int]) -> NDArray[np.float64]:
    return np.eye(3)[predicted]


def named(metrics: tuple[Metric, ...]) -> Mapping[str, Metric]:
    return {metric.name: metric for metric in metrics}


@given(LABELS)
def test_churn_and_flips_are_counts_of_rows_and_explain_the_gain(rows: list[tuple[int, int, int]]) -> None:
    truth, before, after = (list(each) for each in zip(*rows, strict=True))
    found = named(churn_metrics(logits(after), logits(before), np.array(truth), NAMES))
    changed = [b != a for b, a in zip(before, after, strict=True)]
    flipped = [t == b != a for t, b, a in rows]
    fixed = [t == a != b for t, b, a in rows]
    assert found[CHURN].value == pytest.approx(np.mean(changed))
    assert found[NEGATIVE_FLIPS].value == pytest.approx(np.mean(flipped))
    gain = named(
        labelled_comparison(logits(after), logits(before), np.array(truth), NAMES, MetricsSection())
    )[GAIN]
    assert gain.value == pytest.approx(np.mean(fixed) - found[NEGATIVE_FLIPS].value)
    for index, name in enumerate(NAMES):
        of_before = [change for change, b in zip(changed, before, strict=True) if b == index]
        of_truth = [flip for flip, t in zip(flipped, truth, strict=True) if t == index]
        for metric, part in ((f"{CHURN}:{name}", of_before), (f"{NEGATIVE_FLIPS}:{name}", of_truth)):
            assert (metric in found) == bool(part)
            if part:
                assert (found[metric].value, found[metric].n) == (pytest.approx(np.mean(part)), len(part))


#: The low end of the interval of the share of changed rows, and the share: at most 0.05.
CHURNS = {
    "below": (0.03, 0.04, "pass"),
    "at the limit": (0.04, 0.05, "pass"),
    "above, but the interval reaches it": (0.05, 0.06, "inconclusive"),
    "surely above": (0.0501, 0.06, "fail"),
}


@pytest.mark.parametrize(("low", "value", "expected"), CHURNS.values(), ids=CHURNS)
@pytest.mark.parametrize("gate", [CHURN, NEGATIVE_FLIPS])
def test_a_limit_is_a_gate_with_three_values(gate: str, low: float, value: float, expected: str) -> None:
    metrics = tuple(
        Metric(name=name, value=value, low=low, high=value + 0.01, n=5_500)
        for name in (CHURN, NEGATIVE_FLIPS)
    )
    section = GatesSection.model_validate({f"max_{gate}": 0.05})
    found = check(section, [Evaluation(dataset=TEST, metrics=metrics)])
    assert {each.gate: each.result for each in found}[gate] == GateResult(expected)
    assert len({CHURN, NEGATIVE_FLIPS} & {each.gate for each in found}) == 1


def test_without_a_limit_they_are_no_gates() -> None:
    metrics = tuple(Metric(name=name, value=1, low=1, high=1, n=10) for name in (CHURN, NEGATIVE_FLIPS))
    found = check(GatesSection(), [Evaluation(dataset=TEST, metrics=metrics)])
    assert not {CHURN, NEGATIVE_FLIPS} & {each.gate for each in found}
    limited = GatesSection(max_churn=0.01, max_negative_flips=0.01)
    assert not {CHURN, NEGATIVE_FLIPS} & {each.gate for each in check(limited, [])}, "no incumbent"
