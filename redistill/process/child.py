"""A child process that is restarted when it dies, and stops when its parent dies."""

import subprocess
import sys
from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import Final, Self

import structlog

_log = structlog.get_logger()

_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0
#: The run time after which the wait before a restart is reset.
_SOUND_SECONDS: Final = 60.0
#: The time that a child has to stop, in which a worker saves its training; then it is killed.
PATIENCE_SECONDS: Final = 20.0


class Child:
    """`redistill ARGUMENTS`, restarted when it dies, with a wait that doubles each time.

    If this process dies, the child stops as on SIGTERM: see redistill.process.kept.
    """

    def __init__(self, arguments: Sequence[str], *, descriptors: Sequence[int] = ()) -> None:
        self._command = (sys.executable, "-m", "redistill.process.kept", *arguments)
        self._descriptors = tuple(descriptors)  #: open files that the child inherits under the same numbers
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at = 0.0
        self._wait = _FIRST_WAIT_SECONDS
        self._until = 0.0  #: the time by which it must have stopped; 0: it was not asked to

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, self._until - monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.communicate()

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of a child that has died; None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """Kill the child, which hangs."""
        if self._process is not None:
            self._process.kill()

    def ask_to_stop(self) -> None:
        """Ask the child to stop, without waiting for it: the end of the block does."""
        if self._process is not None and not self._until:
            self._until = monotonic() + PATIENCE_SECONDS
            self._process.terminate()

    def restart_if_due(self) -> None:
        """Record a death of the child, or restart it after its wait; to be called about every second."""
        if self._process is None:
            if monotonic() >= self._restart_at:
                self._start()
        elif self._process.poll() is not None:
            self._process.communicate()
            self._note_death(self._process.returncode)

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            self._command, stdin=subprocess.PIPE, pass_fds=self._descriptors
        )
        self._started_at = monotonic()

    def _note_death(self, code: int) -> None:
        if monotonic() - self._started_at >= _SOUND_SECONDS:
            self._wait = _FIRST_WAIT_SECONDS
        _log.error("child process died", exit_code=code, restart_in_seconds=self._wait)
        self._process = None
        self._restart_at = monotonic() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_SECONDS)
