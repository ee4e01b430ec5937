"""The interface of a channel to the on-call."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol

from db.records import Delivery


class SendResult(StrEnum):
    """The result of one attempt to send."""

    DELIVERED = "delivered"  #: the receiver has accepted the message
    RETRY = "retry"  #: the message may be accepted later
    REFUSED = "refused"  #: the message will never be accepted as it is


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The answer to one attempt to send."""

    result: SendResult
    error: str | None = None  #: the error in one line; None if delivered
    retry_after_seconds: float | None = None  #: the wait that the receiver asked for, if any
    reference: str | None = None  #: the receiver's id of the message, to which later messages can reply


class Channel(Protocol):
    """A channel to the on-call; a failure is returned, not raised."""

    pause_seconds: ClassVar[float]  #: pause between two messages that the receiver asks for

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Send one message; a receiver may get it more than once, each time under the same key."""
        ...
