"""Outcomes of labelled rows, against a bootstrap that resamples the rows themselves."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from distill.evaluation.label_metrics import LabelsError
from monitor.settings import MetricsSection, Misroute
from redistill.economics.month import NoCostMatrixError, break_even, month
from redistill.economics.outcomes import (
    COST,
    CRITICAL,
    DRAWS,
    LATE,
    LOW_COST,
    RIGHT,
    Outcome,
    Source,
    configured,
)
from redistill.economics.paired_rows import PairedRows, measured, timed
from redistill.economics.settings import EconomicsSection
from triggers.teacher.correctness import OUT_OF_SCOPE

LABELS = ("faq", "returns", "escalation")
METRICS = MetricsSection(misroutes=(Misroute(true="escalation", cost=20, critical=True),))
BOTH_BOUNDS = (2.5, 97.5)


def make_rows(n: int = 1_500, *, repeats: int = 1, seed: int = 3) -> PairedRows:
    """Rows of n / repeats texts; the teacher errs in 8%, the student in a further 10%."""
    rng = np.random.default_rng(seed)
    texts = n // repeats
    truth = rng.choice(3, size=texts, p=(0.6, 0.3, 0.1))
    teacher = np.where(rng.random(texts) < 0.08, rng.integers(3, size=texts), truth)
    student = np.where(rng.random(texts) < 0.10, rng.integers(3, size=texts), teacher)
    return PairedRows(
        texts=[f"text {number}" for number in range(texts)] * repeats,
        truth=np.tile(truth, repeats),
        teacher=np.tile(teacher, repeats),
        student=np.tile(student, repeats),
        weights=np.tile(rng.choice([0.5, 2.0], size=texts), repeats),
        labels=LABELS,
        source=Source.TEST,
    )


def found_in(rows: PairedRows, metrics: MetricsSection = METRICS) -> Mapping[str, Outcome]:
    return measured(rows, metrics, np.random.default_rng(2025))


def values_of(rows: PairedRows, answers: np.ndarray) -> dict[str, np.ndarray]:
    """The value of each row by its definition, one row at a time."""
    wrong, critical = answers != rows.truth, (rows.truth == 2) & (answers != rows.truth)
    return {
        RIGHT: ~wrong,
        LOW_COST: wrong & ~critical,
        CRITICAL: critical,
        COST: np.where(critical, 20.0, np.where(wrong, 1.0, 0.0)),
    }


def test_counts_are_weighted_shares_of_10_000() -> None:
    rows = make_rows()
    found = found_in(rows)
    for model, answers in (("teacher", rows.teacher), ("student", rows.student)):
        for name, values in values_of(rows, answers).items():
            expected = 10_000 * np.average(values, weights=rows.weights)
            assert getattr(found[name], model).estimate == pytest.approx(expected)
    for outcome in found.values():
        assert outcome.extra.estimate == pytest.approx(outcome.student.estimate - outcome.teacher.estimate)
        assert (outcome.rows, outcome.paired, outcome.source) == (1_500, True, Source.TEST)
        assert outcome.draws.shape == (DRAWS,)


@pytest.mark.parametrize("name", [RIGHT, LOW_COST, COST])
def test_the_paired_interval_is_that_of_rows_drawn_again(name: str) -> None:
    rows, rng = make_rows(), np.random.default_rng(11)
    student, teacher = (values_of(rows, each)[name].astype(float) for each in (rows.student, rows.teacher))
    drawn = rng.integers(1_500, size=(4_000, 1_500))
    weights = rows.weights[drawn]
    means = 10_000 * ((student - teacher)[drawn] * weights).sum(axis=1) / weights.sum(axis=1)
    found = found_in(rows)[name]
    expected, width = np.percentile(means, BOTH_BOUNDS), np.ptp(np.percentile(means, BOTH_BOUNDS))
    assert (found.extra.low, found.extra.high) == pytest.approx(expected, abs=0.05 * width)
    assert np.std(found.draws) == pytest.approx(means.std(), rel=0.05)


def test_the_unpaired_interval_is_that_of_two_samples() -> None:
    rows, rng = make_rows(), np.random.default_rng(12)
    means = []
    for answers in (rows.student, rows.teacher):
        drawn = rng.integers(1_500, size=(4_000, 1_500))
        weights = rows.weights[drawn]
        right = (answers == rows.truth)[drawn]
        means.append(10_000 * (right * weights).sum(axis=1) / weights.sum(axis=1))
    expected = np.percentile(means[0] - means[1], BOTH_BOUNDS)
    found = found_in(rows)[RIGHT]
    assert (found.extra_unpaired.low, found.extra_unpaired.high) == pytest.approx(
        expected, abs=0.05 * np.ptp(expected)
    )
    assert found.extra_unpaired.low < found.extra.low


def test_repeated_texts_are_no_more_evidence_than_one() -> None:
    """Each of 1,500 texts four times: the intervals of 1,500 rows, not of 6,000."""
    one, four = found_in(make_rows())[RIGHT], found_in(make_rows(6_000, repeats=4))[RIGHT]
    assert four.rows == 6_000
    for name in ("teacher", "extra"):
        few, many = getattr(one, name), getattr(four, name)
        assert (many.estimate, many.low, many.high) == pytest.approx((few.estimate, few.low, few.high), abs=2)


def test_with_few_rows_that_differ_the_interval_is_never_of_length_0() -> None:
    rows = make_rows(200)
    alike = found_in(replace(rows, student=rows.teacher))[RIGHT]
    assert alike.extra.estimate == 0
    assert alike.extra.low < 0 < alike.extra.high
    assert np.std(alike.draws) > 0


def test_out_of_scope_rows_are_low_cost_misroutes_of_both_models() -> None:
    rows = make_rows(100)
    found = found_in(replace(rows, truth=np.full(100, OUT_OF_SCOPE)))
    counts = {name: (each.teacher.estimate, each.student.estimate) for name, each in found.items()}
    assert counts == {
        RIGHT: (0, 0),
        LOW_COST: pytest.approx((10_000, 10_000)),
        CRITICAL: (0, 0),
        COST: pytest.approx((10_000, 10_000)),
    }


def test_without_critical_misroutes_only_what_is_right_is_counted() -> None:
    assert [*found_in(make_rows(), MetricsSection())] == [RIGHT]
    assert [*found_in(make_rows(), MetricsSection(misroutes=(Misroute(cost=2),)))] == [RIGHT, COST]


def test_a_misroute_of_an_unknown_label_is_refused() -> None:
    with pytest.raises(LabelsError, match="the label 'escalate' of a misroute is not one of"):
        found_in(make_rows(), MetricsSection(misroutes=(Misroute(true="escalate"),)))


def test_the_harm_can_be_by_the_cost_matrix() -> None:
    section, rng = EconomicsSection(harm="cost-matrix"), np.random.default_rng(5)
    outcomes = found_in(make_rows())
    found = month(section, outcomes, monitoring=0, soft_labels="online", rng=rng)
    assert found.harm.estimate == pytest.approx(140 * outcomes[COST].extra.estimate)
    assert found.net_of_harm_drawn.mean == pytest.approx(3.08 - 140 * outcomes[COST].draws.mean())
    limits = break_even(section, outcomes)
    assert (limits.saving_per_10k, limits.harm_cost, limits.misroutes) == (
        outcomes[COST].extra.estimate,
        None,
        None,
    )
    with pytest.raises(NoCostMatrixError):
        month(section, configured(section, rng), monitoring=0, soft_labels="online", rng=rng)


def test_late_answers_are_those_above_the_budget() -> None:
    times = np.ones((300, 2))
    times[:60, 0], times[:3, 1] = 15.1, 99.0
    times[60:90] = 15.0
    found = timed(times, 15.0, np.random.default_rng(0))
    assert (found.name, found.rows) == (LATE, 300)
    assert (found.teacher.estimate, found.student.estimate) == pytest.approx((2_000, 100))
    expected = np.array([57, 1.96 * np.sqrt(57 * (1 - 57 / 300))]) / 300 * 10_000
    assert found.extra.estimate == pytest.approx(-expected[0])
    assert (found.extra.high - found.extra.low) / 2 == pytest.approx(expected[1], rel=0.05)
