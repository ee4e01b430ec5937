"""Incidents as messages of an Amazon SNS topic.

Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from db.records import Delivery
from triggers.alert_settings import SnsAlert
from triggers.aws import FAULTS, explained, is_transient, new_client
from triggers.channels.keys import fitting
from triggers.channels.port import Receipt, SendResult
from triggers.channels.text import IncidentView, printable, shortened, view_of, written

_SUBJECT_LENGTH: Final = 99  #: "less than 100"
_MESSAGE_LENGTH: Final = 60_000  #: keeps a message below 256 KiB, whatever its characters
_KEY_LENGTH: Final = 128
_ERROR_LENGTH: Final = 300


@dataclass(frozen=True, kw_only=True)
class SnsChannel:
    """A channel to an SNS topic; only a FIFO topic drops a message that it has seen in the last 5 minutes."""

    pause_seconds: ClassVar[float] = 0.0

    settings: SnsAlert

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Publish the message: throttling, 5xx and faults on the way can be retried, all else is refused."""
        del now
        message = view_of(delivery.payload)
        keys = fifo_keys(delivery) if self.settings.is_fifo else {}
        try:
            self._client.publish(TopicArn=self.settings.topic, **publication(message), **keys)
        except FAULTS as error:
            # All others are of this process's environment: once corrected, the message is still wanted.
            is_of_message = isinstance(error, ClientError | ParamValidationError)
            may_pass = not is_of_message or is_transient(error)
            return Receipt(result=SendResult.RETRY if may_pass else SendResult.REFUSED, error=_line(error))
        return Receipt(result=SendResult.DELIVERED)

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
        """A client with its own session: the default one is not safe for several threads."""
        config = Config(
            connect_timeout=self.settings.timeout_seconds,
            read_timeout=self.settings.timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": 1},  # the outbox retries
            user_agent_extra="redistill",
        )
        return new_client("sns", config, session=boto3.Session(), region=self.settings.region)


def publication(message: IncidentView) -> dict[str, Any]:
    """Return the message as a subject, a body, and attributes for the filters of subscriptions."""
    attributes = {
        "kind": message.kind,
        "severity": message.severity,
        "event": message.event,
        "monitor": message.monitor,
    }
    return {
        "Subject": subject(message),
        "Message": shortened(written(message), _MESSAGE_LENGTH),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value or "-"} for name, value in attributes.items()
        },
    }


def subject(message: IncidentView) -> str:
    """Return the title in ASCII, in at most 99 characters."""
    plain = message.title.encode("ascii", errors="replace").decode()
    return shortened(plain, _SUBJECT_LENGTH).replace("…", "~")


def fifo_keys(delivery: Delivery) -> dict[str, str]:
    """Return the keys that keep an incident's messages in order and drop repeated ones."""
    return {
        "MessageGroupId": fitting(delivery.dedup_key, _KEY_LENGTH),
        "MessageDeduplicationId": fitting(delivery.key, _KEY_LENGTH),
    }


def _line(error: Exception) -> str:
    return shortened(printable(f"{type(error).__name__}: {explained(error)}"), _ERROR_LENGTH)
