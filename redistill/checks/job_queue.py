"""Whether workers can be called by the queue that the configuration names, and what lies in it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from db import queue
from db.connection.session import reading
from db.records import Job
from db.states import JobStatus
from redistill.checks.result import CheckResult, bad, good
from redistill.configuration.settings import Settings
from redistill.database import existing, telling
from redistill.display.worker_state import worker_of
from triggers.aws import FAULTS
from triggers.transports import sqs

#: Seconds for which a message that nobody can use stays hidden before it comes again.
_SHORTEST, _LONGEST = 10, 900
#: How often a message may come before it is put aside.
_MOST_RECEIVES: Final = 20


def open_job(settings: Settings) -> Iterator[CheckResult]:
    """The order that waits or runs; one that nobody takes is a problem."""
    with existing(settings) as engine, telling(engine), reading(engine) as connection:
        job = queue.open_job(connection, settings.monitor.name)
        worker = worker_of(connection, job.job_id, job.status) if job else None
    yield _job(job, worker, starts=settings.ecs is not None)


def _job(job: Job | None, worker: str | None, *, starts: bool) -> CheckResult:
    if job is None:
        return good("queue", "no open job")
    mend = "see that `redistill monitor` runs" if starts else "start `redistill worker`, if none runs"
    if worker == "starting":
        return good("queue", f"job {job.job_id} waits, its worker starts")
    if worker == "not_started":
        return bad("queue", f"job {job.job_id}: {job.error}", f"`redistill jobs show {job.job_id}`; {mend}")
    if job.status is JobStatus.QUEUED:
        return bad("queue", f"job {job.job_id} waits", mend)
    if worker == "gone":
        return bad("queue", f"job {job.job_id} is running, but its worker is gone", mend)
    return good("queue", f"job {job.job_id} is {job.status}")


def sqs_queue(settings: Settings) -> Iterator[CheckResult]:
    """Where `[queue]` names one: it can be reached, is FIFO, and puts aside what nobody can use."""
    url = settings.queue.url
    if url is None:
        return
    client = sqs.client()
    try:
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except FAULTS as error:
        mend = "mend 'url' in [queue], or the region, the credentials or the rights of this user"
        yield bad("sqs", f"{url}: {type(error).__name__}: {' '.join(str(error).split())}", mend)
        return
    yield _fifo(url, found)
    yield _visibility(found)
    yield _dead_letters(client, found)


def _fifo(url: str, found: Mapping[str, str]) -> CheckResult:
    if found.get("FifoQueue") != "true":
        return bad("sqs", f"{url} is no FIFO queue", "make one: its name ends in .fifo")
    waiting = int(found["ApproximateNumberOfMessages"])
    return good("sqs", f"{url}: FIFO, {waiting} {'message waits' if waiting == 1 else 'messages wait'}")


def _visibility(found: Mapping[str, str]) -> CheckResult:
    seconds = int(found["VisibilityTimeout"])
    if not _SHORTEST <= seconds <= _LONGEST:
        mend = f"set VisibilityTimeout from {_SHORTEST} to {_LONGEST}, for example 30"
        return bad("sqs visibility", f"{seconds} s: a message is read in less, and blocks others", mend)
    return good("sqs visibility", f"{seconds} s")


def _dead_letters(client: Any, found: Mapping[str, str]) -> CheckResult:  # noqa: ANN401 - boto3's own
    """The queue that takes what came too often can be looked into, and is empty."""
    policy = orjson.loads(found.get("RedrivePolicy", "{}"))
    arn, most = policy.get("deadLetterTargetArn"), int(policy.get("maxReceiveCount", 0))
    if arn is None or not 1 <= most <= _MOST_RECEIVES:
        mend = "set a RedrivePolicy with a maxReceiveCount such as 5 and a FIFO queue for dead letters"
        said = f"maxReceiveCount is {most}" if arn else "there is none"
        return bad("sqs dead letters", f"{said}: a message that nobody can use comes for days", mend)
    _, _, _, _, account, name = arn.split(":")
    try:
        url = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
        attributes = ["ApproximateNumberOfMessages"]
        counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=attributes)["Attributes"]
    except FAULTS as error:
        mend = "make it, or give this user the right to look into it"
        return bad("sqs dead letters", f"{name}: {type(error).__name__}: {error}", mend)
    lying = int(counts["ApproximateNumberOfMessages"])
    if lying:
        mend = "look where they come from (docs/queue.md), then delete them"
        return bad("sqs dead letters", f"{name}: {lying} lie there", mend)
    return good("sqs dead letters", f"{name}: empty, after {most} receives")
