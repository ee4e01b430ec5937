"""What every transport must do, whatever becomes of its calls: a committed job is run once, no other is."""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

import pytest
from sqlalchemy import Engine, func, select
from structlog.testing import capture_logs

import distill.worker
from db import leases, queue
from db.connection.session import connect, reading, writing
from db.records import Job
from db.states import JobStatus
from db.tables import jobs
from distill.settle import Proof
from monitor.archive.places import ArchiveUnavailableError
from monitor.stop import Stopped, StoppedError
from monitor.storage.store import ArtifactUnavailableError
from tests.support.processes.races import in_processes
from tests.support.processes.waiting import wait_until
from tests.support.processes.workers import MONITOR, FakeAttempt, Office, rejected
from tests.support.records.cycles import stored
from tests.support.records.factories import make_new_job
from tests.support.servers.queues import fifo_queue
from tests.support.world.installation import now
from triggers.transports import sql, sqs
from triggers.transports.port import JobTransport
from triggers.transports.sql import SqlTransport
from triggers.transports.sqs import SqsTransport

KINDS = ("sql", "sqs")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look every fraction of a second, and hold a job for a second at a time."""
    monkeypatch.setattr(sql, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(sqs, "POLL_SECONDS", 1)
    monkeypatch.setattr(sqs, "POLLS_PER_SWEEP", 2)
    monkeypatch.setattr(distill.worker, "LEASE_SECONDS", 1.5)


@pytest.fixture(params=KINDS)
def transport(request: pytest.FixtureRequest, engine: Engine) -> Iterator[JobTransport]:
    """Each transport, with each database."""
    if request.param == "sql":
        yield SqlTransport()
        return
    with fifo_queue(request.getfixturevalue("s3_url")) as made:
        yield SqsTransport(engine=engine, monitor=MONITOR, url=made.url)


@pytest.fixture
def office(engine: Engine, transport: JobTransport) -> Office:
    return Office(engine=engine, transport=transport)


def ended(office: Office, job_id: int) -> bool:
    return office.job(job_id).status not in queue.OPEN


def test_a_worker_that_is_called_runs_the_job(office: Office) -> None:
    with office.working():
        job_id = office.order()
        assert office.call() == 1
        wait_until(lambda: ended(office, job_id), "run", timeout=20)
    assert office.attempt.attempted == [job_id]
    assert (office.job(job_id).status, office.job(job_id).attempt) == (JobStatus.REJECTED, 1)


def test_workers_are_called_once_by_whoever_comes_first(office: Office) -> None:
    office.order()
    assert [office.call(), office.call(), office.new_calls().call_due(now())] == [1, 0, 0]


def test_a_call_that_never_came_delays_a_job_and_loses_none(office: Office) -> None:
    """The workers look into the database now and then."""
    job_id = office.order()
    with office.working(2):
        wait_until(lambda: ended(office, job_id), "run", timeout=20)
    assert office.attempt.attempted == [job_id]


def test_nobody_is_called_to_a_job_that_was_rolled_back(office: Office) -> None:
    with writing(office.engine) as connection:
        savepoint = connection.begin_nested()
        queue.enqueue(connection, make_new_job(), now())
        assert office.call() == 0
        savepoint.rollback()
    assert office.call() == 0
    with office.working():
        time.sleep(0.5)
    assert office.attempt.attempted == []


def test_a_daemon_that_dies_between_the_commit_and_the_call_is_made_up_for_by_the_next(
    office: Office,
) -> None:
    job_id = office.order()
    assert office.new_calls().call_due(now()) == 1
    with office.working():
        wait_until(lambda: ended(office, job_id), "run", timeout=20)


def test_a_daemon_that_dies_between_the_call_and_its_mark_calls_twice_to_one_run(office: Office) -> None:
    job_id = office.order()
    office.transport.call(office.job(job_id), None)
    assert office.call() == 1
    with office.working(2):
        wait_until(lambda: ended(office, job_id), "run", timeout=20)
        office.transport.call(office.job(job_id), None)
        time.sleep(1)
    assert office.attempt.attempted == [job_id]


def test_calls_out_of_order_run_what_is_open(office: Office) -> None:
    """The call to an ended job comes after that to the next one."""
    first = office.order()
    late = office.job(first)
    with office.working():
        wait_until(lambda: ended(office, first), "run", timeout=20)
    second = office.order()
    office.call()
    office.transport.call(late, None)
    with office.working(2):
        wait_until(lambda: ended(office, second), "run", timeout=20)
        time.sleep(1)
    assert office.attempt.attempted == [first, second]


def test_a_job_that_is_cancelled_before_anybody_takes_it_is_not_run(office: Office) -> None:
    first = office.order()
    office.call()
    cancel(office, first)
    second = office.order()
    office.call()
    with office.working():
        wait_until(lambda: ended(office, second), "run", timeout=20)
    assert office.attempt.attempted == [second]
    assert office.job(first).status is JobStatus.CANCELLED


def test_the_worker_of_a_job_that_is_cancelled_stops_and_takes_the_next(office: Office) -> None:
    office.attempt = FakeAttempt(work=patient)
    first = office.order()
    with office.working():
        wait_until(lambda: office.attempt.attempted == [first], "taken", timeout=20)
        cancel(office, first)
        office.attempt.work = rejected
        second = office.order()
        office.call()
        wait_until(lambda: ended(office, second), "run", timeout=20)
    assert office.job(first).status is JobStatus.CANCELLED
    assert office.job(first).candidate_version is None


def test_a_worker_that_is_asked_to_stop_gives_its_job_to_the_next(office: Office) -> None:
    """The attempt does not count, and workers are called once more."""
    office.attempt = FakeAttempt(work=patient)
    job_id = office.order()
    office.call()
    with office.working():
        wait_until(lambda: office.attempt.attempted == [job_id], "taken", timeout=20)
    assert (office.job(job_id).status, office.job(job_id).attempt) == (JobStatus.QUEUED, 0)
    assert office.call() == 1
    office.attempt.work = rejected
    with office.working():
        wait_until(lambda: ended(office, job_id), "run", timeout=20)
    assert office.job(job_id).attempt == 1


def test_a_job_whose_archive_is_away_waits_for_it_and_the_attempts_do_not_count(office: Office) -> None:
    """However long that takes: as S3 that throttles, or does not answer. Models in S3 are waited for, too."""
    errors = {
        1: ArchiveUnavailableError(path="s3://bucket/a", problem="SlowDown"),
        2: ArtifactUnavailableError(location="s3://bucket/teacher", problem="SlowDown"),
    }

    def away(job: Job, _stopped: Stopped) -> Proof:
        error = errors.get(len(office.attempt.attempted))
        if error is not None:
            raise error
        return rejected(job, _stopped)

    office.attempt.work = away
    job_id = office.order()
    office.call()
    with capture_logs() as logs, office.working():
        wait_until(lambda: ended(office, job_id), "run", timeout=30)
    assert (office.job(job_id).status, office.job(job_id).attempt) == (JobStatus.REJECTED, 1)
    waits = [(entry["event"], entry["error"]) for entry in logs if "job waits for" in entry["event"]]
    assert waits == [("job waits for its archive", str(errors[1])), ("job waits for S3", str(errors[2]))]


def test_the_job_of_a_killed_worker_is_taken_by_one_that_waits(office: Office) -> None:
    """Until its lease expires it is said to run; then its worker is gone, and soon another has it."""
    job_id = office.order()
    killed = start_and_kill_a_worker(office, job_id)
    assert killed == -signal.SIGKILL
    assert office.job(job_id).status is JobStatus.RUNNING
    assert office.call() == 0
    wait_until(lambda: is_abandoned(office, job_id), "abandoned", timeout=20)
    assert [office.call(), office.call()] == [1, 0]
    with office.working(2):
        wait_until(lambda: ended(office, job_id), "run", timeout=20)
    assert (office.job(job_id).status, office.job(job_id).attempt) == (JobStatus.REJECTED, 2)
    assert office.attempt.attempted == [job_id]


def test_a_job_whose_workers_all_die_is_given_up(office: Office) -> None:
    job_id = office.order()
    for _ in range(queue.MAX_ATTEMPTS):
        with writing(office.engine) as connection:
            assert queue.claim(connection, MONITOR, owner="dead", lease_seconds=-1, now=now())
    with office.working():
        wait_until(lambda: ended(office, job_id), "given up", timeout=20)
    assert office.attempt.attempted == []
    (row,) = stored(office.engine, jobs)
    assert (row["status"], row["error"]) == ("failed", "given up: 5 attempts crashed or failed")


def test_a_job_that_is_given_up_says_what_was_last_known_of_its_workers(sqlite_engine: Engine) -> None:
    """Such as why their tasks have stopped in ECS."""
    office = Office(engine=sqlite_engine, transport=SqlTransport())
    job_id = office.order()
    for _ in range(queue.MAX_ATTEMPTS):
        with writing(office.engine) as connection:
            assert queue.claim(connection, MONITOR, owner="dead", lease_seconds=-1, now=now())
            queue.note_error(connection, job_id, "out of memory")
    assert office.worker().run_once(lambda: False)
    given_up = "given up: 5 attempts crashed or failed; the last error: out of memory"
    assert office.job(job_id).error == given_up
    with writing(office.engine) as connection:
        queue.note_error(connection, job_id, "too late")
    assert office.job(job_id).error == given_up


@pytest.mark.parametrize("each", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_four_workers_at_each_of_five_monitors_run_every_job_once(
    engine: Engine,
    database_url: str,
    transport: JobTransport,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    each: int,
) -> None:
    """In four processes, with a fifth that orders and calls. Nobody is told twice."""
    monkeypatch.setattr(distill.worker, "LEASE_SECONDS", 60.0)  # on a busy machine all are away for seconds
    monitors = [f"monitor-{number}" for number in range(5)]
    over = multiprocessing.get_context("fork").Event()
    with ExitStack() as stack:
        urls: dict[str, str | None] = dict.fromkeys(monitors)
        if isinstance(transport, SqsTransport):
            url = request.getfixturevalue("s3_url")
            urls = {name: stack.enter_context(fifo_queue(url)).url for name in monitors}

        def offices(own: Engine) -> list[Office]:
            return [
                Office(engine=own, monitor=name, transport=_transport(own, name, url))
                for name, url in urls.items()
            ]

        def part(own: Engine, number: int) -> list[int]:
            if number == 4:
                _order_all(offices(own), each)
                over.set()
                return []
            return _work(offices(own), over)  # type: ignore[arg-type]

        began = time.monotonic()
        attempted = Counter(chain.from_iterable(in_processes(5, database_url, part, seconds=240)))
    print(f"{5 * each} jobs in {time.monotonic() - began:.1f} s")  # noqa: T201 - pytest -s shows it
    with reading(engine) as connection:
        kinds = (jobs.c.status, jobs.c.attempt)
        counts = connection.execute(select(*kinds, func.count()).group_by(*kinds))
        assert [tuple(row) for row in counts] == [("rejected", 1, 5 * each)]
    assert len(attempted) == 5 * each
    assert set(attempted.values()) == {1}


def _transport(engine: Engine, monitor: str, url: str | None) -> JobTransport:
    return SqsTransport(engine=engine, monitor=monitor, url=url) if url else SqlTransport()


def _order_all(offices: list[Office], each: int) -> None:
    """The next job of a monitor as soon as it has none."""
    left = {office.monitor: each for office in offices}
    while True:
        with reading(offices[0].engine) as connection:
            busy = set(connection.scalars(select(jobs.c.monitor).where(jobs.c.status.in_(queue.OPEN))))
        if not busy and not any(left.values()):
            return
        for office in offices:
            if office.monitor not in busy and left[office.monitor]:
                office.order()
                left[office.monitor] -= 1
                office.call()
        time.sleep(0.01)


def _work(offices: list[Office], over: threading.Event) -> list[int]:
    """One worker for each monitor, until all is over."""
    threads = [
        threading.Thread(target=office.worker().serve, args=(office.transport, over)) for office in offices
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [job_id for office in offices for job_id in office.attempt.attempted]


def patient(job: Job, stopped: Stopped) -> Proof:
    """Trains until it is told to stop."""
    del job
    while not stopped():
        time.sleep(0.02)
    raise StoppedError


def cancel(office: Office, job_id: int) -> None:
    with writing(office.engine) as connection:
        queue.cancel(connection, job_id, now())


def is_abandoned(office: Office, job_id: int) -> bool:
    with reading(office.engine) as connection:
        return queue.is_abandoned(connection, queue.get(connection, job_id))


def start_and_kill_a_worker(office: Office, job_id: int) -> int | None:
    """The exit code of a worker process that was killed with the job in its hands."""
    url = office.engine.url.render_as_string(hide_password=False)

    def run() -> None:
        own = Office(engine=connect(url), transport=SqlTransport(), attempt=FakeAttempt(work=patient))
        own.worker().run_once(lambda: False)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    wait_until(lambda: office.job(job_id).status is JobStatus.RUNNING, "taken", timeout=20)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    with reading(office.engine) as connection:
        assert leases.is_held(connection, queue.lease_name(job_id))
    return process.exitcode
