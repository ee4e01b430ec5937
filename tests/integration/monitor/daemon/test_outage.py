"""A database that is away in the middle of the work: the waits, and that nothing is lost or doubled."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, insert, make_url, text
from structlog.testing import capture_logs

from db.connection import session
from db.connection.migrate import upgrade
from db.connection.outage import Outage
from db.connection.session import connect, reading, writing
from db.connection.unavailable import DatabaseUnreachableError, DatabaseUnusableError
from db.cycles.ledger import AttemptEndedError
from db.records import Job
from db.states import JobStatus
from db.tables import class_metrics, cycles, leases
from distill.settle import Proof
from monitor.clock import utc_now
from monitor.settings import MonitorSection
from monitor.stop import Stopped, never_stopped
from redistill.process.readiness import checks
from tests.support.processes.disks import mounts, small_disk
from tests.support.processes.ticking import Measuring, runner, ticking
from tests.support.processes.waiting import wait_until
from tests.support.processes.workers import Office, rejected
from tests.support.records.cycles import (
    MONITOR,
    Cycles,
    make_policy,
    n_evaluated,
    stored,
    taken,
)
from tests.support.records.factories import START, make_result
from tests.support.servers.commit_cutter import cutting
from tests.support.servers.postgres import Stoppable, stoppable
from triggers.conclude import conclude, conclude_failure
from triggers.transports.sql import SqlTransport

GONE = DatabaseUnreachableError(url="postgresql://host/name", cause="refused")
FULL = DatabaseUnusableError(url="sqlite:///x", cause="full", fix="free space")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def failing(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.fixture(scope="module")
def started() -> Iterator[Stoppable]:
    with stoppable() as found:
        upgrade(found.url.render_as_string(hide_password=False))
        yield found


@pytest.fixture
def server(started: Stoppable) -> Iterator[Stoppable]:
    """It runs, with a migrated database of one's own, and may be stopped."""
    with started.lent() as found:
        yield found


def opened(server: Stoppable) -> Engine:
    return connect(server.url.render_as_string(hide_password=False))


# --- how long it waits, and what it tells ----------------------------------------------------------------


def test_it_is_asked_less_and_less_often_and_each_time_is_told_once() -> None:
    clock, asked = Clock(), 0
    outage = Outage(clock=clock)

    def work() -> None:
        nonlocal asked
        asked += 1
        raise GONE

    with capture_logs() as logs:
        while clock.now < 200:
            outage.attempt("slots", work)
            outage.attempt("clock", work)
            clock.now += 0.5
    waits = [entry["again_in_seconds"] for entry in logs]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30]
    assert asked == len(waits)


def test_that_it_is_back_is_told_and_the_next_outage_begins_anew() -> None:
    clock = Clock()
    outage = Outage(clock=clock)
    with capture_logs() as logs:
        outage.attempt("slots", failing(GONE))
        clock.now = 1
        outage.attempt("clock", failing(GONE))
        clock.now = 3.5
        assert outage.attempt("slots", lambda: 7) == 7
        outage.attempt("slots", failing(GONE))
    told = [(entry["event"], entry.get("again_in_seconds", entry.get("after_seconds"))) for entry in logs]
    assert told == [("database away", 1), ("database away", 2), ("database back", 3.5), ("database away", 1)]


def test_who_is_refused_waits_alone() -> None:
    """A full disk takes no measurement, but messages that wait can still be read and sent."""
    clock = Clock()
    outage = Outage(clock=clock)
    assert outage.attempt("slots", failing(FULL)) is None
    assert outage.attempt("outbox", lambda: "sent") == "sent"
    assert outage.attempt("slots", lambda: "done") is None
    clock.now = 1
    assert outage.attempt("slots", lambda: "done") == "done"


def test_an_error_that_does_not_pass_is_not_held_back() -> None:
    with pytest.raises(ZeroDivisionError):
        Outage().attempt("slots", lambda: 1 // 0)


def test_who_insists_gives_up_only_when_stopped() -> None:
    outage, stop = Outage(), threading.Event()
    answers = iter([GONE, GONE])

    def work() -> str:
        for error in answers:
            raise error
        return "done"

    assert outage.retry("slots", work, never_stopped) == "done"
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(DatabaseUnreachableError):
        outage.retry("slots", failing(GONE), stop.is_set)


# --- what the databases say ------------------------------------------------------------------------------


def add(engine: Engine, value: str = "a") -> None:
    with writing(engine) as connection:
        connection.execute(insert(leases).values(name=value, owner="", token=0, expires_at=START))


def test_a_sqlite_file_on_a_full_disk_is_told_with_its_path_and_the_mend(sqlite_url: str) -> None:
    engine = connect(sqlite_url)

    @event.listens_for(engine, "connect")
    def _no_more_pages(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    with pytest.raises(DatabaseUnusableError) as error:
        add(engine, "a" * 1_000_000)
    path = make_url(sqlite_url).database
    assert str(error.value) == (
        f"The database sqlite:///{path} cannot be used now (database or disk is full): "
        "free space on its disk."
    )
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM leases")) == 0
    engine.dispose()


def test_a_sqlite_file_that_is_held_for_long_is_told(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.1)
    engine, other = connect(sqlite_url), connect(sqlite_url)
    with (
        writing(other),
        pytest.raises(DatabaseUnusableError, match=r"is locked\): retry when"),
    ):
        add(engine)
    add(engine)
    engine.dispose()
    other.dispose()


def test_a_server_that_has_become_a_reader_is_told_and_asked_by_a_new_connection(
    postgres_engine: Engine,
) -> None:
    name = postgres_engine.url.database
    with writing(postgres_engine) as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    other = connect(postgres_engine.url.render_as_string(hide_password=False))
    with pytest.raises(DatabaseUnusableError, match=r"read-only transaction\): set \[database\] url"):
        add(other)
    with other.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = off'))
        connection.invalidate()
    add(other)
    other.dispose()


def test_a_host_name_that_does_not_resolve_is_an_outage() -> None:
    with (
        pytest.raises(DatabaseUnreachableError, match="resolve"),
        reading(connect("postgresql://db.invalid/x")),
    ):
        pass


# --- a daemon --------------------------------------------------------------------------------------------


def test_a_daemon_outlives_its_server_and_every_slot_is_run_once(server: Stoppable) -> None:
    """The server stops while a slot is measured, and once more between two slots."""
    engine = opened(server)
    measure = Measuring(server.stop)
    section = MonitorSection.model_validate({"name": MONITOR, "every": "1s", "lateness": "0s"})

    def ready() -> dict[str, bool]:
        return {check.name: check.ok for check in checks(engine, section, "running", utc_now())}

    with capture_logs() as logs, ticking(engine, measure):
        wait_until(
            lambda: any(entry["event"] == "database away" for entry in logs),
            "the outage in the log",
            timeout=30,
        )
        assert ready() == {"database": False, "scheduler": True, "slots": False}
        time.sleep(2.5)
        server.start()
        assert ready()["database"]
        wait_until(lambda: n_evaluated(engine) >= 4, "four cycles", timeout=30)
        server.stop()
        time.sleep(2)
        server.start()
        so_far = n_evaluated(engine)
        wait_until(lambda: n_evaluated(engine) >= so_far + 3, "three more cycles", timeout=30)
    rows = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    ends = [row["window_end"] for row in rows]
    assert ends == [ends[0] + index * timedelta(seconds=1) for index in range(len(rows))]
    done = [row for row in rows if row["status"] == "evaluated"]
    assert len(done) >= len(rows) - 1
    assert {row["attempt"] for row in done} <= {1, 2}
    assert rows[0]["attempt"] == measure.measured.count(ends[0]) == 1
    told = [entry["event"] for entry in logs]
    assert "tick failed" not in told
    assert "cycle failed" not in told
    assert 2 <= told.count("database away") <= 8
    assert 2 <= told.count("database back") <= 4
    engine.dispose()


def test_a_server_that_crashed_takes_the_measurement_when_it_is_back(server: Stoppable) -> None:
    engine = opened(server)

    def crash() -> None:
        server.stop()
        threading.Timer(1.5, server.start).start()

    found = runner(engine, measure := Measuring(crash))
    assert found.run_due(never_stopped) == 1
    (row,) = stored(engine, cycles)
    assert (row["status"], row["attempt"], len(measure.measured)) == ("evaluated", 1, 1)
    engine.dispose()


def test_a_stop_during_an_outage_leaves_the_slot_to_the_next_process(server: Stoppable) -> None:
    engine, stop = opened(server), threading.Event()

    def crash() -> None:
        server.stop()
        threading.Timer(0.5, stop.set).start()

    began = time.monotonic()
    with pytest.raises(DatabaseUnreachableError):
        runner(engine, Measuring(crash)).run_due(stop.is_set)
    assert time.monotonic() - began < 5
    server.start()
    with writing(engine) as connection:
        connection.execute(text("UPDATE leases SET expires_at = '2000-01-01'"))  # it has run out
    assert runner(engine, Measuring(lambda: None)).run_due(never_stopped) == 1
    (row,) = stored(engine, cycles)
    assert (row["status"], row["attempt"]) == ("evaluated", 2)
    engine.dispose()


def test_a_measurement_that_the_outage_broke_does_not_count_and_is_done_again(server: Stoppable) -> None:
    engine = opened(server)

    def ask_in_vain() -> None:
        server.stop()
        threading.Timer(0.5, server.start).start()
        with reading(engine) as connection:
            connection.execute(text("SELECT 1"))

    found = runner(engine, measure := Measuring(ask_in_vain))
    with capture_logs() as logs:
        assert found.run_due(never_stopped) == 0
    assert stored(engine, cycles) == []
    assert [entry["event"] for entry in logs].count("cycle waits for the database") == 1
    assert found.run_due(never_stopped) == 1
    (row,) = stored(engine, cycles)
    assert (row["status"], row["attempt"], len(measure.measured)) == ("evaluated", 1, 2)
    engine.dispose()


def test_a_job_that_the_outage_broke_is_done_again_and_its_attempt_does_not_count(server: Stoppable) -> None:
    engine = opened(server)
    office = Office(engine=engine, transport=SqlTransport())

    def ask_in_vain(job: Job, stopped: Stopped) -> Proof:
        office.attempt.work = rejected
        server.stop()
        threading.Timer(0.5, server.start).start()
        with reading(engine) as connection:
            connection.execute(text("SELECT 1"))
        return rejected(job, stopped)

    office.attempt.work = ask_in_vain
    job_id = office.order()
    with capture_logs() as logs, office.working():
        wait_until(lambda: len(office.attempt.attempted) == 2, "a second attempt", timeout=30)
    assert (office.job(job_id).status, office.job(job_id).attempt) == (JobStatus.REJECTED, 1)
    assert [entry["event"] for entry in logs].count("job waits for the database") == 1
    engine.dispose()


def test_a_commit_whose_answer_was_lost_is_found_to_be_done(server: Stoppable) -> None:
    """Nothing is written a second time, and the cycle does not fail."""
    with cutting(server.url) as proxy, capture_logs() as logs:
        engine = connect(proxy.url(server.url))
        found = runner(engine, measure := Measuring(proxy.armed.set))
        assert found.run_due(never_stopped) == 1
        assert (proxy.cut, len(measure.measured)) == (1, 1)
        (row,) = stored(engine, cycles)
        assert (row["status"], row["verdict"], row["attempt"]) == ("evaluated", "healthy", 1)
        labels = [each["label"] for each in stored(engine, class_metrics)]
        assert labels
        assert len(labels) == len(set(labels))
        assert "cycle had ended" in [entry["event"] for entry in logs]
        engine.dispose()


def test_an_attempt_that_has_ended_can_be_neither_ended_nor_failed_again(engine: Engine) -> None:
    run = Cycles(engine=engine, lease=taken(engine))
    claim = run.claim(0)
    conclude(engine, run.lease, claim, make_result(), make_policy(), now=utc_now())
    (before,) = stored(engine, cycles)
    with pytest.raises(AttemptEndedError):
        conclude(engine, run.lease, claim, make_result(), make_policy(), now=utc_now())
    with pytest.raises(AttemptEndedError):
        conclude_failure(engine, run.lease, claim, "lost", make_policy(), now=utc_now())
    assert stored(engine, cycles) == [before]


def test_a_measurement_is_kept_while_a_sqlite_file_is_held(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.1)
    engine, other = connect(sqlite_url), connect(sqlite_url)
    held, freed = threading.Event(), threading.Event()

    def hold() -> None:
        with writing(other):
            held.set()
            freed.wait(30)

    def meanwhile() -> None:
        threading.Thread(target=hold).start()
        held.wait(30)
        threading.Timer(1.5, freed.set).start()

    with capture_logs() as logs:
        found = runner(engine, measure := Measuring(meanwhile))
        assert found.run_due(never_stopped) == 1
    (row,) = stored(engine, cycles)
    assert (row["status"], row["attempt"], len(measure.measured)) == ("evaluated", 1, 1)
    assert "database away" in [entry["event"] for entry in logs]
    engine.dispose()
    other.dispose()


@mounts
def test_a_daemon_outlives_a_full_disk_and_every_slot_is_run_once(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Messages that wait are sent meanwhile, and what was measured is kept until there is room."""
    with small_disk(tmp_path / "disk", kib=4 * 1024) as disk:
        path = shutil.copyfile(sqlite_template, disk.folder / "redistill.db")
        engine = connect(f"sqlite:///{path}")

        with capture_logs() as logs, ticking(engine, Measuring(lambda: None)):
            wait_until(lambda: n_evaluated(engine) >= 2, "two cycles", timeout=30)
            with disk.full():
                wait_until(
                    lambda: any(entry["event"] == "database away" for entry in logs),
                    "the outage in the log",
                    timeout=30,
                )
                time.sleep(1.5)
            so_far = n_evaluated(engine)
            wait_until(lambda: n_evaluated(engine) >= so_far + 3, "three more cycles", timeout=30)
        rows = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
        engine.dispose()
    ends = [row["window_end"] for row in rows]
    assert ends == [ends[0] + index * timedelta(seconds=1) for index in range(len(rows))]
    assert {(row["status"], row["attempt"]) for row in rows} <= {("evaluated", 1), ("running", 1)}
    told = {entry["event"] for entry in logs}
    assert "database back" in told
    assert not told & {"tick failed", "cycle failed"}
