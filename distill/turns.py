"""Turns: of the workers in one process, only one computes at a time, in the order in which they asked."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Final

from monitor.stop import Stopped, StoppedError

_POLL_SECONDS: Final = 0.2


class Turns:
    """The queue of those who wait; its head has the turn."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._queue: deque[object] = deque()

    def take(self, who: object, stopped: Stopped) -> None:
        """Wait until it is the turn of `who`.

        Raises:
            StoppedError: `stopped` returned True before.
        """
        with self._changed:
            self._queue.append(who)
            while self._queue[0] is not who:
                self._changed.wait(_POLL_SECONDS)
                if stopped():
                    self._queue.remove(who)
                    raise StoppedError

    def give(self, who: object) -> None:
        """End the turn of `who`, unless it has ended."""
        with self._changed:
            if who in self._queue:
                self._queue.remove(who)
                self._changed.notify_all()


class Turn:
    """The turn of one worker; `begin` is called whenever it begins."""

    def __init__(self, turns: Turns, begin: Callable[[], object]) -> None:
        self._turns = turns
        self._begin = begin

    @contextmanager
    def taken(self, stopped: Stopped) -> Iterator[None]:
        """Hold the turn during the block, or until `give` within it. Errors as for `Turns.take`."""
        self._turns.take(self, stopped)
        try:
            self._begin()
            yield
        finally:
            self.give()

    def give(self) -> None:
        """End the turn early: what follows does not compute."""
        self._turns.give(self)


def always() -> Turn:
    """Return the turn of a worker that is alone in its process."""
    return Turn(Turns(), lambda: None)
