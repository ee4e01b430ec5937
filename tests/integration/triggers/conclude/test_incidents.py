"""When an incident ends, comes back, or is that nothing is seen any more."""

import re
from pathlib import Path

import pytest

from db.connection.session import connect, writing
from db.cycles import ledger
from db.records import CycleResult
from db.states import Verdict
from db.tables import cycles, deliveries, incidents
from tests.support.records.conclusions import FAR, HEALTHY, LOW, TOO_FEW, incident_list, message_list
from tests.support.records.cycles import Cycles, due_at, stored, taken
from tests.support.records.factories import START, make_slot
from tests.support.servers.backups import back_up, restore


def test_a_healthy_cycle_resolves_the_drift_under_the_same_key(run: Cycles) -> None:
    """And only it: neither missing data nor a breach that has not fired does."""
    run.conclude(0, FAR)
    run.conclude(1, TOO_FEW)
    run.conclude(2, LOW)
    assert incident_list(run) == [("drift", "error", "firing")]
    run.conclude(3, HEALTHY)
    assert incident_list(run) == [("drift", "error", "resolved")]
    (incident,) = stored(run.engine, incidents)
    assert incident["resolved_at"] == due_at(3)
    assert message_list(run) == [(1, "log", "firing"), (1, "log", "resolved")]
    (key,) = {row["dedup_key"] for row in stored(run.engine, deliveries)}
    start = f"redistill:mangaassist:1:{make_slot(0).window_end:%Y%m%dT%H%M%SZ}:"
    assert re.fullmatch(f"{start}[0-9a-f]{{12}}", key)


def test_a_drift_that_comes_back_is_a_new_incident(run: Cycles) -> None:
    for index, result in enumerate([FAR, HEALTHY, FAR]):
        run.conclude(index, result)
    assert incident_list(run) == [("drift", "error", "resolved"), ("drift", "error", "firing")]
    assert len({row["dedup_key"] for row in stored(run.engine, deliveries)}) == 2


def test_a_key_is_never_given_again(sqlite_url: str, tmp_path: Path) -> None:
    """A database that was restored, like one that is new, gives the same number for the same window."""
    keys = set()
    back_up(sqlite_url, tmp_path / "backup")
    for _ in range(2):
        restore(sqlite_url, tmp_path / "backup")
        engine = connect(sqlite_url)
        Cycles(engine=engine, lease=taken(engine)).conclude(0, FAR)
        (row,) = stored(engine, deliveries)
        assert row["incident_id"] == 1
        keys.add(row["dedup_key"])
        engine.dispose()
    assert len(keys) == 2


def test_three_cycles_that_failed_make_the_monitor_blind(run: Cycles) -> None:
    run.fail(0, "first")
    run.fail(1, "second")
    assert incident_list(run) == []
    run.fail(2, "no traffic in logs/")
    assert incident_list(run) == [("blind", "error", "firing")]
    (incident,) = stored(run.engine, incidents)
    assert incident["summary"] == "3 slots in a row without a verdict; the last: no traffic in logs/"
    assert message_list(run) == [(1, "log", "firing")]
    run.fail(3)
    assert message_list(run) == [(1, "log", "firing")]


def test_attempts_at_one_slot_are_one_cycle_without_a_verdict(run: Cycles) -> None:
    for _ in range(4):
        run.fail(0)
    assert incident_list(run) == []


def test_skipped_failed_and_inconclusive_cycles_all_count_towards_blindness(run: Cycles) -> None:
    with writing(run.engine) as connection:
        ledger.skip(connection, [make_slot(0)], START)
    run.fail(1)
    run.conclude(2, TOO_FEW)
    assert incident_list(run) == [("blind", "error", "firing")]


@pytest.mark.parametrize("result", [HEALTHY, LOW])
def test_any_evaluated_cycle_ends_the_blindness(run: Cycles, result: CycleResult) -> None:
    for index in range(3):
        run.conclude(index, TOO_FEW)
    assert incident_list(run) == [("blind", "error", "firing")]
    run.conclude(3, result)
    assert incident_list(run) == [("blind", "error", "resolved")]


def test_blindness_does_not_end_the_drift(run: Cycles) -> None:
    run.conclude(0, FAR)
    for index in range(1, 4):
        run.conclude(index, TOO_FEW)
    assert incident_list(run) == [("drift", "error", "firing"), ("blind", "error", "firing")]


def test_a_failed_attempt_is_recorded_and_its_slot_can_still_end_well(run: Cycles) -> None:
    run.fail(0, "the teacher is gone")
    (cycle,) = stored(run.engine, cycles)
    assert (cycle["status"], cycle["verdict"], cycle["verdict_reason"]) == ("failed", "failed", "error")
    assert (cycle["error"], cycle["finished_at"]) == ("the teacher is gone", due_at(0))
    assert run.conclude(0, HEALTHY).judgement.verdict is Verdict.HEALTHY
    (cycle,) = stored(run.engine, cycles)
    assert (cycle["attempt"], cycle["verdict"], cycle["error"]) == (2, "healthy", None)
