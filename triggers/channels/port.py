"""What every channel to the on-call does."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol

from db.records import Delivery


class SendResult(StrEnum):
    """What became of one sending."""

    DELIVERED = "delivered"  #: the receiver has accepted the message
    RETRY = "retry"  #: it may be accepted later
    REFUSED = "refused"  #: it will never be accepted as it is


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The answer to one sending."""

    result: SendResult
    error: str | None = None  #: what went wrong, in one line; None when delivered
    retry_after_seconds: float | None = None  #: how long the receiver asked us to wait, if it did
    reference: str | None = None  #: what the receiver calls the message, where later ones can answer it


class Channel(Protocol):
    """A way to the on-call. A failure is an answer, not an exception."""

    pause_seconds: ClassVar[float]  #: between two messages, where the receiver wants one

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Send one message. A receiver may get it more than once, each time under the same key."""
        ...
