"""A longer history costs no more: the newest rows of a view, a tick, a decision, `redistill status`."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Select, select

from db.connection.migrate import upgrade
from db.connection.session import connect, reading, writing
from db.cycles import ledger, windows
from db.records import Slot
from db.telemetry import state
from db.views import VIEWS, view
from monitor.clock import utc_now
from monitor.daemon.slot_runner import SlotRunner
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from redistill.status.state import read_state
from tests.support.records.cycles import UNCALIBRATED, make_audience, make_policy, release, taken
from tests.support.records.database_work import done_for
from tests.support.records.factories import TEACHER, make_measurement, make_result
from tests.support.records.long_history import HOUR, KEYS, LABELS, MONITOR, write_history
from triggers.conclude import conclude

SHORT, LONG = 1_000, 4_000
NEWEST = [
    (name, key, monitor)
    for name in VIEWS
    for key in KEYS.get(name, ("window_end",))
    for monitor in (None, MONITOR)
]
Histories = dict[int, Engine]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def histories(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[Histories]:
    """A short history and a long one, which end with the last complete hour."""
    end = utc_now().replace(minute=0, second=0, microsecond=0)
    with ExitStack() as stack:
        found: Histories = {}
        for size in (SHORT, LONG):
            if request.param == "sqlite":
                path = tmp_path_factory.mktemp("history") / "redistill.db"
                shutil.copyfile(sqlite_template, path)
                url = f"sqlite:///{path}"
            else:
                url = stack.enter_context(request.getfixturevalue("postgres").database())
                upgrade(url)
            found[size] = connect(url)
            stack.callback(found[size].dispose)
            write_history(found[size], size, newest=end)
        yield found


def newest(name: str, key: str, monitor: str | None) -> Select[Any]:
    source = view(name)
    query = select(source).order_by(source.c[key].desc()).limit(5)
    return query if monitor is None else query.where(source.c.monitor == monitor)


def assert_flat(histories: Histories, work: Callable[[Engine], object]) -> None:
    """Four times the cycles cost at most half as much again; a little more may be read of small tables."""
    short, long = (done_for(histories[size], partial(work, histories[size])) for size in (SHORT, LONG))
    assert long <= 1.5 * short + 300, (short, long)


@pytest.mark.parametrize(("name", "key", "monitor"), NEWEST)
def test_the_newest_rows_of_a_view_are_found_without_the_others(
    histories: Histories, name: str, key: str, monitor: str | None
) -> None:
    def read(engine: Engine) -> None:
        with reading(engine) as connection:
            assert len(connection.execute(newest(name, key, monitor)).all()) == 5

    assert_flat(histories, read)


def test_the_metrics_are_read_without_the_older_cycles(histories: Histories) -> None:
    def read(engine: Engine) -> None:
        with reading(engine) as connection:
            assert state.read(connection, MONITOR).evaluated is not None

    assert_flat(histories, read)


@pytest.mark.parametrize(("name", "key", "monitor"), NEWEST)
def test_an_index_has_the_order_of_a_view(
    histories: Histories, name: str, key: str, monitor: str | None
) -> None:
    """Neither database sorts; PostgreSQL would still sort a small table, if it might."""
    engine = histories[SHORT]
    statement = newest(name, key, monitor).compile(engine, compile_kwargs={"literal_binds": True}).string
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
            assert not [line for line in plan if "FOR ORDER BY" in line], plan
            return
        for setting in ("enable_sort", "enable_seqscan", "enable_bitmapscan"):
            connection.exec_driver_sql(f"SET LOCAL {setting} = off")
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}")]
        assert not [line for line in plan if "Sort" in line or "Seq Scan" in line], plan


def test_a_tick_and_the_status_read_no_more_of_a_longer_history(histories: Histories) -> None:
    section = MonitorSection(name=MONITOR, lateness=timedelta(hours=24), catch_up=timedelta(hours=48))

    def look(engine: Engine) -> None:
        runner = SlotRunner(engine, section, lambda *_: pytest.fail("nothing is due"), make_policy())
        watchdog = Watchdog(engine, section, make_audience(), calibration=UNCALIBRATED, started_at=utc_now())
        assert runner.run_due(lambda: False) == 0
        assert not watchdog.check(utc_now())
        with reading(engine) as connection:
            assert read_state(connection, section, utc_now(), shadow_cycles=3).last_cycle is not None

    assert_flat(histories, look)


@pytest.mark.parametrize("teacher", [TEACHER, "another"])
def test_a_decision_reads_no_more_of_a_longer_history(histories: Histories, teacher: str) -> None:
    """Nor does the first one with a new teacher, once the states of the rules are stored."""
    for engine in histories.values():
        decide(engine)
    assert_flat(histories, partial(decide, teacher=teacher))


def decide(engine: Engine, *, teacher: str = TEACHER) -> None:
    """Conclude the next cycle."""
    lease = taken(engine, f"monitor:{MONITOR}")
    with writing(engine) as connection:
        end = windows.last_end(connection, MONITOR, now=utc_now() + timedelta(days=30))
        assert end is not None
        slot = Slot(monitor=MONITOR, window_start=end, window_end=end + HOUR)
        claim = ledger.claim(connection, slot, utc_now())
    assert claim is not None
    result = make_result(measurement=make_measurement(labels=LABELS), teacher_version=teacher)
    conclude(engine, lease, claim, result, make_policy(alerts=()), now=utc_now())
    release(engine, lease)
