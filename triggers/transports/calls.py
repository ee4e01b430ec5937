"""The calls of workers to a job: made after its row is committed, and marked in the row afterwards.

So no call is lost, a crash in between makes a second one, and no call is about a job that was rolled back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

import numpy as np
import structlog
from sqlalchemy import Engine

from db import queue
from db.connection.session import reading, writing
from triggers.backoff import next_delay
from triggers.transports.port import JobTransport, TransportError

_log = structlog.get_logger()


@dataclass(kw_only=True)
class JobCalls:
    """The calls for one monitor, which has one open job at a time; a restart resets the backoff."""

    engine: Engine
    monitor: str
    transport: JobTransport
    rng: np.random.Generator
    clock: Callable[[], float] = monotonic
    _failures: int = field(default=0, init=False)
    _waits_until: float = field(default=0.0, init=False)  #: seconds by `clock`

    def call_due(self, now: datetime) -> int:
        """Call the workers to the queued job without a call yet, and return the number of calls, 0 or 1.

        After a failure, the wait is random and grows to at most 15 minutes, as in the outbox.
        """
        if self._failures and self.clock() < self._waits_until:
            return 0
        with reading(self.engine) as connection:
            job = queue.unannounced(connection, self.monitor)
            archive = queue.archive_of(connection, job) if job else None
        if job is None:
            return 0
        log = _log.bind(monitor=self.monitor, job_id=job.job_id)
        try:
            self.transport.call(job, archive)
        except TransportError as error:
            self._failures += 1
            delay = next_delay(self._failures, self.rng)
            self._waits_until = self.clock() + delay.total_seconds()
            log.warning("workers not called", error=str(error), seconds=delay.total_seconds())
            return 0
        with writing(self.engine) as connection:
            queue.mark_announced(connection, job, now)
        self._failures = 0
        log.info("workers called")
        return 1
