"""How a long piece of work is asked to end early."""

from collections.abc import Callable

from db.errors import RedistillError

#: True once the process has been asked to stop; asked between units of work.
Stopped = Callable[[], bool]


class StoppedError(RedistillError):
    """Stopped on request; nothing was written."""


def never_stopped() -> bool:
    """The answer of a process that nobody asks to stop."""
    return False
