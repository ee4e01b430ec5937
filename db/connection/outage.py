"""What a process does while its database is away: it asks again, less and less often, and says so each time.

Nothing is lost meanwhile: slots are due by the ledger, messages wait in the outbox, and leases run out.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from db.connection.unavailable import AWAY, DatabaseUnreachableError
from db.errors import RedistillError

T = TypeVar("T")

FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.1
_EVERYBODY: Final = ""

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Wait:
    since: float  #: by the clock
    until: float
    seconds: float


class Outage:
    """What the threads of a process know together of a database that is away.

    One that cannot be reached is asked by one of them, after 1, 2, 4, … 30 s. One that refuses what one
    thread asks, as when its disk is full, is asked by the others as before.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waits: dict[str, _Wait] = {}

    def turn(self, name: str, work: Callable[[], T]) -> T | None:
        """Do the work of the thread of that name; None if the database is away, and at once while it is
        not to be asked yet.
        """
        if self._waits_for(name):
            return None
        try:
            result = work()
        except AWAY as error:
            self._begin(name, error)
            return None
        self._end(name)
        return result

    def insist(self, name: str, work: Callable[[], T], stopped: Callable[[], bool]) -> T:
        """Do the work again and again until the database has taken it.

        The work is one transaction. It may have been committed although its answer was lost, so it must see
        for itself whether it is done.

        Raises:
            DatabaseUnreachableError, DatabaseUnusableError: it is still away, and `stopped` said so.
        """
        while True:
            try:
                result = work()
            except AWAY as error:
                self._begin(name, error)
                while self._waits_for(name) and not stopped():
                    time.sleep(_LOOK_SECONDS)
                if stopped():
                    raise
            else:
                self._end(name)
                return result

    def _waits_for(self, name: str) -> bool:
        now = self._clock()
        with self._lock:
            return any(now < wait.until for key, wait in self._waits.items() if key in {_EVERYBODY, name})

    def _begin(self, name: str, error: RedistillError) -> None:
        now, key = self._clock(), _EVERYBODY if isinstance(error, DatabaseUnreachableError) else name
        with self._lock:
            before = self._waits.get(key)
            if before and now < before.until:
                return  # another thread has found it out, and told it
            seconds = min(2 * before.seconds, LONGEST_WAIT_SECONDS) if before else FIRST_WAIT_SECONDS
            since = before.since if before else now
            self._waits[key] = _Wait(since=since, until=now + seconds, seconds=seconds)
        _log.warning("database away", error=str(error), again_in_seconds=seconds, tick=name)

    def _end(self, name: str) -> None:
        with self._lock:
            over = [self._waits.pop(key) for key in (_EVERYBODY, name) if key in self._waits]
        if over:
            after = self._clock() - min(wait.since for wait in over)
            _log.info("database back", after_seconds=round(after, 1), tick=name)
