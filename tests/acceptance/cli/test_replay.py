"""What rules would have done, and what they are going to do: `replay`."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from db.connection.session import reading
from db.records import Stratum
from db.views import rows
from monitor.intervals import wilson
from redistill.configuration.settings import load_rules
from tests.support.records.cycles import Cycles
from tests.support.records.factories import START, make_measurement, make_point, make_result, make_traffic
from tests.support.world.project import run, said
from triggers.rules.operating_characteristic import delay, false_alarm
from triggers.settings import DEFAULT_RULES

DRIFTED = make_measurement(disagreements=385, kl=0.12)

CONTRACT = "window_end rule metric value threshold breached streak statistic fired reason"


def series(folder: Path, *disagreements: int) -> Path:
    path = folder / "series.jsonl"
    lines = (
        {
            "window_end": f"{START + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}",
            "n": 5500,
            "disagreements": k,
            "kl": 0.083,
        }
        for hour, k in enumerate(disagreements)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def summary(shown: str, rule: str) -> str:
    """Of the rule: cycles, judged, breached, fired, alarms, first and last, as the table has them."""
    (line,) = [
        line for line in shown.splitlines() if line.startswith(f"{rule}  ") and ":" in line.split()[-1]
    ]
    return " ".join(line.split()[-9:])


def replayed(*arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run("replay", *arguments, "--json").stdout.splitlines()]


def test_a_replay_prints_an_object_a_cycle_and_rule_as_the_contract_says(project: Path) -> None:
    outcomes = replayed("--history", str(series(project, 143, 385)))
    assert all(list(outcome) == CONTRACT.split() for outcome in outcomes)
    assert [(outcome["window_end"], outcome["rule"]) for outcome in outcomes] == [
        ("2026-11-24T10:00:00Z", "low-agreement"),
        ("2026-11-24T10:00:00Z", "high-kl"),
        ("2026-11-24T11:00:00Z", "low-agreement"),
        ("2026-11-24T11:00:00Z", "high-kl"),
    ]
    assert outcomes[2]["breached"] is True
    assert outcomes[2]["value"] == 0.93


def test_a_replay_of_the_database_says_what_the_cycles_said(cycles: Cycles, engine: Engine) -> None:
    for index in range(4):
        cycles.conclude(index, make_result(measurement=DRIFTED))
    with reading(engine) as connection:
        stored = rows(connection, "rule_history", order_by="cycle_id")
    said_then = {(row["cycle_id"], row["rule"]): (row["streak"], row["reason"]) for row in stored}
    said_now = {
        (index // 2 + 1, outcome["rule"]): (outcome["streak"], outcome["reason"])
        for index, outcome in enumerate(replayed())
    }
    assert said_now == said_then


def test_since_hides_earlier_cycles_but_their_streaks_count(project: Path) -> None:
    path = series(project, 385, 385, 385)
    outcomes = replayed("--history", str(path), "--since", "2026-11-24T12:00:00Z")
    assert [(outcome["rule"], outcome["streak"], outcome["fired"]) for outcome in outcomes] == [
        ("low-agreement", 3, True),
        ("high-kl", 0, False),
    ]


def test_other_rules_can_be_tried(project: Path) -> None:
    rules = project / "stricter.toml"
    rules.write_text('[[rules]]\nname = "strict"\nmetric = "agreement"\nbelow = 0.98\n')
    shown = run("replay", "--history", str(series(project, 143, 55)), "--rules", str(rules)).stdout
    assert "strict  agreement  0.9740" in shown
    assert summary(shown, "strict") == "2 2 1 1 1 2026-11-24 10:00 2026-11-24 10:00"


def test_a_rule_set_is_compared_with_the_configured_rules(project: Path) -> None:
    """On 30 hours with two short drops: the literal rules order twice, the sustained ones only alert."""
    drops = [143] * 10 + [385] * 4 + [143] * 8 + [330] * 3 + [143] * 5
    shown = run("replay", "--history", str(series(project, *drops)), "--rules", "sustained").stdout
    assert re.search(r"^sustained +2 +0 +0$", shown, re.MULTILINE), shown
    assert re.search(r"^as configured +0 +2 +605$", shown, re.MULTILINE), shown
    assert "lasting-low-agreement" in shown


def test_without_a_configuration_a_file_is_replayed_with_the_rules_of_the_design(empty: Path) -> None:
    result = run("replay", "--history", str(series(empty, 385, 385, 385)))
    assert "redistill.toml does not exist: the default rules are applied." in result.stderr
    assert summary(result.stdout, "low-agreement") == "3 3 3 1 1 2026-11-24 12:00 2026-11-24 12:00"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no rule: add a line [[rules]], with name, metric"),
        ("rules = []", "it has no rule: add a line [[rules]], with name, metric"),
        ('[[rule]]\nname = "a"', "unknown section 'rule': did you mean 'rules'?"),
        ('[[rules]]\nname = "a"\nmetric = "kl"', "needs exactly one of 'below' and 'above'"),
    ],
    ids=["empty", "no rule", "a wrong name", "no bound"],
)
def test_a_bad_file_of_rules_is_refused(text: str, message: str, project: Path) -> None:
    rules = project / "rules.toml"
    rules.write_text(text)
    result = run("replay", "--history", str(series(project, 143)), "--rules", str(rules))
    assert result.exit_code == 2
    assert message in said(result)


def test_a_bad_line_of_a_series_is_named(project: Path) -> None:
    path = project / "series.jsonl"
    path.write_text('{"window_end": "2026-11-24T10:00:00Z", "n": 10, "disagreements": 11}\n')
    result = run("replay", "--history", str(path))
    assert result.exit_code == 1
    assert "line 1: field 'disagreements'" in said(result)


MODES = """
[[rules]]
name = "two-of-three"
metric = "agreement"
below = 0.95
mode = "interval"
for_cycles = 2
of_cycles = 3
[[rules]]
name = "evidence"
metric = "agreement"
below = 0.95
mode = "sequential"
[[rules]]
name = "both"
all = [{ metric = "kl", above = 0.15 }, { metric = "agreement", below = 0.95, mode = "interval" }]
"""


@pytest.fixture
def modes(project: Path) -> Path:
    path = project / "modes.toml"
    path.write_text(MODES)
    return path


def test_the_summary_counts_alarms_and_not_only_the_cycles_they_last(project: Path, modes: Path) -> None:
    path = series(project, 143, 385, 385, 143, 143, 385, 385, 385)
    with path.open("a") as lines:
        lines.write('{"window_end": "2026-11-24T18:00:00Z", "status": "inconclusive"}\n')
        lines.write('{"window_end": "2026-11-24T19:00:00Z", "n": 5500, "disagreements": 385, "kl": 0.083}\n')
    shown = run("replay", "--history", str(path), "--rules", str(modes)).stdout
    assert summary(shown, "two-of-three") == "10 9 6 4 2 2026-11-24 12:00 2026-11-24 19:00"
    assert summary(shown, "evidence") == "10 9 6 6 2 2026-11-24 11:00 2026-11-24 19:00"
    (never,) = [line for line in shown.splitlines() if line.startswith("both") and line.endswith("-")]
    assert never.split()[-7:] == ["10", "9", "0", "0", "0", "-", "-"]
    assert "interval, point" in never


def table_ahead(shown: str) -> list[list[str]]:
    """The rows below the line that says for which sample, cells apart by two blanks."""
    _, _, after = shown.partition("Expected, ")
    lines = after.splitlines()[1:]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_what_is_ahead_is_computed_at_the_historys_own_sample_and_agreement(project: Path) -> None:
    """The median of the cycles outside alarms, and drifts below the threshold."""
    shown = run("replay", "--history", str(series(project, 143, 198, 220, 385))).stdout
    assert "with a precision of 5,500 independent requests per cycle and a constant agreement, as" in shown
    head, r1, r2 = table_ahead(shown)
    assert head[2:] == [
        "false alarm in 1,000 cycles at 0.9620",
        *(f"cycles to detect {drift}" for drift in (0.94, 0.93, 0.9)),
    ]
    rng = np.random.default_rng(2025)
    expected = false_alarm(DEFAULT_RULES[0], make_point(), 1 - 209 / 5500, wilson, rng=rng)
    assert r1 == ["low-agreement", "point", f"{expected.probability:.3g}", "3.00", "3.00", "3.00"]
    assert r2[0].startswith("No forecast for high-kl: the spread of kl")


def test_healthy_and_drifted_agreements_can_be_named(project: Path, modes: Path) -> None:
    named = ("--healthy", "0.955", "--drift", "0.94", "--drift", "0.945", "--drift", "0.96", "--drift", "1")
    shown = run("replay", "--history", str(series(project, 143)), "--rules", str(modes), *named).stdout
    head, interval, evidence, *_ = table_ahead(shown)
    assert head[2:] == [
        "false alarm in 1,000 cycles at 0.9550",
        *(f"cycles to detect {drift}" for drift in ("0.94", "0.945", "0.96", "1")),
    ]
    two_of_three, by_evidence, _ = load_rules(modes)
    alarm = false_alarm(two_of_three, make_point(), 0.955, wilson, rng=np.random.default_rng(2025))
    seldom = delay(two_of_three, make_point(), 0.96, wilson, np.random.default_rng(2025))
    assert interval[2] == f"{alarm.probability:.3g}"
    assert interval[-2:] == [f"{seldom.mean:.3g}", "never"]
    found = delay(by_evidence, make_point(), 0.94, wilson, np.random.default_rng(2025))
    assert evidence[2:4] == ["at most 0.05", f"{found.mean:.2f} (+-{found.error:.2f})"]
    assert evidence[-1] == "at least 20,000"


def test_what_is_ahead_in_json(project: Path, modes: Path) -> None:
    arguments = ("--history", str(series(project, 143)), "--rules", str(modes), "--drift", "0.93", "--expect")
    interval, evidence, both = replayed(*arguments)
    assert list(interval) == [
        *("rule", "mode", "n", "healthy", "dispersion", "false_alarm", "false_alarm_error"),
        *("false_alarm_at_most", "delays", "unknown"),
    ]
    assert interval["dispersion"] is None
    assert (interval["false_alarm_at_most"], evidence["false_alarm_at_most"]) == (False, True)
    assert (interval["n"], interval["healthy"], interval["unknown"]) == (5500, 0.974, None)
    assert evidence["false_alarm"] == 0.05
    (found,) = json.loads(json.dumps(evidence["delays"]))
    assert found == {"agreement": 0.93, "cycles": found["cycles"], "error": found["error"], "at_least": False}
    assert 1 <= found["cycles"] < 1.1
    assert (both["false_alarm"], both["delays"]) == (None, [])
    assert both["unknown"] == "the dependence between its conditions is not known"


def test_expect_shows_nothing_of_the_past(project: Path) -> None:
    shown = run("replay", "--history", str(series(project, 385, 385, 385)), "--expect").stdout
    assert shown.startswith("Expected, ")
    assert "false alarm in 1,000 cycles at -" in shown
    assert table_ahead(shown)[1] == ["low-agreement", "point", "-", "3.00", "3.00", "3.00"]


def test_a_stratified_sample_counts_as_a_uniform_one_that_is_as_sure(cycles: Cycles) -> None:
    traffic = replace(
        make_traffic(n_seen=50_000),
        strata=(Stratum(label="a", n_seen=45_000, n=3_000), Stratum(label="b", n_seen=5_000, n=2_500)),
    )
    measured = replace(make_measurement(), by_stratum=(100, 43))
    cycles.conclude(0, make_result(measurement=measured, traffic=traffic))
    (r1, _) = replayed("--expect")
    assert r1["n"] == round(1 / (0.9**2 / 3_000 + 0.1**2 / 2_500))


@pytest.mark.parametrize(
    ("line", "said_ahead"),
    [
        ('"kl": 0.1', "No forecast: no cycle has the number of its requests."),
        ('"agreement": 0.97, "kl": 0.1', "No forecast: no cycle has the number of its requests."),
        ('"agreement": 0.97, "n": 1000', "a precision of 1,000 independent requests"),
    ],
    ids=["no agreement", "a share of nothing known", "a share of a number"],
)
def test_without_a_number_of_requests_nothing_is_known_ahead(
    line: str, said_ahead: str, project: Path
) -> None:
    path = project / "series.jsonl"
    path.write_text(f'{{"window_end": "2026-11-24T10:00:00Z", {line}}}\n')
    assert said_ahead in run("replay", "--history", str(path)).stdout
    if "Nothing" in said_ahead:
        assert replayed("--history", str(path), "--expect") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--healthy", "1.2"), "--healthy"),
        (("--drift", "94"), "--drift"),
        (("--drift", "0.94", "--json"), "--healthy and --drift need --expect"),
    ],
    ids=["healthy above 1", "a drift in percent", "json of the past"],
)
def test_what_makes_no_sense_of_what_is_ahead_is_refused(
    arguments: tuple[str, ...], message: str, project: Path
) -> None:
    result = run("replay", "--history", str(series(project, 143)), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_a_cycle_there_is_nothing_to_replay(migrated: Path) -> None:
    del migrated
    assert run("replay").stdout == "No cycle to apply the rules to.\n"
    assert replayed() == replayed("--expect") == []
