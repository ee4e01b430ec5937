"""A usable request of the log, or the reason why a record is refused."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from db.states import RejectReason


class Request(NamedTuple):
    """A usable record: a user's text and time and, if logged, the student's answer and the true label.

    It is a named tuple because one is created per line, and a frozen dataclass takes four times as long.
    """

    id: str
    time: datetime
    text: str
    student_label: str | None = None
    student_logits: tuple[float, ...] | None = None
    label: str | None = None  #: the true label, which the models may not know


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The reason why a record cannot be used, and its time if that is usable."""

    reason: RejectReason
    time: datetime | None = None
