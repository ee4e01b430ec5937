"""The deletion of old history: what goes and what stays, in small steps, and decisions that do not change."""

import multiprocessing
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, delete, event, insert, update
from structlog.testing import capture_logs

from db.connection.session import connect, reading, writing
from db.cycles import cycle_points, ledger, retention, teachers
from db.records import CyclePoint, Slot
from db.tables import cycles, deliveries, erasures, incidents, metadata, rule_bases, rule_states
from monitor.clock import utc_now
from monitor.daemon.retention import Retention
from monitor.settings import MonitorSection
from monitor.stop import never_stopped
from redistill.status.state import read_state
from tests.support.processes.races import in_threads
from tests.support.records.cycles import MONITOR, make_policy, release, stored, taken
from tests.support.records.factories import HOUR, TEACHER, make_empty_result
from tests.support.records.long_history import OTHER, write_history
from tests.support.records.varied_cycles import RULES, random_result
from triggers.conclude import conclude
from triggers.rules.evaluation import replay
from triggers.rules.observation import details_for
from triggers.settings import DEFAULT_RULES, Rule

KEEP = timedelta(days=30)
#: A month is 720 hourly cycles.
N_CYCLES = 900
Rows = Mapping[str, list[dict[str, Any]]]


def make_retention(
    engine: Engine, *, keep: timedelta = KEEP, rules: tuple[Rule, ...] = DEFAULT_RULES
) -> Retention:
    return Retention(engine=engine, monitor=MONITOR, rules=rules, keep=keep, reference_cycles=3)


def delete_all(found: Retention) -> None:
    while found.delete_some(never_stopped):
        pass


def last_hour() -> datetime:
    return utc_now().replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def history(engine: Engine) -> Engine:
    """Five weeks of hourly cycles, and what must stay of the oldest ones."""
    return filled(engine)


@pytest.fixture
def sqlite_history(sqlite_engine: Engine) -> Engine:
    """The same on SQLite, for what does not depend on the database."""
    return filled(sqlite_engine)


def filled(engine: Engine) -> Engine:
    write_history(engine, N_CYCLES, newest=last_hour())
    with writing(engine) as connection:
        firing = {"state": "firing", "resolved_at": None}
        connection.execute(update(incidents).where(incidents.c.id == 2).values(firing))
        connection.execute(update(deliveries).where(deliveries.c.incident_id == 3).values(state="pending"))
        erased = {"cycle_id": 150, "sha256_before": "a", "sha256_after": "b", "n": 1, "begun_at": utc_now()}
        connection.execute(insert(erasures).values(erased))
    return engine


def everything(engine: Engine) -> Rows:
    """All rows but the leases, whose tokens grow with each step."""
    return {table.name: stored(engine, table) for table in metadata.sorted_tables if table.name != "leases"}


def of(rows: Rows, table: str, monitor: str = MONITOR) -> list[dict[str, Any]]:
    return [row for row in rows[table] if row["monitor"] == monitor]


def ages(rows: Rows) -> list[int]:
    """The hours from the end of each cycle's window to the last one's, the newest first."""
    ends = sorted((row["window_end"] for row in of(rows, "cycles")), reverse=True)
    return [(ends[0] - end) // HOUR for end in ends]


def test_what_is_older_goes_and_what_is_needed_stays(history: Engine) -> None:
    before = everything(history)
    with capture_logs() as logs:
        delete_all(make_retention(history))
    after = everything(history)
    own = [row["id"] for row in of(after, "cycles")]
    assert ages(after)[:721] == list(range(721))  # the month, with the window that ended as it began
    old = {row["id"] for row in of(after, "cycles") if row["window_end"] < last_hour() - KEEP}
    of_jobs = {row["cycle_id"] for row in before["jobs"]}
    of_incidents = {row["cycle_id"] for row in after["incidents"]}
    references = {row["reference_cycle_id"] for row in after["input_drift"]}
    first = {row["id"] for row in of(before, "cycles")[:3]}
    assert of_jobs | first | {150} <= set(own)
    assert old <= of_jobs | of_incidents | references | first | {150}
    assert {2, 3} <= {row["id"] for row in after["incidents"]}
    assert len(after["incidents"]) < len(before["incidents"])
    for name in ("jobs", "models", "promotions", "evaluations", "gate_outcomes", "calibrations", "erasures"):
        assert after[name] == before[name]
    assert of(after, "cycles", OTHER) == of(before, "cycles", OTHER)
    (line,) = [line for line in logs if line["event"] == "old history deleted"]
    gone = {name: len(before[name]) - len(rows) for name, rows in after.items() if name != "rule_bases"}
    assert line["rows"] == {name: n for name, n in gone.items() if n}


def test_what_stays_of_a_cycle_is_all_of_it(sqlite_history: Engine) -> None:
    before = everything(sqlite_history)
    delete_all(make_retention(sqlite_history))
    after = everything(sqlite_history)
    kept = {row["id"] for row in after["cycles"]}
    for part in retention.PARTS:
        if part.name != "input_drift":
            assert after[part.name] == [row for row in before[part.name] if row["cycle_id"] in kept], (
                part.name
            )


def test_a_second_time_nothing_is_left_to_delete(sqlite_history: Engine) -> None:
    delete_all(make_retention(sqlite_history))
    before = everything(sqlite_history)
    with capture_logs() as logs:
        delete_all(make_retention(sqlite_history))
    assert everything(sqlite_history) == before
    assert logs == []


def test_the_status_and_the_reference_of_a_teacher_are_the_same_as_before(sqlite_history: Engine) -> None:
    section = MonitorSection(name=MONITOR, lateness=timedelta(hours=24), catch_up=timedelta(hours=48))

    def known() -> tuple[object, ...]:
        end = last_hour()
        slot = Slot(monitor=MONITOR, window_start=end, window_end=end + HOUR)
        with reading(sqlite_history) as connection:
            state = read_state(connection, section, end, shadow_cycles=3)
            of_teachers = [
                teachers.known_teacher(connection, slot, version, reference_cycles=3)
                for version in (TEACHER, "another")
            ]
        return state, of_teachers

    before = known()
    delete_all(make_retention(sqlite_history))
    assert known() == before


def test_a_step_is_small(history: Engine) -> None:
    """So no other process waits for long."""
    sizes = [0]

    def count(_connection: Connection, cursor: Any, statement: str, *_rest: object) -> None:  # noqa: ANN401 - a driver's
        if statement.startswith("DELETE") and "rule_bases" not in statement:
            sizes[-1] += cursor.rowcount

    event.listen(history, "after_cursor_execute", count)
    event.listen(history, "commit", lambda _connection: sizes.append(0))
    delete_all(make_retention(history))
    assert max(sizes) <= retention.STEP_ROWS
    assert sum(sizes) > 2_000


def test_another_process_that_holds_the_monitor_has_precedence(history: Engine) -> None:
    before = everything(history)
    held = taken(history, f"monitor:{MONITOR}")
    found = make_retention(history)
    assert found.delete_some(never_stopped) is False
    assert everything(history) == before
    release(history, held)
    delete_all(found)
    assert len(everything(history)["cycles"]) < len(before["cycles"])


def test_a_stop_is_obeyed_between_two_steps(sqlite_history: Engine) -> None:
    before = everything(sqlite_history)
    assert make_retention(sqlite_history).delete_some(lambda: True) is True
    assert everything(sqlite_history) == before


def test_nothing_goes_because_the_monitor_was_stopped_for_years(sqlite_engine: Engine) -> None:
    """The age of a cycle is counted from the newest one."""
    write_history(sqlite_engine, 200, newest=last_hour() - timedelta(days=3_000))
    before = everything(sqlite_engine)
    delete_all(make_retention(sqlite_engine))
    after = everything(sqlite_engine)
    assert {**after, "rule_bases": []} == before


def test_two_daemons_at_once_delete_what_one_does(history: Engine) -> None:
    url = history.url.render_as_string(hide_password=False)

    def work(_number: int) -> None:
        own = connect(url)
        until = time.monotonic() + 30
        found = make_retention(own)
        while found.delete_some(never_stopped) or not_over(own):
            assert time.monotonic() < until
        own.dispose()

    in_threads(2, work)
    assert_as_undisturbed(history)


def not_over(engine: Engine) -> bool:
    with reading(engine) as connection:
        past = retention.past(connection, MONITOR, KEEP, utc_now(), reference_cycles=3)
        assert past is not None
        return bool(retention.deletable(connection, past))


def assert_as_undisturbed(history: Engine) -> None:
    """What is there is what one process leaves, which finds nothing more to delete."""
    before = everything(history)
    delete_all(make_retention(history))
    assert everything(history) == before
    assert not not_over(history)


def test_a_process_that_is_killed_leaves_what_the_next_one_continues(history: Engine) -> None:
    url, rng = history.url.render_as_string(hide_password=False), np.random.default_rng(2025)

    def work() -> None:
        delete_all(make_retention(connect(url)))

    history.dispose()
    n_left = [N_CYCLES]
    for _ in range(4):
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        time.sleep(rng.uniform(0.05, 0.25))
        process.kill()
        process.join()
        n_left.append(len(stored(history, cycles)))
        history.dispose()
    delete_all(make_retention(history))
    assert_as_undisturbed(history)
    assert len(of(everything(history), "cycles")) < min(n_left)


# --- the states of rules ---------------------------------------------------------------------------------


def test_every_outcome_is_that_of_the_whole_history(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the state of the rules is computed again, from what is left and the bases of the rest."""
    monkeypatch.setattr(retention, "NEWEST_CYCLES", 4)
    policy, rng = make_policy(rules=RULES, alerts=()), np.random.default_rng(2025)
    begin = last_hour() - 40 * HOUR
    known: list[CyclePoint] = []
    streaks = []
    for index in range(30):
        end = begin + index * HOUR
        slot = Slot(monitor=MONITOR, window_start=end - HOUR, window_end=end)
        lease = taken(engine, f"monitor:{MONITOR}")
        with writing(engine) as connection:
            claim = ledger.claim(connection, slot, utc_now())
            assert claim is not None
            if rng.random() < 0.3:
                connection.execute(delete(rule_states))
        result = random_result(rng) if rng.random() < 0.85 else make_empty_result()
        said = conclude(engine, lease, claim, result, policy, now=utc_now())
        release(engine, lease)
        with reading(engine) as connection:
            known += cycle_points.read(connection, MONITOR, since=end, details=details_for(RULES))
        replayed = [list(replay(rule, known))[-1] for rule in RULES]
        assert list(said.outcomes) == replayed, index
        streaks += [outcome.streak for outcome in replayed]
        delete_all(make_retention(engine, keep=6 * HOUR, rules=RULES))
    assert max(streaks) > 6
    assert len(stored(engine, cycles)) < 25
    (end,) = {row["window_end"] for row in stored(engine, rule_bases)}
    assert end < known[-6].window_end
