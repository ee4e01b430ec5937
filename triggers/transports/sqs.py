"""Workers that are called by messages in an SQS FIFO queue.

A message is a wake-up and nothing more. It is deleted as soon as the row of its job was read, before the job
is taken: the row tells what is to be done, and a worker that dies in between has lost no more than the call,
for workers look into the database every minute anyway. So no message is hidden while a job runs for hours,
none has to be kept hidden by a heartbeat, and a job that kills its workers is counted once, in its row.
"""

from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final

import boto3
import structlog
from botocore.config import Config
from sqlalchemy import Engine

from db import queue
from db.connection.session import reading
from db.errors import one_line
from db.queue import NoSuchJobError
from db.records import Job
from db.states import MessageFate
from triggers.aws import FAULTS
from triggers.transports.job_message import SETTLED, Row, classify, message_of
from triggers.transports.port import TransportError

#: A long poll: short enough for a worker that is asked to stop.
POLL_SECONDS = 3
#: After so many without a call a worker looks into the database.
POLLS_PER_SWEEP = 20
_BATCH: Final = 10
_CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 1},  # who calls it tries again in its own time
    connect_timeout=3,
    read_timeout=POLL_SECONDS + 5,
    user_agent_extra="redistill",
)

_log = structlog.get_logger()


def client() -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
    """A client, with credentials, region and endpoint from the environment, as boto3 finds them."""
    return boto3.client("sqs", config=_CONFIG)


@dataclass(frozen=True, kw_only=True)
class SqsTransport:
    """One monitor's queue."""

    engine: Engine
    monitor: str
    url: str
    _client: Any = field(default_factory=client)

    def call(self, job: Job, archive: str | None) -> None:
        """Send the job's message. SQS drops a second one of the same job for five minutes.

        Raises:
            TransportError: SQS did not accept it, or its answer did not come through.
        """
        try:
            self._client.send_message(
                QueueUrl=self.url,
                MessageBody=message_of(job, archive).body,
                MessageGroupId=job.monitor,
                MessageDeduplicationId=str(job.job_id),
            )
        except FAULTS as error:
            raise TransportError(url=self.url, cause=_one_line(error)) from error

    def wait(self, stop: Event) -> None:
        """Return after a message about a job that wants a worker, or after `POLLS_PER_SWEEP` polls; while the
        queue does not answer, after each.
        """
        for _ in range(POLLS_PER_SWEEP):
            if stop.is_set() or self._is_to_look(stop):
                return

    def _is_to_look(self, stop: Event) -> bool:
        try:
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=_BATCH,
                WaitTimeSeconds=POLL_SECONDS,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        except FAULTS as error:
            _log.warning("queue does not answer", url=self.url, error=_one_line(error))
            stop.wait(POLL_SECONDS)
            return True
        fates = [self._settle(message) for message in answer.get("Messages", ())]
        return MessageFate.WANTED in fates

    def _settle(self, message: Any) -> MessageFate:  # noqa: ANN401 - boto3 does not say
        """Say what the message is about, and delete it if that is settled."""
        fate = classify(message["Body"], monitor=self.monitor, find=self._find)
        log = _log.bind(
            monitor=self.monitor,
            message_id=message["MessageId"],
            received=int(message["Attributes"]["ApproximateReceiveCount"]),
            reason=fate.value,
        )
        if fate is MessageFate.WANTED:
            log.info("called to a job")
        elif fate in SETTLED:
            log.info("message does nothing")
        else:
            log.warning("message does nothing")
        if fate in SETTLED:
            self._delete(message["ReceiptHandle"])
        return fate

    def _find(self, job_id: int) -> Row | None:
        with reading(self.engine) as connection:
            try:
                job = queue.get(connection, job_id)
            except NoSuchJobError:
                return None
            return Row(
                job=job,
                archive=queue.archive_of(connection, job),
                is_abandoned=queue.is_abandoned(connection, job),
            )

    def _delete(self, receipt: str) -> None:
        try:
            self._client.delete_message(QueueUrl=self.url, ReceiptHandle=receipt)
        except FAULTS as error:  # it comes again, and does nothing then
            _log.warning("message not deleted", url=self.url, error=_one_line(error))


def _one_line(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")
