"""Workers that look into the database every few seconds."""

from dataclasses import dataclass
from threading import Event

from db.records import Job

POLL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class SqlTransport:
    """The row itself is the call: who waits looks again after `POLL_SECONDS`."""

    def call(self, job: Job, archive: str | None) -> None:
        """Nothing is left to do: the workers see the row."""
        del job, archive

    def wait(self, stop: Event) -> None:
        """Return after `POLL_SECONDS`, or at once when `stop` is set."""
        stop.wait(POLL_SECONDS)
