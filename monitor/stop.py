"""The request to stop long-running work early."""

from collections.abc import Callable

from db.errors import RedistillError

#: True once the process has been asked to stop; checked between units of work.
Stopped = Callable[[], bool]


class StoppedError(RedistillError):
    """Stopped on request; nothing was written."""


def never_stopped() -> bool:
    """Return False, for work that cannot be asked to stop."""
    return False
