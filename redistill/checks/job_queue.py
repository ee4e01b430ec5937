"""Checks of the open job, of the candidate in shadow, and of the SQS queue that calls workers."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from db import queue
from db.connection.session import reading
from db.records import Job
from db.shadows import comparisons, runs
from db.states import JobStatus
from redistill.checks.result import CheckResult, ok, problem, warning
from redistill.configuration.settings import Settings
from redistill.database import existing, translated_errors
from redistill.display import show
from redistill.display.words import shadow_words
from redistill.display.worker_state import worker_of
from triggers.aws import FAULTS, explained
from triggers.transports import sqs

#: Bounds in seconds on the time after which an unusable message is redelivered.
_SHORTEST, _LONGEST = 10, 900
#: The most deliveries of a message before it goes to the dead-letter queue.
_MOST_RECEIVES: Final = 20


def open_job(settings: Settings) -> Iterator[CheckResult]:
    """Check that a worker runs, or will run, the open job."""
    with existing(settings) as engine, translated_errors(engine), reading(engine) as connection:
        job = queue.open_job(connection, settings.monitor.name)
        worker = worker_of(connection, job.job_id, job.status) if job else None
    yield _job(job, worker, starts=settings.ecs is not None)


def _job(job: Job | None, worker: str | None, *, starts: bool) -> CheckResult:
    if job is None:
        return ok("queue", "no open job")
    fix = "check that `redistill monitor` runs" if starts else "start `redistill worker` if none runs"
    if worker == "starting":
        return ok("queue", f"job {job.job_id} is queued, and its worker is starting")
    if worker == "not_started":
        fix = f"see `redistill jobs show {job.job_id}`; {fix}"
        return problem("queue", f"job {job.job_id}: {job.error}", fix)
    if job.status is JobStatus.QUEUED:
        return problem("queue", f"job {job.job_id} is queued", fix)
    if worker == "gone":
        return problem("queue", f"job {job.job_id} is running, but its worker is gone", fix)
    return ok("queue", f"job {job.job_id} is {job.status}")


def shadow(settings: Settings) -> Iterator[CheckResult]:
    """Check that the candidate in shadow can be scored, and that a worker sets the link after the shadow."""
    section = settings.redistill
    with existing(settings) as engine, translated_errors(engine), reading(engine) as connection:
        running = runs.running(connection, settings.monitor.name)
        if running is not None:
            summary = shadow_words.in_words(connection, running, section.shadow_cycles)
            error = comparisons.newest_error(connection, running)
            if error is None:
                yield ok("shadow", summary)
            else:
                fix = f"restore the candidate, or see `redistill jobs show {running.job_id}`"
                yield warning("shadow", f"{summary}; the last error: {error}", fix)
    if section.promote == "shadow" and settings.ecs is not None:
        found = "[ecs] starts workers for jobs only, so none sets the registry's link after a shadow"
        yield warning(
            "shadow", found, "also run one `redistill worker` all the time, or one every few minutes"
        )


def sqs_queue(settings: Settings) -> Iterator[CheckResult]:
    """Check that the queue of `[queue]`, if set, is reachable, is FIFO and has a dead-letter queue."""
    url = settings.queue.url
    if url is None:
        return
    try:
        client = sqs.client()
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except FAULTS as error:
        fix = "correct 'url' in [queue], the region, the credentials or the permissions of this user"
        yield problem("sqs", f"{url}: {type(error).__name__}: {explained(error)}", fix)
        return
    yield _fifo(url, found)
    yield _visibility(found)
    yield _dead_letters(client, found)


def _fifo(url: str, found: Mapping[str, str]) -> CheckResult:
    if found.get("FifoQueue") != "true":
        return problem("sqs", f"{url} is not a FIFO queue", "create one: its name ends in .fifo")
    waiting = int(found["ApproximateNumberOfMessages"])
    return ok("sqs", f"{url}: FIFO, {show.counted(waiting, 'message')}")


def _visibility(found: Mapping[str, str]) -> CheckResult:
    seconds = int(found["VisibilityTimeout"])
    if not _SHORTEST <= seconds <= _LONGEST:
        fix = f"set VisibilityTimeout to a value from {_SHORTEST} to {_LONGEST}, for example 30"
        if seconds < _SHORTEST:
            return problem(
                "sqs visibility", f"{seconds} s: a message may be redelivered while it is read", fix
            )
        return problem(
            "sqs visibility", f"{seconds} s: an unusable message blocks the others for that long", fix
        )
    return ok("sqs visibility", f"{seconds} s")


def _dead_letters(client: Any, found: Mapping[str, str]) -> CheckResult:  # noqa: ANN401 - boto3's own
    """Check that the dead-letter queue exists, can be read and is empty."""
    policy = orjson.loads(found.get("RedrivePolicy", "{}"))
    arn, most = policy.get("deadLetterTargetArn"), int(policy.get("maxReceiveCount", 0))
    if arn is None or not 1 <= most <= _MOST_RECEIVES:
        fix = "set a RedrivePolicy with a maxReceiveCount such as 5 and a FIFO queue for dead letters"
        state = f"maxReceiveCount is {most}" if arn else "no dead-letter queue"
        return problem("sqs dead letters", f"{state}: an unusable message is redelivered for days", fix)
    _, _, _, _, account, name = arn.split(":")
    try:
        url = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
        attributes = ["ApproximateNumberOfMessages"]
        counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=attributes)["Attributes"]
    except FAULTS as error:
        fix = "create it, or permit this user to read it"
        return problem("sqs dead letters", f"{name}: {type(error).__name__}: {explained(error)}", fix)
    n = int(counts["ApproximateNumberOfMessages"])
    if n:
        fix = "find out where they come from (docs/queue.md), then delete them"
        return problem("sqs dead letters", f"{name}: {show.counted(n, 'message')}", fix)
    return ok("sqs dead letters", f"{name}: empty, used after {most} receives")
