"""docs/metrics.md: every metric has its section, and its table of false alarms is what recomputing gives."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from db.cycles.labels import SHARES
from distill.evaluation.churn import churn_metrics
from distill.evaluation.comparison import AGREEMENT_GAIN, OVER_TEACHER, labelled_comparison
from distill.evaluation.gates import LATENCY_RATIOS, check
from distill.evaluation.label_metrics import label_metrics
from distill.settings import GatesSection
from monitor.intervals import wilson
from monitor.settings import MetricsSection, Misroute, MonitorSection
from tests.support.records.factories import make_point
from triggers.rules.operating_characteristic import delay, false_alarm
from triggers.settings import DEFAULT_RULES, METRICS

DOC = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
AGREEMENTS = (0.974, 0.96, 0.955, 0.951)
DRIFTED = (0.94, 0.93, 0.90)
SIZES = (500, 1_000, 5_500, 10_000)


def table(first_column: str) -> dict[int, list[str]]:
    """Cells by n of the table whose header begins with the given cells."""
    _, _, after = DOC.partition(f"| {first_column}")
    rows = re.match(r".*\n\|[-|]+\n((?:\|.*\n)+)", after)
    assert rows is not None
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]
    return {int(n.replace(",", "")): rest for n, *rest in cells}


def test_every_metric_has_a_section_and_every_section_is_a_metric() -> None:
    logits, labels = [[1.0, 0.0], [0.0, 1.0]], [0, 1]
    settings = MetricsSection(rare_labels=("faq",), misroutes=(Misroute(critical=True),), resamples=100)
    panel = label_metrics(logits, labels, ["faq", "promotion"], settings, calibrated=logits)
    of_models = {metric.name.partition(":")[0] for metric in panel}
    panel = labelled_comparison(np.eye(2), np.eye(2), np.array(labels), ["faq", "promotion"], settings)
    panel += churn_metrics(np.eye(2), np.eye(2), np.array(labels), ["faq", "promotion"])
    compared = {metric.name.partition(":")[0] for metric in panel}
    gates = {outcome.gate for outcome in check(GatesSection(), [])}
    sections = set(re.findall(r"^### `(\w+)`$", DOC, re.MULTILINE))
    assert sections == {
        *(*METRICS, *of_models, *gates, *SHARES, *LATENCY_RATIOS, *compared),
        *(AGREEMENT_GAIN, OVER_TEACHER),
    }


def test_the_defaults_in_the_text_are_those_of_the_settings() -> None:
    low_agreement, high_kl = DEFAULT_RULES
    assert f"agreement < {low_agreement.below} in {low_agreement.for_cycles} evaluated cycles" in DOC
    assert f"mean KL > {high_kl.above} in one" in DOC
    assert f"`min_samples` = {MonitorSection().min_samples}." in DOC
    assert f"`max_reject_share` (default {MonitorSection().max_reject_share})" in DOC


@pytest.mark.parametrize("n", SIZES)
def test_the_false_alarms_and_delays_of_r1_are_recomputed_exactly(n: int) -> None:
    rule, typical, rng = DEFAULT_RULES[0], make_point(n=n), np.random.default_rng(2025)
    alarms = [f"{false_alarm(rule, typical, a, wilson, rng=rng).probability:.3g}" for a in AGREEMENTS]
    delays = [f"{delay(rule, typical, a, wilson, rng).mean:.2f}" for a in DRIFTED]
    assert table("n | false alarm")[n] == [*alarms, *delays]


@pytest.mark.parametrize("n", SIZES)
def test_the_distance_of_r2_is_recomputed(n: int) -> None:
    error = 2.5 * 0.083 / math.sqrt(n)
    assert table("n | standard error")[n] == [f"{error:.4f}", f"{(0.15 - 0.083) / error:.1f}"]
