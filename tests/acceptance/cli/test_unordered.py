"""Why a fired rule ordered nothing: in `status`, `history`, `cycle` and SQL."""

import csv
import io
import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from db.connection.session import connect, reading
from db.views import rows
from redistill.commands.inspect.history import COLUMNS
from tests.support.records.cycles import Cycles, make_policy
from tests.support.records.factories import HOUR, START, make_measurement, make_result, make_slot
from tests.support.world.models import make_copy
from tests.support.world.project import LOGGED, run, write_config, write_log
from triggers.settings import AlphaPolicy, Rule

FAR = make_result(measurement=make_measurement(kl=0.21))
NOT_LATEST = "a later cycle has a verdict or awaits one, or another student is in service"
BY_HAND = "`redistill jobs enqueue --reason TEXT` orders one by hand"


def fact(name: str) -> str | None:
    """A line of `status`, without its name."""
    lines = [line for line in run("status").stdout.splitlines() if line.startswith(f"{name} ")]
    return lines[0].removeprefix(name).strip() if lines else None


@pytest.fixture
def drifting(migrated: Path, models: Path) -> Path:
    """Four windows in which the student answers otherwise than its teacher."""
    shutil.rmtree(migrated / "logs")
    write_log(migrated, hours=4)
    make_copy(models / "teacher", migrated / "models/student", noise=0.5)
    shutil.copytree(models / "teacher", migrated / "models/teacher")
    rule = '[[rules]]\nname = "low"\nmetric = "agreement"\nbelow = 0.95\nfor_cycles = 3\n'
    write_config(migrated, migrated / "models", rule)
    return migrated


def test_windows_that_are_filled_in_behind_a_later_one_say_that_they_order_nothing(drifting: Path) -> None:
    """Case 63: the newest window first, and the older ones after it."""
    newest = f"{LOGGED + 3 * HOUR:%Y-%m-%d %H:%M}"
    assert "breached" in run("cycle", "--at", newest).stdout
    backfilled = run("cycle", "--backfill", f"{LOGGED:%Y-%m-%d %H:%M}", newest)
    assert backfilled.exit_code == 0, backfilled.output
    said = f"not_latest  2026-03-02 13:00: {NOT_LATEST}; the next cycle decides again, and {BY_HAND}"
    for shown in (backfilled.stdout, run("history").stdout):
        assert "rule_fired (not_latest)" in shown
        assert "A rule fired, but no job was ordered:" in shown
        assert said in shown.splitlines()
    assert fact("order") == (
        f"nothing ordered: not_latest: {NOT_LATEST}; the next cycle decides again, and {BY_HAND} "
        "(window 2026-03-02 12:00 to 2026-03-02 13:00)"
    )
    engine = connect(f"sqlite:///{drifting / 'redistill.db'}")
    with reading(engine) as connection:
        found = rows(connection, "cycle_history", order_by="window_end")
    engine.dispose()
    assert [row["order_reason"] for row in found] == ["not_wanted", "not_wanted", "not_latest", "not_wanted"]
    assert run("jobs", "list", "--json").stdout == "[]\n"


def test_the_decision_of_the_last_cycle_is_in_the_status_until_a_healthy_one(cycles: Cycles) -> None:
    cycles.promote(now=START)
    cycles.conclude(0)
    assert fact("order") is None
    cycles.conclude(1, FAR)
    assert fact("order") == "ordered: re-distillation with alpha 0.7 -> 0.6"
    cycles.conclude(2, FAR)
    assert fact("order") == (
        "nothing ordered: job_open: a job is queued or running, or its candidate awaits "
        "`redistill models promote`; the first cycle after the end of the job decides again"
    )
    state = json.loads(run("status", "--json").stdout)
    assert (state["order"]["order_reason"], state["order"]["window_end"]) == (
        "job_open",
        "2026-11-24T13:00:00Z",
    )
    cycles.conclude(3)
    assert fact("order") is None


def test_an_alert_says_how_to_order_by_hand(cycles: Cycles) -> None:
    alert = Rule.model_validate({"name": "far", "metric": "kl", "above": "0.15", "action": "alert"})
    replace(cycles, policy=make_policy(rules=(alert,))).conclude(0, FAR)
    assert fact("order") == (
        "nothing ordered: not_wanted: no rule that orders a re-distillation has fired; set action = "
        f"'redistill' if the rule should order one; {BY_HAND}"
    )


def test_cycles_in_a_row_with_one_reason_are_one_line(cycles: Cycles) -> None:
    policy = make_policy(alpha=AlphaPolicy(alpha_floor=AlphaPolicy().alpha, cooldown=timedelta(0)))
    watched = replace(cycles, policy=policy)
    watched.conclude(9)
    for index in (0, 1, 3):
        watched.conclude(index, FAR)
    for index in (10, 11):
        watched.conclude(index, FAR)
    _, _, below = run("history").stdout.partition("A rule fired, but no job was ordered:\n")
    assert [line.split(":")[0] for line in below.splitlines()] == [
        f"not_latest  {make_slot(0).window_end:%Y-%m-%d %H}",
        f"at_floor    {make_slot(10).window_end:%Y-%m-%d %H}",
    ]
    assert "2026-11-24 11:00 to 2026-11-24 14:00 (3 cycles): a later cycle" in below
    assert (
        "alpha 0.7 cannot be lowered below alpha_floor 0.7; retrain the teacher, or lower alpha_floor"
        in below
    )


def test_json_and_csv_carry_the_decision(cycles: Cycles) -> None:
    cycles.conclude(1)
    cycles.conclude(0, FAR)
    first, second = json.loads(run("history", "--json").stdout)
    assert (first["order_reason"], first["order_detail"]) == ("not_latest", NOT_LATEST)
    assert second["order_reason"] == "not_wanted"
    table = list(csv.DictReader(io.StringIO(run("history", "--csv").stdout)))
    assert [row["order_reason"] for row in table] == ["not_latest", "not_wanted"]


def test_on_a_narrow_screen_the_reasons_stay(cycles: Cycles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column is left out there; the lines below the table are broken at blanks."""
    monkeypatch.setattr("redistill.display.show._PIPE_WIDTH", 80)
    cycles.conclude(1)
    cycles.conclude(0, FAR)
    lines = run("history").stdout.splitlines()
    assert COLUMNS[2].title not in lines[0].split()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("not_latest  2026-11-24 11:00: a later cycle") for line in lines)
