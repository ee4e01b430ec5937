"""docs/economics.md: the keys and their defaults, the table of the design, and what the command prints."""

import re
from pathlib import Path

import numpy as np
import pytest

from redistill.configuration.template import _TEMPLATE
from redistill.economics.monitoring import Schedule, best_interval_hours, monitoring
from redistill.economics.month import break_even, month
from redistill.economics.outcomes import DRAWS, configured
from redistill.economics.settings import EconomicsSection

DOC = (Path(__file__).parents[3] / "docs" / "economics.md").read_text(encoding="utf-8")
ROWS = {
    name.strip(): [cell.strip() for cell in cells]
    for name, *cells in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", DOC, re.MULTILINE)
}


def numbers(text: str) -> list[float]:
    found = re.findall(r"-?\d[\d,]*\.?\d*", text.replace("\N{MINUS SIGN}", "-"))
    return [float(each.replace(",", "")) for each in found]


def test_every_key_has_its_row_with_its_default() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", DOC.partition("## The keys")[2], re.MULTILINE)
    section = EconomicsSection()
    assert [key for key, _ in listed] == [*EconomicsSection.model_fields]
    for key, printed in listed:
        value = getattr(section, key)
        shown = (
            ", ".join(map(str, value)) if isinstance(value, tuple) else str("" if value is None else value)
        )
        assert printed.strip('"') == shown, key


@pytest.mark.parametrize(("column", "factor"), [(0, 1), (1, 1_000)])
def test_the_table_is_what_the_product_computes(column: int, factor: int) -> None:
    section = EconomicsSection(cost_per_10k_teacher=0.038 * factor, cost_per_10k_student=0.016 * factor)
    rng = np.random.default_rng(2025)
    outcomes = configured(section, rng)
    found = month(section, outcomes, monitoring=0, soft_labels="online", rng=rng)
    drawn, limits = found.net_of_harm_drawn, break_even(section, outcomes)

    def of(row: str) -> list[float]:
        return numbers(ROWS[row][column])

    def cost(cycles: float, sample_size: int) -> float:
        schedule = Schedule(
            cycles_per_month=cycles, sample_size=sample_size, min_samples=1_000, student_is_recorded=False
        )
        return monitoring(section, schedule).cost

    assert of("teacher, student, saving") == pytest.approx([found.teacher, found.student, found.saving])
    assert of("harm, paired") == pytest.approx(
        [found.harm.estimate, found.harm.low, found.harm.high], abs=0.5
    )
    assert of("harm, unpaired") == pytest.approx([found.harm_unpaired.low, found.harm_unpaired.high], abs=0.5)
    assert of("net of harm") == pytest.approx([found.net_of_harm])
    assert of("net of harm, a year") == pytest.approx([12 * found.net_of_harm], abs=0.5)
    uncertain = of("net of harm at an uncertain `harm_cost`")
    assert uncertain == pytest.approx([drawn.mean, drawn.low, drawn.high], abs=1)
    assert of("chance that it is above 0") == [drawn.probability_positive]
    assert of("break-even saving per 10,000 requests") == pytest.approx([limits.saving_per_10k])
    assert of("break-even `harm_cost`") == pytest.approx([limits.harm_cost])
    assert of("break-even misroutes of 10,000") == pytest.approx([limits.misroutes], rel=2e-3)
    for row, cycles, size in (
        ("monitoring, hourly, `sample_size = 10000`", 720, 10_000),
        ("monitoring, hourly, `sample_size = 1000`", 720, 1_000),
        ("monitoring, every 6 hours, `sample_size = 1000`", 120, 1_000),
        ("monitoring, daily, `sample_size = 1000`", 30, 1_000),
    ):
        assert of(row) == pytest.approx([cost(cycles, size)], rel=0.02)


def test_the_numbers_in_the_text_are_recomputed() -> None:
    section = EconomicsSection()
    right = configured(section, np.random.default_rng(0))["right"]
    paired, unpaired = ((each.high - each.low) / 2 for each in (right.extra, right.extra_unpaired))
    assert f"±{paired:.0f} of 10,000 paired and ±{unpaired:.0f} unpaired" in DOC
    assert f"over {DRAWS:,} draws" in DOC
    assert f"the mean of u is {np.mean(section.harm_costs) / section.harm_cost:.2f} `harm_cost`" in DOC
    drifting = EconomicsSection(drifts_per_month=0.5, drift_misroutes=500)
    best = best_interval_hours(drifting, 0.1 * (section.cost_per_10k_teacher + section.cost_per_10k_student))
    assert f"τ* is {best:.1f} hours" in DOC


def test_the_template_has_the_defaults() -> None:
    given = dict(re.findall(r"^# (\w+) = ([\d.]+)", _TEMPLATE.partition("# [economics]")[2], re.MULTILINE))
    section = EconomicsSection()
    assert len(given) == 4
    assert {key: float(value) for key, value in given.items()} == {
        key: getattr(section, key) for key in given
    }
