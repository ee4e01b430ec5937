"""docs/decisions.md: its tables are what the product's functions and exact distributions give."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, poisson

from distill.evaluation.power import half_width, power, rows_needed
from distill.settings import GatesSection
from triggers.shadow.e_process import is_decided, log_e_value

DOC = (Path(__file__).parents[3] / "docs" / "decisions.md").read_text(encoding="utf-8")
DIFFERENCES = (-0.02, -0.015, -0.01, -0.005, 0.0, 0.005)
ROWS = 5_500
Shares = list[tuple[float, float]]


def shares(first_cell: str) -> Shares:
    """Return each share of a row with its standard error, which the page gives in thousandths."""
    (row,) = re.findall(rf"^\| {re.escape(first_cell)} \| (.+) \|$", DOC, re.MULTILINE)
    found = re.findall(r"([\d.]+) \((\d+)\)", row)
    return [(float(share), max(int(error), 1) / 1_000) for share, error in found]


def probability_of_passing(truth: float) -> float:
    """Return the exact probability that a share of the test rows is at least the gate's threshold."""
    least = next(k for k in range(ROWS) if k / ROWS >= GatesSection().accuracy)
    return float(binom.sf(least - 1, ROWS, truth))


@pytest.mark.parametrize("incumbent", [0.920, 0.905])
def test_the_point_gate_is_within_three_standard_errors_of_the_exact_distribution(incumbent: float) -> None:
    found = shares(f"point gate .905, incumbent {incumbent:.3f}")
    for (share, error), difference in zip(found, DIFFERENCES, strict=True):
        assert share == pytest.approx(probability_of_passing(incumbent + difference), abs=3 * error)


def test_the_paired_gate_is_within_three_standard_errors_of_the_design() -> None:
    """The published table, which has two decimals."""
    for result, published in (("pass", (0, 0, 0.03, 0.38, 0.91, 1)), ("fail", (0.92, 0.38, 0.02, 0, 0, 0))):
        found = shares(f"paired, margin 1 pp: {result}")
        for (share, error), expected in zip(found, published, strict=True):
            assert share == pytest.approx(expected, abs=3 * error + 0.005)


@pytest.mark.parametrize("incumbent", ["0.920", "0.905"])
def test_the_defaults_promote_equal_candidates_and_not_those_that_are_two_points_worse(
    incumbent: str,
) -> None:
    worse, *_, equal, _ = (share for share, _ in shares(f"{incumbent}, pass: promoted"))
    assert worse <= 0.01
    assert equal >= 0.90


def test_the_power_is_recomputed() -> None:
    rows = re.findall(r"^\| (\d+)%, ([\d.]+) pp \| (.+) \|$", DOC, re.MULTILINE)
    assert len(rows) == 6
    for discordant, points, cells in rows:
        of_row = [half_width(int(discordant) / 100, n) for n in (300, 1_000, 2_000, 5_500, 20_000)]
        margin = float(points) / 100
        expected = [f"{power(half, margin):.2f}" for half in of_row]
        assert cells.split(" | ") == [*expected, f"{rows_needed(300, of_row[0], margin):,}"]


@pytest.mark.parametrize("texts", [10, 60, 600])
@pytest.mark.parametrize("decision", ["worse", "better"])
def test_a_first_cycle_decides_on_an_equal_candidate_as_often_as_published(texts: int, decision: str) -> None:
    """Exact, by the Poisson distributions of the texts that are won and lost."""
    counts = np.arange(int(poisson.isf(1e-9, texts / 2)) + 1)
    mass = poisson.pmf(counts, texts / 2)
    decided = [[is_decided(log_e_value(won, lost)) for lost in counts.tolist()] for won in counts.tolist()]
    share, error = shares(f"{texts}: {decision}")[0]
    assert share == pytest.approx(float(mass @ np.array(decided) @ mass), abs=3 * error)


def test_the_shadow_is_wrong_as_rarely_as_the_design_says() -> None:
    """At most .05 each way; .012 over 200 cycles with 60 discordant texts; a worse one ends in 1 to 4."""
    for texts, decision in itertools.product((10, 60, 600), ("worse", "better")):
        assert max(share for share, _ in shares(f"{texts}: {decision}")) <= 0.05
    for decision in ("worse", "better"):
        share, error = shares(f"60: {decision}")[-1]
        assert share == pytest.approx(0.012, abs=3 * error)
    (cells,) = re.findall(r"^\| cycles until stopped, .*?quantile \| (.+) \|$", DOC, re.MULTILINE)
    medians = [cell.split(", ") for cell in cells.split(" | ")]
    assert medians[:3] == [["1", "1"], ["1", "2"], ["2", "4"]]
