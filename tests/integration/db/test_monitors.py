"""The name of a monitor: where it is stored, who may change it, and what nobody may do under an old one."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from db import leases, monitors, queue, registries
from db.connection import clock
from db.connection.session import reading, writing
from db.cycles import ledger, windows
from db.errors import LeaseLostError
from db.monitors import (
    MonitorExistsError,
    MonitorRenamedError,
    MonitorRunsError,
    NoSuchMonitorError,
    SameNameError,
)
from db.states import JobStatus
from db.tables import cycles, jobs, metadata, renames
from monitor.daemon.slot_runner import SlotRunner
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from monitor.stop import never_stopped
from tests.support.processes.ticking import Measuring
from tests.support.records.cycles import (
    MONITOR,
    UNCALIBRATED,
    Cycles,
    due_at,
    make_audience,
    make_policy,
    stored,
    taken,
)
from tests.support.records.factories import START, make_measurement, make_result, make_slot
from tests.support.records.tables import everything

NEW = "shop"
#: A drift, for which a job is ordered, an incident opened and a message written.
DRIFTED = make_result(measurement=make_measurement(disagreements=385, kl=0.21))


@pytest.fixture
def lived(engine: Engine) -> Engine:
    """A monitor with a healthy cycle and a drifted one, whose daemon stopped long ago."""
    own = Cycles(engine=engine, lease=taken(engine))
    own.promote(now=START)
    own.conclude(0)
    own.conclude(1, DRIFTED)
    with writing(engine) as connection:
        registries.confirm(
            connection, MONITOR, registry_id="id", link="current", location="registry", now=START
        )
    release(engine, own, ago=monitors.QUIET)
    return engine


def release(engine: Engine, own: Cycles, *, ago: timedelta) -> None:
    with writing(engine) as connection:
        leases.release(connection, own.lease)
        released = clock.Clock(-ago.total_seconds())
        connection.execute(update(metadata.tables["leases"]).values(expires_at=released))


def rename(engine: Engine, old: str = MONITOR, new: str = NEW) -> None:
    with writing(engine) as connection:
        monitors.rename(connection, old, new, START)


def with_names(rows: dict[str, list[dict[str, Any]]], name: str) -> dict[str, list[dict[str, Any]]]:
    """The rows as they are under that name, without what a change of the name writes itself."""
    changed = {"monitor": name, "announced_at": None}
    return {
        table: [{key: changed.get(key, value) for key, value in row.items()} for row in found]
        for table, found in rows.items()
        if table not in {"leases", "renames"}
    }


def test_every_row_of_every_table_has_the_new_name_and_is_else_unchanged(lived: Engine) -> None:
    before = everything(lived)
    rename(lived)
    after = everything(lived)
    assert with_names(before, NEW) == {
        name: rows for name, rows in after.items() if name not in {"leases", "renames"}
    }
    named = [table.name for table in metadata.sorted_tables if "monitor" in table.c]
    empty = {name for name in named if not after[name]}
    assert empty == {
        *("archive_owners", "calibrations", "evaluations", "rule_bases", "shadows", "teacher_calibrations")
    }
    assert after["renames"] == [{"old_name": MONITOR, "new_name": NEW, "renamed_at": START}]


def test_the_ledger_goes_on_where_it_was(lived: Engine) -> None:
    """No window is due again, and the streak and the ladder of the student are kept."""
    with reading(lived) as connection:
        last = windows.last_end(connection, MONITOR, now=START + timedelta(days=1))
    rename(lived)
    with reading(lived) as connection:
        assert windows.last_end(connection, NEW, now=START + timedelta(days=1)) == last
        assert windows.last_end(connection, MONITOR, now=START + timedelta(days=1)) is None
        job = queue.open_job(connection, NEW)
    assert job is not None
    assert job.status is JobStatus.QUEUED


def test_the_open_job_is_announced_again_since_messages_have_the_name(lived: Engine) -> None:
    with writing(lived) as connection:
        connection.execute(update(jobs).values(announced_at=START))
    rename(lived)
    with reading(lived) as connection:
        assert queue.unannounced(connection, NEW) is not None


def test_the_second_time_it_says_that_it_was_done(lived: Engine) -> None:
    rename(lived)
    with pytest.raises(
        MonitorRenamedError, match=rf"'{MONITOR}' was renamed to '{NEW}' on .*: set name = \"{NEW}\""
    ):
        rename(lived)


def test_a_name_that_does_not_exist_or_is_taken_is_refused(lived: Engine) -> None:
    with writing(lived) as connection:
        connection.execute(
            insert(cycles).values(
                monitor="other", window_start=START, window_end=START, status="running", attempt=1
            )
        )
    before = everything(lived)
    with pytest.raises(NoSuchMonitorError, match="no monitor 'nobody' in the database"):
        rename(lived, "nobody")
    with pytest.raises(MonitorExistsError, match="name 'other' is or was that of another monitor"):
        rename(lived, new="other")
    with pytest.raises(SameNameError, match=f"The monitor '{MONITOR}' already has this name"):
        rename(lived, new=MONITOR)
    assert everything(lived) == before


def test_a_name_goes_back_and_on(lived: Engine) -> None:
    """Whichever name it has, all the others lead to it; and nobody else gets them."""
    rename(lived)
    rename(lived, NEW, "third")
    assert led_to(lived) == {MONITOR: "third", NEW: "third"}
    rename(lived, "third", MONITOR)
    assert led_to(lived) == {NEW: MONITOR, "third": MONITOR}
    with reading(lived) as connection:
        assert monitors.earlier_names(connection, MONITOR) == (NEW, "third")
    with writing(lived) as connection:
        connection.execute(
            insert(cycles).values(
                monitor="other", window_start=START, window_end=START, status="running", attempt=1
            )
        )
    with pytest.raises(MonitorExistsError):
        rename(lived, "other", NEW)


def led_to(engine: Engine) -> dict[str, str]:
    with reading(engine) as connection:
        found = connection.execute(select(renames))
        return {row.old_name: row.new_name for row in found}


@pytest.mark.parametrize("lease", ["monitor:{name}", "calibration:{name}", "erasure:{name}", "job:{job}"])
def test_who_holds_a_lease_must_be_stopped_first(lived: Engine, lease: str) -> None:
    """And then it goes: nothing was changed."""
    with reading(lived) as connection:
        job = queue.open_job(connection, MONITOR)
    assert job is not None
    name = lease.format(name=MONITOR, job=job.job_id)
    held = taken(lived, name, seconds=60)
    before = everything(lived)
    with pytest.raises(
        MonitorRunsError, match=rf"'{MONITOR}' is in use by {held.owner} \(lease {name}\): stop"
    ):
        rename(lived)
    assert everything(lived) == before
    with writing(lived) as connection:
        leases.release(connection, held)
        connection.execute(update(metadata.tables["leases"]).values(expires_at=clock.Clock(-60)))
    rename(lived)


def test_a_daemon_that_had_its_lease_a_moment_ago_still_runs(lived: Engine) -> None:
    """Between two ticks none is held."""
    with writing(lived) as connection:
        connection.execute(update(metadata.tables["leases"]).values(expires_at=clock.Clock(-2)))
        wait = monitors.quiet_in(connection, MONITOR)
    assert timedelta(seconds=6) < wait <= monitors.QUIET - timedelta(seconds=2)
    with pytest.raises(MonitorRunsError):
        rename(lived)


def test_a_worker_that_was_suspended_meanwhile_writes_nothing(lived: Engine) -> None:
    """Its lease had run out, so it was not seen; it knows the old name alone."""
    with writing(lived) as connection:
        claimed = queue.claim(connection, MONITOR, owner="suspended", lease_seconds=0, now=START)
    assert claimed is not None
    rename(lived)
    with writing(lived) as connection, pytest.raises(LeaseLostError):
        queue.lock_for_write(connection, *claimed)


def slots(engine: Engine) -> object:
    section = MonitorSection.model_validate({"name": MONITOR, "every": "1h"})
    runner = SlotRunner(engine, section, Measuring(lambda: None), make_policy())
    return runner.run_due(never_stopped)


def watch(engine: Engine) -> object:
    section = MonitorSection.model_validate({"name": MONITOR, "every": "1h"})
    watchdog = Watchdog(engine, section, make_audience(), calibration=UNCALIBRATED, started_at=START)
    return watchdog.check(START + timedelta(days=2))


@pytest.mark.parametrize("work", [slots, watch])
def test_a_daemon_with_the_old_name_begins_no_second_history(
    lived: Engine, work: Callable[[Engine], object]
) -> None:
    """It would measure windows again, and report itself blind."""
    rename(lived)
    before = everything(lived)
    with pytest.raises(MonitorRenamedError, match=f'set name = "{NEW}"'):
        work(lived)
    assert everything(lived) == before


def test_a_daemon_that_takes_its_lease_meanwhile_comes_before_or_after(lived: Engine) -> None:
    """Whichever comes first: the daemon runs nothing under the old name once it has changed."""
    outcome: list[str] = []

    def tick() -> None:
        try:
            slots(lived)
        except MonitorRenamedError:
            outcome.append("refused")

    with writing(lived) as connection:
        monitors.rename(connection, MONITOR, NEW, START)
        daemon = threading.Thread(target=tick)
        daemon.start()
        time.sleep(0.3)
    daemon.join(20)
    with reading(lived) as connection:
        assert connection.scalars(select(cycles.c.monitor).distinct()).all() == [NEW]
    assert outcome == ["refused"]


def test_messages_of_an_open_incident_keep_their_key(lived: Engine) -> None:
    """The receiver would take another key for another incident, and never resolve this one."""
    (before,) = {row["dedup_key"] for row in stored(lived, metadata.tables["deliveries"])}
    rename(lived)
    policy = make_policy(audience=make_audience(monitor=NEW))
    own = Cycles(engine=lived, lease=taken(lived, f"monitor:{NEW}"), policy=policy)
    with writing(lived) as connection:
        claim = ledger.claim(connection, make_slot(2, monitor=NEW), due_at(2))
    assert claim is not None
    own.conclude_claim(claim)
    found = stored(lived, metadata.tables["deliveries"])
    assert {row["event"] for row in found} == {"firing", "resolved"}
    assert {row["dedup_key"] for row in found} == {before}


def test_the_monitors_are_listed(lived: Engine) -> None:
    rename(lived)
    with reading(lived) as connection:
        (found,) = monitors.summaries(connection)
    assert (found.monitor, found.n_cycles, found.n_jobs, found.earlier_names) == (NEW, 2, 1, (MONITOR,))
