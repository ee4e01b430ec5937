"""The interface of a transport of job messages."""

from threading import Event
from typing import Protocol

from db.errors import RedistillError
from db.records import Job


class TransportError(RedistillError):
    """The queue {url} cannot be used ({cause}): run `redistill doctor` for the details. Workers find jobs in
    the database meanwhile.
    """


class JobTransport(Protocol):
    """A transport by which workers learn that a job is queued.

    The job's row is authoritative. A call can be late, doubled or lost, and does not carry the job: a worker
    reads the database after a call, and at intervals without one.
    """

    def call(self, job: Job, archive: str | None) -> None:
        """Notify the workers of a committed job; `archive` has the sample of its cycle.

        Raises:
            TransportError: the call failed, or its result is unknown.
        """
        ...

    def wait(self, stop: Event) -> None:
        """Return after a call, after some time without one, or when `stop` is set."""
        ...
