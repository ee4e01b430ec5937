"""The corners: ties, no disagreement and one, one label, one request, equal answers."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from db.records import CyclePoint, Measurement
from db.states import CycleStatus
from distill.evaluation.label_metrics import label_metrics
from monitor.measure import measure
from monitor.settings import MetricsSection
from monitor.strata import Strata
from triggers.rules.evaluation import evaluate
from triggers.settings import Rule

NAMES = ("faq", "escalation", "chitchat")


def answers(*first: int) -> np.ndarray:
    """Logits that put these labels first."""
    return 4 * np.eye(3)[list(first)]


def measured(teacher: np.ndarray, student: np.ndarray, strata: Strata | None = None) -> Measurement:
    return measure(teacher, student, NAMES, temperature=3.0, strata=strata)


@pytest.mark.parametrize("n", [20, 1_000, 5_500, 10_000, 1_000_000])
def test_exactly_the_threshold_is_no_breach_and_one_request_less_is(n: int) -> None:
    """On either side of 95% agreement, at any size."""
    rule = Rule(name="r", metric="agreement", below=Decimal("0.95"))

    def is_breached(disagreements: int) -> bool:
        point = CyclePoint(
            window_end=datetime(2026, 3, 2, tzinfo=UTC),
            status=CycleStatus.EVALUATED,
            teacher_version="t",
            student_version="s",
            n=n,
            disagreements=disagreements,
        )
        return evaluate(rule, [point]).breached

    assert [is_breached(n // 20 + more) for more in (-1, 0, 1)] == [False, False, True]


@pytest.mark.parametrize("disagreements", [0, 1, 1_000])
def test_no_disagreement_one_and_nothing_else_have_an_interval_with_a_length(disagreements: int) -> None:
    found = measured(answers(*[0] * 1_000), answers(*[1] * disagreements, *[0] * (1_000 - disagreements)))
    agreement = found.agreement
    assert found.exact_agreement == Fraction(1_000 - disagreements, 1_000)
    assert 0 <= agreement.low <= agreement.estimate <= agreement.high <= 1
    assert agreement.low < agreement.high
    assert (agreement.high == 1) is (disagreements == 0)
    assert (agreement.low == 0) is (disagreements == 1_000)


def test_equal_answers_agree_and_have_no_distance() -> None:
    """Also when equal up to a constant, and when the first labels tie."""
    logits = np.array([[1.0, 1.0, 0.0], [3.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    found = measured(logits, logits + np.array([[5.0], [-3.0], [0.0]]))
    assert (found.disagreements, found.agreement.estimate) == (0, 1.0)
    assert (found.kl.estimate, found.kl.low, found.kl.high) == pytest.approx((0, 0, 0), abs=1e-15)
    assert (found.kl_p99, found.kl_t1, found.js) == pytest.approx((0, 0, 0), abs=1e-15)


def test_one_request_says_little_but_is_no_error() -> None:
    found = measured(answers(0), answers(1))
    assert (found.n, found.disagreements, found.exact_agreement) == (1, 1, 0)
    assert found.agreement.low == 0
    assert found.agreement.high > 0.7
    assert found.kl.low == found.kl.estimate == found.kl.high == found.kl_p50
    assert [label.label for label in found.per_label] == ["faq"]


def test_a_window_of_one_label_is_measured() -> None:
    """The other labels are absent, and not 0."""
    found = measured(answers(*[2] * 50), answers(*[2] * 49, 0))
    assert [(label.label, label.n, label.share) for label in found.per_label] == [("chitchat", 50, 1.0)]
    assert found.per_label[0].agreement == found.agreement


def test_a_stratum_of_which_all_disagree_is_weighted_and_not_lost() -> None:
    """One request of a rare label stands for 10 of 1,000; ten of the other for 990."""
    strata = Strata(sizes=(10, 990), of=np.array([0, *[1] * 10]))
    found = measured(answers(*[0] * 11), answers(1, *[0] * 10), strata)
    assert found.exact_agreement == Fraction(99, 100)
    assert found.by_stratum == (1, 0)


def test_a_panel_of_one_row_or_one_label_has_all_its_metrics() -> None:
    for labels in ([1], [1] * 60):
        panel = label_metrics(answers(*labels), labels, NAMES, MetricsSection(resamples=100))
        by_name = {metric.name: metric for metric in panel}
        assert (
            by_name["accuracy"].value == by_name["macro_f1"].value == by_name["recall:escalation"].value == 1
        )
        assert by_name["accuracy"].low < 1
        assert not any(math.isnan(value) for metric in panel for value in (metric.low, metric.high))
