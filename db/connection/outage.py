"""Retries of a process's work while its database is unavailable, with growing pauses, each of them logged.

Nothing is lost meanwhile: slots are due by the ledger, messages wait in the outbox, and leases expire.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from db.connection.unavailable import UNAVAILABLE, DatabaseUnreachableError
from db.errors import RedistillError

T = TypeVar("T")

FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_ALL_THREADS: Final = ""

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Wait:
    since: float  #: a time on the clock, as is `until`
    until: float
    seconds: float


class Outage:
    """The outage of a database, shared by the threads of a process.

    If the database is unreachable, one of the threads tries it again after 1, 2, 4, … 30 s. If it refuses the
    work of one thread, for instance because its disk is full, the other threads continue as before.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waits: dict[str, _Wait] = {}

    def attempt(self, name: str, work: Callable[[], T]) -> T | None:
        """Do the work of the thread `name` and return its result, or None if the database is unavailable.

        None is returned at once until the next attempt is due.
        """
        if self._waits_for(name):
            return None
        try:
            result = work()
        except UNAVAILABLE as error:
            self._begin(name, error)
            return None
        self._end(name)
        return result

    def retry(self, name: str, work: Callable[[], T], stopped: Callable[[], bool]) -> T:
        """Retry the work until the database has accepted it, and return its result.

        The work is one transaction. It may have been committed although the database's answer was lost, so
        the work itself must check whether it is done.

        Raises:
            DatabaseUnreachableError, DatabaseUnusableError: still unavailable when `stopped` is true.
        """
        while True:
            try:
                result = work()
            except UNAVAILABLE as error:
                self._begin(name, error)
                while self._waits_for(name) and not stopped():
                    time.sleep(_POLL_SECONDS)
                if stopped():
                    raise
            else:
                self._end(name)
                return result

    def _waits_for(self, name: str) -> bool:
        now = self._clock()
        with self._lock:
            return any(now < wait.until for key, wait in self._waits.items() if key in {_ALL_THREADS, name})

    def _begin(self, name: str, error: RedistillError) -> None:
        now, key = self._clock(), _ALL_THREADS if isinstance(error, DatabaseUnreachableError) else name
        with self._lock:
            before = self._waits.get(key)
            if before and now < before.until:
                return  # another thread has found and logged this
            seconds = min(2 * before.seconds, LONGEST_WAIT_SECONDS) if before else FIRST_WAIT_SECONDS
            since = before.since if before else now
            self._waits[key] = _Wait(since=since, until=now + seconds, seconds=seconds)
        _log.warning("database away", error=str(error), again_in_seconds=seconds, tick=name)

    def _end(self, name: str) -> None:
        with self._lock:
            over = [self._waits.pop(key) for key in (_ALL_THREADS, name) if key in self._waits]
        if over:
            after = self._clock() - min(wait.since for wait in over)
            _log.info("database back", after_seconds=round(after, 1), tick=name)
