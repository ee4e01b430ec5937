"""The design document's numbers, recomputed: where they part the arithmetic holds, not the text.

Rows are those of docs/design-numbers.md. A test says what the document has and what is right.
"""

import math

import numpy as np
import pytest
import torch

from distill.losses import distillation_loss, distillation_terms
from distill.settings import RedistillSection
from monitor.divergence import kl_divergence, log_softmax
from monitor.intervals import binomial_bootstrap, wilson
from redistill.economics.monitoring import Schedule, monitoring
from redistill.economics.month import Month, break_even, month, offline_from_runs
from redistill.economics.outcomes import configured
from redistill.economics.settings import EconomicsSection

#: Message 1: three classes are named, seven have a logit of -2; the student is near-uniform.
TEACHER = [[6.4, 1.2, -1.5] + [-2.0] * 7]
STUDENT = [[0.1] + [0.0] * 9]


def test_row_1_the_teacher_at_t_3() -> None:
    """The document has Z = 11.05 and p = (0.764, 0.135, 0.055); seven classes add 3.594, not 0.51."""
    terms = np.exp(np.array(TEACHER[0]) / 3)
    assert terms[3:].sum() == pytest.approx(3.594, abs=5e-4)
    assert terms.sum() == pytest.approx(14.135, abs=5e-4)
    p = np.exp(log_softmax(TEACHER, 3.0))[0]
    np.testing.assert_allclose(p, [0.5973, 0.1055, 0.0429] + [0.0363] * 7, atol=5e-5)


def test_row_2_the_kl_of_message_1() -> None:
    """The document has 1.6; it is 0.7629 nats, and 1.41 even with the document's own p."""
    assert kl_divergence(TEACHER, STUDENT, 3.0) == pytest.approx([0.7629], abs=5e-5)
    named = [0.764, 0.135, 0.055]
    theirs = np.log([named + [(1 - sum(named)) / 7] * 7]) * 3
    assert kl_divergence(theirs, STUDENT, 3.0) == pytest.approx([1.41], abs=5e-3)


def test_row_3_the_loss_of_message_1() -> None:
    """The document has 10.08 and 10.77 in all; it is 4.806 and 5.470, KL : CE is 7 : 1."""
    student, teacher = torch.tensor(STUDENT).double(), torch.tensor(TEACHER).double()
    label = torch.tensor([0])
    terms = distillation_terms(student, teacher, label, temperature=3.0)
    assert terms.ce.item() == pytest.approx(2.2130, abs=5e-5)
    assert terms.ce.item() == pytest.approx(-math.log(0.10937), abs=5e-5)
    soft, hard = 0.7 * 9 * terms.kl.item(), 0.3 * terms.ce.item()
    assert (soft, hard) == (pytest.approx(4.806, abs=5e-4), pytest.approx(0.664, abs=5e-4))
    loss = distillation_loss(student, teacher, label, alpha=0.7, temperature=3.0)
    assert loss.item() == pytest.approx(5.470, abs=5e-4)
    assert round(soft / hard) == 7


def test_row_4_the_teacher_at_t_1() -> None:
    """The document has (0.992, 0.005, 0.0006); a small difference."""
    p = np.exp(log_softmax(TEACHER))[0]
    assert p[0] == pytest.approx(0.9926, abs=5e-5)
    assert p[1] == pytest.approx(0.0055, abs=5e-5)
    assert p[2] == pytest.approx(0.00037, abs=5e-6)


def the_month(section: EconomicsSection) -> Month:
    rng = np.random.default_rng(2025)
    return month(section, configured(section, rng), monitoring=0.0, soft_labels="online", rng=rng)


def test_row_5_the_monthly_cost_is_a_thousandth_of_what_is_printed() -> None:
    """The document has $5,320, $2,240 and a saving of $3,080; from $ per 10,000 it is $3.08."""
    section = EconomicsSection()
    found = the_month(section)
    assert (found.teacher, found.student, found.saving) == pytest.approx((5.32, 2.24, 3.08))
    assert found.net_of_harm == pytest.approx(-288.12)
    limits = break_even(section, configured(section, np.random.default_rng(2025)))
    assert limits.saving_per_10k == pytest.approx(2.08)


def test_row_6_the_outcomes_are_not_a_partition() -> None:
    """Correct, low-cost and critical misroutes, late: they do not add up to 10,000 requests.

    Arithmetic only: the product treats them as separate counts.
    """
    assert 9_210 + 590 + 34 + 3 == 9_837
    assert 9_050 + 690 + 45 + 0 == 9_785


def test_row_7_the_interval_of_the_students_accuracy() -> None:
    """The document has [0.8997, 0.9098] at n = 5,500; that needs n of about 12,900."""
    interval = binomial_bootstrap(round(0.905 * 5_500), 5_500)
    assert (interval.low, interval.high) == pytest.approx((0.8973, 0.9127), abs=2e-4)
    needed = binomial_bootstrap(round(0.905 * 12_900), 12_900)
    assert needed.high - needed.low == pytest.approx(0.9098 - 0.8997, abs=2e-4)


def test_row_8_the_harm_of_the_extra_misroutes() -> None:
    """The document has about $290: 160 more per 10,000 requests at $0.013 each."""
    assert (
        the_month(EconomicsSection()).harm.estimate
        == pytest.approx(160 * 140 * 0.013)
        == pytest.approx(291.20)
    )


def test_row_9_the_interval_of_the_agreement() -> None:
    """The document has [0.970, 0.978] at n = 5,500, which holds (the bootstrap, B = 10,000)."""
    found = binomial_bootstrap(5_357, 5_500)
    assert found.estimate == 0.974
    assert (round(found.low, 3), round(found.high, 3)) == (0.970, 0.978)
    assert (found.high - found.low) / 2 == pytest.approx(0.0042, abs=1e-4)


def test_row_9_the_interval_that_the_monitor_reports() -> None:
    """Wilson's is as long and lies 0.0003 lower, towards one half."""
    found = wilson(5_357, 5_500)
    assert (found.low, found.high) == pytest.approx((0.9695, 0.9779), abs=5e-5)


def test_row_10_the_training_time() -> None:
    """The document has +33%: 24 minutes against 18, which holds. Arithmetic only."""
    ratio = 24 / 18
    assert ratio == pytest.approx(1.333, abs=5e-4)


def test_row_11_offline_pays_from_the_second_run() -> None:
    """Offline takes 8 minutes once and 19 a run, online 24 a run."""
    once, offline, online = 8, 19, 24
    assert offline_from_runs(EconomicsSection()) == pytest.approx(once / (online - offline)) == 1.6
    assert [once + runs * offline < runs * online for runs in (1, 2)] == [False, True]


def test_row_12_four_runs_a_week_are_more_than_enough() -> None:
    """At 4 runs a week, 1.6 runs have passed after 2.8 days. Arithmetic only."""
    days = 7 / RedistillSection().offline_above_runs_per_week * 8 / (24 - 19)
    assert days == pytest.approx(2.8)


def test_row_13_the_price_of_a_run() -> None:
    """$2 for 24 minutes are $5 an hour. Arithmetic only."""
    an_hour = 2 / 24 * 60
    assert (an_hour, an_hour * 19 / 60, an_hour * 8 / 60) == pytest.approx((5.0, 1.583, 0.667), abs=5e-4)


def test_row_14_the_interval_of_the_harm() -> None:
    """At n = 5,500, if exactly one model is right on 2.4% of the rows: the document has no interval."""
    found = the_month(EconomicsSection())
    assert [round(each) for each in (found.harm.low, found.harm.high)] == [217, 365]
    assert [round(each) for each in (found.harm_unpaired.low, found.harm_unpaired.high)] == [100, 483]


def test_row_15_the_net_of_harm() -> None:
    """The document has $2,790 a month: that is right at unit costs of $38 and $16."""
    printed, meant = (
        the_month(EconomicsSection(cost_per_10k_teacher=0.038 * factor, cost_per_10k_student=0.016 * factor))
        for factor in (1, 1_000)
    )
    assert (printed.net_of_harm, 12 * printed.net_of_harm) == pytest.approx((-288.12, -3_457.44))
    assert (meant.net_of_harm, 12 * meant.net_of_harm) == pytest.approx((2_788.80, 33_465.60))
    drawn = printed.net_of_harm_drawn
    assert (drawn.mean, drawn.low, drawn.high) == pytest.approx((-337, -558, -171), abs=2)
    assert (drawn.probability_positive, meant.net_of_harm_drawn.probability_positive) == (0, 1)


def test_row_16_the_difference_of_the_critical_misroutes() -> None:
    """34 against 45 of 10,000 requests."""
    found = configured(EconomicsSection(), np.random.default_rng(2025))["critical_misroutes"].extra
    assert [round(each) for each in (found.estimate, found.low, found.high)] == [11, -6, 28]


def test_row_17_the_cost_of_monitoring() -> None:
    """At 1,944 requests an hour a sample of 10,000 is a census."""

    def cost(cycles: int, sample_size: int) -> float:
        schedule = Schedule(
            cycles_per_month=cycles, sample_size=sample_size, min_samples=1_000, student_is_recorded=False
        )
        return monitoring(EconomicsSection(), schedule).cost

    costs = (cost(720, 10_000), cost(720, 1_000), cost(120, 1_000), cost(30, 1_000))
    assert costs == pytest.approx((7.56, 3.888, 0.648, 0.162))


def test_row_18_the_share_that_may_be_scored() -> None:
    """Monitoring costs the saving at .407 of all requests; at .579 if the log has the student's answers."""
    shares = [
        monitoring(
            EconomicsSection(),
            Schedule(cycles_per_month=720, sample_size=1, min_samples=1, student_is_recorded=recorded),
        ).break_even_share
        for recorded in (False, True)
    ]
    assert shares == pytest.approx([22 / 54, 22 / 38])
    assert [round(share, 3) for share in shares] == [0.407, 0.579]
