"""What `doctor` says about the cost of monitoring, from configured costs alone."""

from pathlib import Path

import pytest

from redistill.checks.economics import economics
from redistill.checks.result import CheckResult, Level
from redistill.configuration.settings import load
from redistill.cost_inputs import schedule, used_soft_labels
from redistill.economics.monitoring import monitoring

SMALLEST = """
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
{student}
[redistill]
train = "train.jsonl"
test = "test.jsonl"
{redistill}
[monitor]
{monitor}
"""


COSTS = "[economics]\ncost_per_10k_teacher = 0.038\n"


def configuration(folder: Path, monitor: str = "", more: str = "", **sections: str) -> Path:
    path = folder / "redistill.toml"
    given = {"student": "", "redistill": "", **sections}
    path.write_text(SMALLEST.format(monitor=monitor, **given) + more)
    return path


def found(path: Path) -> CheckResult:
    (result,) = economics(load(path))
    return result


@pytest.mark.parametrize("more", ["", "[economics]\nrequests_per_month = 1_000_000\n"])
def test_without_configured_costs_nothing_is_checked(more: str, tmp_path: Path) -> None:
    assert list(economics(load(configuration(tmp_path, more=more)))) == []


def test_a_census_that_costs_more_than_the_student_saves_is_a_warning(tmp_path: Path) -> None:
    """The design's own numbers: 1.4 million requests a month, an hourly sample of 10,000."""
    result = found(configuration(tmp_path, more=COSTS))
    assert (result.level, result.ok) == (Level.WARNING, True)
    assert result.found == (
        "720 cycles a month of 1,944 requests cost 7.56, and the student saves 3.08: monitoring costs more "
        "than it protects"
    )
    assert result.fix == (
        "set sample_size = 1000 in [monitor], and windows of 1.26 h or longer (every), or set "
        "scores = 'recorded' in [student]; see `redistill economics`"
    )


def test_what_doctor_recommends_is_no_warning_any_more(tmp_path: Path) -> None:
    fixed = 'sample_size = 1000\nevery = "2h"'
    result = found(configuration(tmp_path, monitor=fixed, more=COSTS))
    assert (result.level, result.fix) == (Level.OK, None)
    assert result.found == "360 cycles a month of 1,000 requests cost 1.94, and the student saves 3.08"


def test_a_smaller_sample_is_enough_where_it_suffices_for_a_verdict(tmp_path: Path) -> None:
    result = found(configuration(tmp_path, monitor="min_samples = 500", more=COSTS))
    assert result.fix is not None
    assert result.fix.startswith("set sample_size = 792 in [monitor], or set scores")


def test_a_student_that_saves_nothing_cannot_pay_for_monitoring(tmp_path: Path) -> None:
    result = found(configuration(tmp_path, more=f"{COSTS}cost_per_10k_student = 0.038\n"))
    assert result.level is Level.WARNING
    assert result.fix == "none: the student costs as much as the teacher; check the costs in [economics]"


def test_recorded_answers_cost_only_the_teacher(tmp_path: Path) -> None:
    path = configuration(tmp_path, student='scores = "recorded"', more=COSTS)
    assert found(path).found.startswith("720 cycles a month of 1,944 requests cost 5.32")
    assert "recorded" not in str(found(path).fix)
    assert monitoring(load(path).economics, schedule(load(path))).break_even_share == pytest.approx(22 / 38)


@pytest.mark.parametrize(
    ("keys", "cycles"),
    [
        ("", 720),
        ('every = "6h"', 120),
        ('cron = "0 8,20 * * *"', 60),
        ('cron = "0 */2 * * *"', 360),
        ('cron = "0 0 1 * *"', 1),
    ],
)
def test_cycles_are_those_of_30_days(keys: str, cycles: int, tmp_path: Path) -> None:
    found = schedule(load(configuration(tmp_path, monitor=keys))).cycles_per_month
    assert found == pytest.approx(cycles, rel=0.1)


@pytest.mark.parametrize(
    ("keys", "runs", "used"),
    [
        ("", 4, "online"),
        ("", 4.5, "offline"),
        ('soft_labels = "online"', 9, "online"),
        ('soft_labels = "offline"', 1, "offline"),
        ("offline_above_runs_per_week = 9", 9, "online"),
    ],
)
def test_soft_labels_are_offline_as_in_a_job(keys: str, runs: float, used: str, tmp_path: Path) -> None:
    path = configuration(tmp_path, redistill=keys, more=f"[economics]\nruns_per_week = {runs}\n")
    assert used_soft_labels(load(path)) == used
