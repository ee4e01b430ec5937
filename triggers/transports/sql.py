"""The transport by polling the database."""

from dataclasses import dataclass
from threading import Event

from db.records import Job

POLL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class SqlTransport:
    """A transport in which the row itself is the call: workers poll every `POLL_SECONDS`."""

    def call(self, job: Job, archive: str | None) -> None:
        """Do nothing: the workers see the row."""
        del job, archive

    def wait(self, stop: Event) -> None:
        """Return after `POLL_SECONDS`, or at once when `stop` is set."""
        stop.wait(POLL_SECONDS)
