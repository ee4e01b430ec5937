"""Calls the workers to a job, once its row is committed. The mark in the row is set after the call.

So a crash in between calls twice, none is lost, and nobody is called to a job that was never committed.
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
    """Of one monitor, which has one open job at a time. A restart forgets how often in a row it failed."""

    engine: Engine
    monitor: str
    transport: JobTransport
    rng: np.random.Generator
    clock: Callable[[], float] = monotonic
    _failures: int = field(default=0, init=False)
    _waits_until: float = field(default=0.0, init=False)  #: by `clock`

    def call_due(self, now: datetime) -> int:
        """Call the workers to the job that wants one, if nobody has; how many jobs that was, 0 or 1.

        After a failure it waits as the outbox does: a random time that grows, at most 15 minutes.
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
