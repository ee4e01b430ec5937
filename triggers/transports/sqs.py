"""The transport by messages in an SQS FIFO queue.

A message is only a wake-up call. It is deleted once the row of its job was read, before the job is claimed:
the row has the work, and a worker that dies in between loses only the call, because workers also read the
database every minute. So no message stays hidden while a job runs for hours, no heartbeat has to keep it
hidden, and the attempts of a job that kills its workers are counted once, in its row.
"""

from dataclasses import dataclass
from functools import cached_property
from threading import Event
from typing import Any, Final

import structlog
from botocore.config import Config
from sqlalchemy import Engine

from db import queue
from db.connection.session import reading
from db.queue import NoSuchJobError
from db.records import Job
from db.states import MessageFate
from triggers.aws import FAULTS, explained, new_client
from triggers.transports.job_message import SETTLED, Row, classify, message_of
from triggers.transports.port import TransportError

#: The length of a long poll: short enough for a worker that is asked to stop.
POLL_SECONDS = 3
#: The number of polls without a call after which a worker reads the database.
POLLS_PER_SWEEP = 20
_BATCH: Final = 10
_CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 1},  # the callers retry at their own pace
    connect_timeout=3,
    read_timeout=POLL_SECONDS + 5,
    user_agent_extra="redistill",
)

_log = structlog.get_logger()


def client() -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
    """Return a client. Raises BotoCoreError: see `new_client`."""
    return new_client("sqs", _CONFIG)


@dataclass(frozen=True, kw_only=True)
class SqsTransport:
    """The queue of one monitor."""

    engine: Engine
    monitor: str
    url: str

    def call(self, job: Job, archive: str | None) -> None:
        """Send the job's message; SQS drops a second message about the same job for five minutes.

        Raises:
            TransportError: SQS did not accept the message, or its answer was lost.
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
        """Return after a message about a job that wants a worker, or after `POLLS_PER_SWEEP` polls.

        While the queue does not answer, return after each poll.
        """
        for _ in range(POLLS_PER_SWEEP):
            if stop.is_set() or self._is_to_look(stop):
                return

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
        return client()

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
        """Log the fate of the message, and delete the message if it is settled."""
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
        except FAULTS as error:  # it is redelivered, and does nothing then
            _log.warning("message not deleted", url=self.url, error=_one_line(error))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {explained(error)}"
