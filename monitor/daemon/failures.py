"""The unforeseen failures of ticks: equal ones are logged in single lines, at growing pauses."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog

from db.errors import one_line

LONGEST_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class _Failed:
    error: str
    times: int  #: in a row, with the same error
    until: float  #: a time on the clock
    pause_seconds: float


class Failures:
    """The failures of the ticks of one process, by the name of the tick.

    After a failure the next tick tries again; then there are pauses of 1, 2, 4, … 60 s. The first of equal
    failures is logged with its traceback, the others with their number.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, _Failed] = {}

    def attempt(self, name: str, work: Callable[[], object], **context: str) -> None:
        """Do the work of the tick `name`, unless it pauses; log a failure with the `context`."""
        before = self._failed.get(name)
        if before is not None and self._clock() < before.until:
            return
        log = structlog.get_logger().bind(tick=name, **context)
        try:
            work()
        except Exception as error:
            self._failed[name] = failed = self._after(before, f"{type(error).__name__}: {one_line(error)}")
            if failed.times == 1:
                log.exception("tick failed", again_in_seconds=failed.pause_seconds)
            else:
                again = failed.pause_seconds
                log.error(  # noqa: TRY400 - its traceback was logged before
                    "tick failed", error=failed.error, times=failed.times, again_in_seconds=again
                )
        else:
            if self._failed.pop(name, None) is not None:
                log.info("tick succeeded again")

    def _after(self, before: _Failed | None, error: str) -> _Failed:
        times = before.times + 1 if before is not None and before.error == error else 1
        pause = 0.0 if before is None else min(max(1.0, 2 * before.pause_seconds), LONGEST_PAUSE_SECONDS)
        return _Failed(error=error, times=times, until=self._clock() + pause, pause_seconds=pause)
