"""What every way to call a worker to a job does."""

from threading import Event
from typing import Protocol

from db.errors import RedistillError
from db.records import Job


class TransportError(RedistillError):
    """The queue {url} cannot be used ({cause}): `redistill doctor` says what is wrong with it. Jobs are
    found in the database meanwhile.
    """


class JobTransport(Protocol):
    """How a worker hears that a job waits.

    The job's row is the truth. A call may be late, doubled or lost, and none carries a job: whoever is
    called looks into the database, and so does, now and then, who is not.
    """

    def call(self, job: Job, archive: str | None) -> None:
        """Call the workers to a job that is committed; `archive` is where its cycle's sample lies.

        Raises:
            TransportError: nobody was called, as far as one can tell.
        """
        ...

    def wait(self, stop: Event) -> None:
        """Return when a job may wait: after a call, or after a while without one, or when `stop` is set."""
        ...
