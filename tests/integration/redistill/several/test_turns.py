"""Workers of several monitors in one process: one computes at a time, each in its turn, and an unavailable
database of one delays no other.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.connection.migrate import upgrade
from db.connection.session import connect, writing
from db.records import Job
from db.states import JobStatus
from distill.settle import Proof
from distill.turns import Turn, Turns
from distill.worker import Worker
from monitor.stop import Stopped, StoppedError, never_stopped
from tests.support.processes.waiting import wait_until
from tests.support.processes.workers import Office, rejected, without_labels
from triggers.incidents.announce import Audience
from triggers.settings import IncidentPolicy
from triggers.transports.sql import SqlTransport


def test_turns_go_round_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(), list[str]()

    def compute(name: str) -> None:
        turn = Turn(turns, lambda: order.append(name))
        for _ in range(3):
            with turn.taken(never_stopped):
                pass

    names = ("a", "b", "c")
    threads = [threading.Thread(target=compute, args=(name,)) for name in names]
    first = Turn(turns, lambda: None)
    with first.taken(never_stopped):
        for n_waiting, thread in enumerate(threads, start=2):
            thread.start()
            wait_until(lambda: len(turns._queue) == n_waiting, "waiting")  # noqa: B023
    for thread in threads:
        thread.join()
    assert order[:3] == list(names)
    assert sorted(order) == sorted(3 * names)


def test_who_is_asked_to_stop_while_it_waits_leaves_the_queue() -> None:
    turns = Turns()
    with Turn(turns, lambda: None).taken(never_stopped):
        with pytest.raises(StoppedError), Turn(turns, lambda: None).taken(lambda: True):
            pass
        assert len(turns._queue) == 1


def test_a_turn_that_is_given_back_early_is_given_back_once() -> None:
    turns = Turns()
    one, other = Turn(turns, lambda: None), Turn(turns, lambda: None)
    with one.taken(never_stopped):
        one.give()
        with other.taken(never_stopped):
            one.give()
            assert list(turns._queue) == [other]


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("one", "other")]
    for url in urls:
        upgrade(url)
    engines = connect(urls[0]), connect(urls[1])
    yield engines
    for engine in engines:
        engine.dispose()


def worker(office: Office, turns: Turns) -> Worker:
    audience = Audience(monitor=office.monitor, alerts=(), policy=IncidentPolicy())
    calibrator = without_labels(office.engine, office.monitor)
    return Worker(office.engine, audience, office.attempt, calibrator, Turn(turns, lambda: None))  # type: ignore[arg-type]


@contextmanager
def serving(*workers: Worker) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=each.serve, args=(SqlTransport(), stop)) for each in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_one_attempt_at_a_time(databases: tuple[Engine, Engine]) -> None:
    busy, most = threading.Semaphore(1), list[bool]()

    def work(job: Job, stopped: Stopped) -> Proof:
        most.append(busy.acquire(blocking=False))
        threading.Event().wait(0.2)
        busy.release()
        return rejected(job, stopped)

    turns = Turns()
    offices = [Office(engine=engine, transport=SqlTransport()) for engine in databases]
    for office in offices:
        office.attempt.work = work
    jobs = [office.order() for office in offices]
    with serving(*(worker(office, turns) for office in offices)):
        wait_until(
            lambda: all(
                office.job(job).status is JobStatus.REJECTED
                for office, job in zip(offices, jobs, strict=True)
            ),
            "both rejected",
        )
    assert most == [True, True]


def test_a_database_that_is_lost_in_an_attempt_delays_no_other_monitor(
    databases: tuple[Engine, Engine],
) -> None:
    """The first attempt ends while somebody holds its database; the worker waits for it, without the turn."""
    one, other = (Office(engine=engine, transport=SqlTransport()) for engine in databases)
    computed, free = threading.Event(), threading.Event()

    def hold() -> None:
        computed.wait()
        with writing(databases[0]):
            held.set()
            free.wait()

    held = threading.Event()

    def work(job: Job, stopped: Stopped) -> Proof:
        other_job.append(other.order())
        computed.set()
        held.wait()
        return rejected(job, stopped)

    one.attempt.work = work
    other_job: list[int] = []
    job = one.order()
    holder = threading.Thread(target=hold)
    holder.start()
    turns = Turns()
    with serving(worker(one, turns), worker(other, turns)):
        try:
            wait_until(
                lambda: other_job and other.job(other_job[0]).status is JobStatus.REJECTED,
                "rejected beside the held database",
                timeout=8,
            )
        finally:
            free.set()
        wait_until(lambda: one.job(job).status is JobStatus.REJECTED, "rejected", timeout=30)
    holder.join()
