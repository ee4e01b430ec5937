"""What has happened, and what stands: `history` and `status`."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.connection.session import reading
from db.records import QuietResult
from db.views import VIEWS, rows
from redistill.configuration.settings import load
from tests.support.records.cycles import Cycles, make_policy
from tests.support.records.factories import (
    LABELS,
    START,
    make_input_drift,
    make_measurement,
    make_result,
    make_slice,
    make_slot,
    make_teacher,
    make_traffic,
)
from tests.support.world.project import run, write_config
from triggers.conclude_quiet import conclude_quiet

COLUMNS = [
    *VIEWS["cycle_history"].split(),
    "estimated_accuracy",
    "estimated_accuracy_low",
    "estimated_accuracy_high",
    "estimated_accuracy_method",
    "estimated_accuracy_reason",
    "n_labels",
]
DRIFTED = make_measurement(disagreements=385, kl=0.12)
FAR = make_measurement(disagreements=385, kl=0.21)


def at(index: int) -> str:
    """The start of the index-th window, as the command line writes times."""
    return f"{make_slot(index).window_start:%Y-%m-%d %H:%M}"


def test_the_history_has_a_line_a_cycle_oldest_first(cycles: Cycles) -> None:
    cycles.conclude(0)
    cycles.conclude(1, make_result(measurement=DRIFTED))
    head, healthy, breached = run("history").stdout.splitlines()
    assert head.split()[:3] == ["window", "end", "(UTC)"]
    assert healthy.startswith(f"{at(1)}  healthy")
    assert "0.9740 [0.9700, 0.9780]" in healthy
    assert "0.0830 [0.0790, 0.0870]" in healthy
    assert breached.startswith(f"{at(2)}  breached")
    assert "0.9300" in breached


def test_a_pipe_gets_plain_text_without_blanks_at_the_ends(cycles: Cycles) -> None:
    cycles.conclude(0)
    lines = run("history").stdout.splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines == [line.rstrip() for line in lines]


def test_the_history_in_json_is_the_view_with_the_estimated_accuracy(cycles: Cycles, engine: Engine) -> None:
    cycles.conclude(0)
    (cycle,) = json.loads(run("history", "--json").stdout)
    assert list(cycle) == COLUMNS
    assert cycle["window_end"] == "2026-11-24T11:00:00Z"
    with reading(engine) as connection:
        (stored,) = rows(connection, "cycle_history", order_by="window_end")
    assert cycle["agreement"] == stored["agreement"]
    assert cycle["alpha"] == 0.7


def test_the_history_in_csv_has_the_same_columns(cycles: Cycles) -> None:
    cycles.conclude(0)
    cycles.conclude(1)
    table = list(csv.DictReader(io.StringIO(run("history", "--csv").stdout)))
    assert list(table[0]) == COLUMNS
    assert [row["window_end"] for row in table] == ["2026-11-24T11:00:00Z", "2026-11-24T12:00:00Z"]


def test_json_and_csv_at_once_are_refused(cycles: Cycles) -> None:
    cycles.conclude(0)
    assert run("history", "--json", "--csv").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "windows"),
    [
        ((), [1, 2, 3]),
        (("--since", "2026-11-24T12:00:00Z"), [2, 3]),
        (("--until", "2026-11-24T12:00:00Z"), [1]),
        (("--since", "2026-11-24T14:00:00+02:00", "--until", "2026-11-24 13:00"), [2]),
        (("--since", "2026-11-25"), []),
        (("--since", "10000h"), [1, 2, 3]),
    ],
    ids=["all", "since", "until", "both, with an offset and without", "a day", "a duration back"],
)
def test_the_history_of_a_time(arguments: tuple[str, ...], windows: list[int], cycles: Cycles) -> None:
    for index in range(3):
        cycles.conclude(index)
    found = json.loads(run("history", *arguments, "--json").stdout)
    assert [cycle["window_end"] for cycle in found] == [
        f"{make_slot(index).window_start:%Y-%m-%dT%H:%M:%SZ}" for index in windows
    ]


def test_the_history_is_that_of_the_configured_monitor(
    cycles: Cycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles.conclude(0)
    monkeypatch.setenv("REDISTILL__MONITOR__NAME", "another")
    assert json.loads(run("history", "--json").stdout) == []


def test_the_status_shows_the_streaks_against_what_the_rules_ask_for(cycles: Cycles) -> None:
    cycles.promote(now=START)
    cycles.conclude(0, make_result(measurement=DRIFTED))
    cycles.conclude(1, make_result(measurement=DRIFTED))
    shown = run("status").stdout
    assert f"{at(1)} to {at(2)}: breached (rule_breached)" in shown
    assert "breached: 0.9300 against 0.95, streak 2 of 3" in shown
    assert "within: 0.1200 against 0.15, streak 0 of 1" in shown
    assert "open job            none" in shown
    assert "student-1, alpha 0.7" in shown


def test_the_status_shows_how_far_the_evidence_is(cycles: Cycles, project: Path, models: Path) -> None:
    """Its logarithm and what it needs; after the alarm only the value counts."""
    evidence = '[[rules]]\nname = "evidence"\nmetric = "agreement"\nbelow = 0.95\nmode = "sequential"\n'
    rules = load(write_config(project, models, evidence)).rules
    watched = replace(cycles, policy=make_policy(rules=rules))
    watched.conclude(0, make_result(measurement=make_measurement(disagreements=330)))
    shown = run("status").stdout
    with reading(cycles.engine) as connection:
        (stored,) = rows(connection, "rule_history", order_by="cycle_id")
    said_of_it = f"within: 0.9400 against 0.95, log wealth {stored['statistic']:.2f} of 9.90"
    assert 0 < float(str(stored["statistic"])) < math.log(20_000)
    assert said_of_it in shown
    for index in (1, 2):
        watched.conclude(index, make_result(measurement=DRIFTED))
    assert "fired: 0.9300 against 0.95, streak 2 of 1" in run("status").stdout


def test_the_status_shows_the_open_job_and_the_incident(cycles: Cycles) -> None:
    cycles.promote(now=START)
    cycles.conclude(0, make_result(measurement=FAR))
    shown = run("status").stdout
    assert "job 1: queued" in shown
    assert "alpha 0.7 -> 0.6" in shown
    assert "drift (error)" in shown


def test_the_teachers_health_is_in_the_history_and_in_the_status(cycles: Cycles) -> None:
    for index in range(3):
        cycles.conclude(index)
    unsure = make_measurement(teacher=make_teacher(confidence=0.5))
    cycles.conclude(3, make_result(measurement=unsure))
    lines = [line for line in run("history").stdout.splitlines() if "student-1" in line]
    assert [("unknown" in line, "unhealthy" in line) for line in lines] == [(True, False)] * 3 + [
        (False, True)
    ]
    shown = run("status").stdout
    assert "teacher-1, unhealthy (confidence_fallen): confidence 0.5000 [0.4960, 0.5040] below" in shown
    assert "teacher-unhealthy (critical)" in shown
    state = json.loads(run("status", "--json").stdout)
    assert (state["teacher_health"]["health"], state["teacher_health"]["reference_version"]) == (
        "unhealthy",
        "teacher-1",
    )


def test_the_status_in_json_has_all_parts(cycles: Cycles) -> None:
    cycles.promote(now=START)
    cycles.conclude(0, make_result(measurement=FAR))
    state = json.loads(run("status", "--json").stdout)
    assert state["last_cycle"]["verdict"] == "breached"
    assert {rule["rule"]: rule["fired"] for rule in state["rules"]} == {
        "low-agreement": False,
        "high-kl": True,
    }
    assert state["open_job"]["alpha_to"] == 0.6
    assert [incident["kind"] for incident in state["incidents"]] == ["drift"]
    assert state["student"]["version"] == "student-1"
    assert state["next_slot"]["window_start"] == "2026-11-24T11:00:00Z"
    assert state["next_due_at"] == "2026-11-24T12:10:00Z"


def test_the_status_says_what_moved_in_the_requests(cycles: Cycles) -> None:
    cycles.conclude(0)
    assert "what moved" not in run("status").stdout
    few = replace(make_measurement(labels=LABELS[:1]), input_drift=make_input_drift())
    cycles.conclude(1, make_result(measurement=few))
    assert (
        "escalation 50% -> 0%, order_tracking 50% -> 100%; label mix PSI 0.120 [0.100, 0.140]; texts "
        "distinguished from those of cycle 1 with accuracy 0.63 (0.5: alike), p = 0.001"
    ) in run("status").stdout
    state = json.loads(run("status", "--json").stdout)
    assert state["input_drift"]["accuracy"] == 0.634
    assert state["moves"][0] == {"label": "escalation", "then": 0.5, "now": 0.0}


def test_a_quiet_window_is_said_beside_the_last_cycle(cycles: Cycles) -> None:
    cycles.conclude(0)
    claim = cycles.claim(1)
    result = QuietResult(traffic=make_traffic(n_seen=42, n_sampled=42))
    now = make_slot(1).window_end
    conclude_quiet(cycles.engine, cycles.lease, claim, result, cycles.policy.audience, now=now)
    shown = run("status").stdout
    assert f"42 of 50 requests since {at(1)}" in " ".join(shown.split())
    assert "judged with the next windows, at the latest at 2026-11-25 11:" in " ".join(shown.split())
    assert f"{at(0)} to {at(1)}: healthy" in " ".join(shown.split())
    state = json.loads(run("status", "--json").stdout)
    assert (state["last_cycle"]["cycle_id"], state["quiet"]["verdict_reason"]) == (1, "quiet")
    assert f"{at(2)}  inconclusive  quiet" in run("history").stdout


def test_the_status_of_a_breached_cycle_says_which_requests_disagree_most(cycles: Cycles) -> None:
    cycles.conclude(0, make_result(measurement=replace(make_measurement(), slices=(make_slice(),))))
    assert "most excess" not in run("status").stdout
    cycles.conclude(1, make_result(measurement=replace(DRIFTED, slices=(make_slice(), make_slice("faq")))))
    assert (
        "label escalation: 31% of the disagreements, 4.0% of the requests (1.0% in the reference); it moved; "
        "`redistill archive slices` has the words"
    ) in run("status").stdout
    state = json.loads(run("status", "--json").stdout)
    assert [each["name"] for each in state["slices"]] == ["escalation", "faq"]
