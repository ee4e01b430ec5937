"""What only a queue of messages can do wrong: forgers, poison, hidden messages, and a queue that is away."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from botocore.config import Config
from sqlalchemy import Engine
from structlog.testing import capture_logs

from db import queue
from db.connection.session import writing
from db.states import JobStatus, MessageFate
from tests.support.processes.waiting import wait_until
from tests.support.processes.workers import MONITOR, Office
from tests.support.servers.endpoint import Reply, answering
from tests.support.servers.queues import TestQueue, fifo_queue
from tests.support.world.installation import now
from triggers.transports import sqs
from triggers.transports.job_message import message_of
from triggers.transports.port import TransportError
from triggers.transports.sqs import SqsTransport

#: Where nobody listens.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs, "POLL_SECONDS", 1)
    monkeypatch.setattr(sqs, "POLLS_PER_SWEEP", 1)


@pytest.fixture
def made(s3_url: str) -> Iterator[TestQueue]:
    """A queue whose messages come again after a second, three times."""
    with fifo_queue(s3_url, visibility_seconds=1, receives=3) as found:
        yield found


@pytest.fixture
def office(sqlite_engine: Engine, made: TestQueue) -> Office:
    transport = SqsTransport(engine=sqlite_engine, monitor=MONITOR, url=made.url)
    return Office(engine=sqlite_engine, transport=transport)


def waited(office: Office) -> list[str]:
    """What one wait said of each message."""
    with capture_logs() as entries:
        office.transport.wait(threading.Event())
    return [entry["reason"] for entry in entries if "message_id" in entry]


def document(office: Office, number: int, /, **changes: object) -> str:
    found: dict[str, Any] = json.loads(message_of(office.job(number), None).body)
    return json.dumps({**found, **changes})


def test_a_message_is_the_payload_in_the_group_of_its_monitor(office: Office, made: TestQueue) -> None:
    job_id = office.order()
    office.call()
    (message,) = made.messages()
    assert orjson.loads(message["Body"]) == orjson.loads(message_of(office.job(job_id), None).body)
    attributes = message["Attributes"]
    assert (attributes["MessageGroupId"], attributes["MessageDeduplicationId"]) == (MONITOR, str(job_id))


def test_a_message_is_deleted_once_its_row_was_read(office: Office, made: TestQueue) -> None:
    """Nothing is hidden or kept while the job runs: the row tells what is to be done."""
    office.order()
    office.call()
    assert waited(office) == ["wanted"]
    assert made.counts() == (0, 0)


def test_a_message_that_was_not_deleted_comes_again_and_does_nothing(office: Office, made: TestQueue) -> None:
    """Its reader died with it; by the time that it is no longer hidden, another has run the job."""
    job_id = office.order()
    office.call()
    made.messages()
    with office.working():
        wait_until(lambda: office.job(job_id).status is JobStatus.REJECTED, "run", timeout=20)
    wait_until(lambda: made.counts() == (1, 0) or made.counts() == (0, 0), "no longer hidden", timeout=20)
    waited(office)
    assert office.attempt.attempted == [job_id]
    wait_until(lambda: made.counts() == (0, 0), "deleted", timeout=20)


FORGERIES: dict[str, tuple[Callable[[Office, int], str], MessageFate]] = {
    "no JSON": (lambda _office, _job: "retrain everything", MessageFate.NOT_JSON),
    "JSON, but no object": (lambda _office, _job: '["retrain"]', MessageFate.NOT_JSON),
    "another schema": (
        lambda office, job: document(office, job, schema="redistill.job/2"),
        MessageFate.OTHER_SCHEMA,
    ),
    "another monitor": (
        lambda office, job: document(office, job, monitor="other"),
        MessageFate.OTHER_MONITOR,
    ),
    "a job that there is not": (
        lambda office, job: document(office, job, job_id=job + 1),
        MessageFate.UNKNOWN_JOB,
    ),
    "a number that no database knows": (
        lambda office, job: document(office, job, job_id=2**63),
        MessageFate.UNKNOWN_JOB,
    ),
    "a lower alpha": (
        lambda office, job: document(office, job, alpha_to=0.1),
        MessageFate.FIELDS_DIFFER,
    ),
    "one field more": (
        lambda office, job: document(office, job, command="rm"),
        MessageFate.FIELDS_DIFFER,
    ),
}


@pytest.mark.parametrize(("forge", "fate"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_message_does_nothing_and_is_left_to_be_put_aside(
    office: Office, made: TestQueue, forge: Callable[[Office, int], str], fate: MessageFate
) -> None:
    """The log says why, without a word of it."""
    job_id = office.order()
    body = forge(office, job_id)
    made.send(body)
    with capture_logs() as entries:
        office.transport.wait(threading.Event())
    (entry,) = [each for each in entries if "message_id" in each]
    assert (entry["event"], entry["log_level"], entry["reason"], entry["received"]) == (
        "message does nothing",
        "warning",
        fate,
        1,
    )
    assert body not in str(entry)
    assert made.counts() == (0, 1)
    assert office.job(job_id).status is JobStatus.QUEUED


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (JobStatus.RUNNING, MessageFate.ALREADY_RUNNING),
        (JobStatus.REJECTED, MessageFate.ALREADY_ENDED),
        (JobStatus.CANCELLED, MessageFate.ALREADY_ENDED),
    ],
)
def test_a_late_message_does_nothing_and_is_deleted(
    office: Office, made: TestQueue, status: JobStatus, fate: MessageFate
) -> None:
    job_id = office.order()
    office.call()
    with writing(office.engine) as connection:
        claimed = queue.claim(connection, MONITOR, owner="worker", lease_seconds=60, now=now())
        assert claimed is not None
        if status is JobStatus.REJECTED:
            queue.finish(connection, claimed[0], status, now=now())
        elif status is JobStatus.CANCELLED:
            queue.cancel(connection, job_id, now())
    assert waited(office) == [fate]
    assert made.counts() == (0, 0)
    assert office.job(job_id).status is status


def test_poison_is_put_aside_after_it_came_three_times_and_holds_up_no_job(
    office: Office, made: TestQueue
) -> None:
    """Even in the group of the monitor, whose later messages wait behind it."""
    made.send("poison", group=MONITOR)
    job_id = office.order()
    office.call()
    with office.working():
        wait_until(lambda: office.job(job_id).status is JobStatus.REJECTED, "run", timeout=20)
        wait_until(lambda: dead(made) == ["poison"], "put aside", timeout=30)
        wait_until(lambda: made.counts() == (0, 0), "empty", timeout=20)
    assert office.attempt.attempted == [job_id]


def dead(made: TestQueue) -> list[str]:
    return [message["Body"] for message in made.messages(made.dead_url)]


def test_while_the_queue_is_away_jobs_are_found_in_the_database(
    sqlite_engine: Engine, made: TestQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    away = SqsTransport(engine=sqlite_engine, monitor=MONITOR, url=made.url)
    office = Office(engine=sqlite_engine, transport=away)
    job_id = office.order()
    with capture_logs() as entries:
        assert office.call() == 0
        with office.working():
            wait_until(lambda: office.job(job_id).status is JobStatus.REJECTED, "run", timeout=30)
            wait_until(lambda: "queue does not answer" in str(entries), "waited", timeout=30)
    assert office.attempt.attempted == [job_id]


def refusal(status: int, code: str) -> Reply:
    """An error as SQS words it."""
    return Reply(status=status, body=json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"}))


ANSWERS: dict[str, tuple[Reply, str]] = {
    "throttled": (refusal(400, "RequestThrottled"), "RequestThrottled"),
    "an error of its own": (refusal(500, "InternalFailure"), "InternalFailure"),
    "unavailable": (refusal(503, "ServiceUnavailable"), "ServiceUnavailable"),
    "hanging": (Reply(fault="hang"), "ReadTimeoutError"),
    "broken off": (Reply(fault="reset"), "Connection"),
    "no such name": (Reply(), "EndpointConnectionError"),
}


@pytest.mark.parametrize(("reply", "told"), ANSWERS.values(), ids=ANSWERS)
def test_a_queue_that_fails_is_told_and_the_job_is_run_all_the_same(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch, reply: Reply, told: str
) -> None:
    """The call is to be made again, and who waits for one looks into the database after each poll."""
    monkeypatch.setattr(sqs, "_CONFIG", sqs._CONFIG.merge(Config(read_timeout=0.3)))
    monkeypatch.setattr(sqs, "POLLS_PER_SWEEP", 1_000)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with answering(reply) as server:
        url = "http://sqs.invalid" if told == "EndpointConnectionError" else server.url
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        transport = SqsTransport(engine=sqlite_engine, monitor=MONITOR, url=f"{url}/1/jobs.fifo")
        office = Office(engine=sqlite_engine, transport=transport)
        with capture_logs() as entries, office.working():
            wait_until(lambda: "queue does not answer" in str(entries), "waited", timeout=20)
            job_id = office.order()
            assert office.call() == 0
            wait_until(lambda: office.job(job_id).status is JobStatus.REJECTED, "run", timeout=5)
    failed, away = (next(e for e in entries if e["event"] == event) for event in EVENTS)
    assert told in failed["error"]
    assert told in away["error"]
    assert "\n" not in f"{failed['error']}{away['error']}"


EVENTS = ("workers not called", "queue does not answer")


def test_a_call_that_fails_is_made_again_later_and_later_until_it_succeeds(
    sqlite_engine: Engine, made: TestQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, away = (SqsTransport(engine=sqlite_engine, monitor=MONITOR, url=made.url) for _ in range(2))
    office = Office(engine=sqlite_engine, transport=away)
    office.order()
    elapsed, waits = 0.0, []
    office.calls.clock = lambda: elapsed
    with capture_logs() as entries, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", NOWHERE)  # the client of `away` is made by its first call
        for hours in (0, -5, 5, 0, 0, 0):
            # by the clock on the wall, which is set forward and back meanwhile, nothing is waited for
            assert office.calls.call_due(now() + timedelta(hours=hours)) == 0
            waits.append(entries[-1]["seconds"])
            elapsed += waits[-1] / 2
            assert office.calls.call_due(now() + timedelta(hours=1)) == 0  # it is not asked
            elapsed += waits[-1] / 2
    assert [entry["event"] for entry in entries] == ["workers not called"] * 6
    assert all(wait <= 5 * 2**index for index, wait in enumerate(waits))
    assert max(waits) > 10
    office.calls.transport = good
    assert office.call() == 1
    assert made.counts() == (1, 0)


def test_a_queue_that_is_not_there_is_said_with_its_url(sqlite_engine: Engine, made: TestQueue) -> None:
    gone = made.url.replace(".fifo", "-gone.fifo")
    office = Office(
        engine=sqlite_engine, transport=SqsTransport(engine=sqlite_engine, monitor=MONITOR, url=gone)
    )
    job_id = office.order()
    with pytest.raises(TransportError, match=rf"^The queue {gone} cannot be used \(QueueDoesNotExist"):
        office.transport.call(office.job(job_id), None)


def test_a_worker_that_waits_stops_within_a_poll(office: Office) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=office.worker().serve, args=(office.transport, stop))
    thread.start()
    stop.set()
    thread.join(3)
    assert not thread.is_alive()
