"""The threads that deliver messages: one per channel, so that a slow channel delays no other."""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Final

import structlog

from db.connection.outage import Outage
from monitor.daemon.failures import Failures

Clock = Callable[[], datetime]
#: Sends the messages that are due for one channel; reads the time from the first argument, and returns early
#: when the second is set.
Deliver = Callable[[Clock, threading.Event], object]

#: The time that all threads together have to end. A thread that hangs for longer ends with the process: its
#: message is not marked as sent, and the next process sends it again.
STOP_TIMEOUT_SECONDS: Final = 3.0


class DeliveryThreads:
    """One thread per channel, which sends the messages that are due every `tick`."""

    def __init__(
        self, deliver: Mapping[str, Deliver], *, tick: timedelta, clock: Clock, outage: Outage
    ) -> None:
        self._stop = threading.Event()
        self._until = 0.0
        self._tick = tick
        self._clock = clock
        self._outage = outage
        self._threads = {
            name: threading.Thread(target=self._run, args=(name, work), name=f"delivery {name}", daemon=True)
            for name, work in deliver.items()
        }

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads.values():
            thread.start()

    def ask_to_stop(self) -> None:
        """Ask the threads to stop, and start their timeout; do not wait."""
        if not self._stop.is_set():
            self._until = monotonic() + STOP_TIMEOUT_SECONDS
        self._stop.set()

    def stop(self) -> None:
        """Ask the threads to stop after the current message, and wait for them until their timeout."""
        self.ask_to_stop()
        for channel, thread in self._threads.items():
            thread.join(max(0.0, self._until - monotonic()))
            if thread.is_alive():
                structlog.get_logger().warning("left hanging", channel=channel)

    def _run(self, channel: str, deliver: Deliver) -> None:
        failures, name = Failures(), f"outbox of {channel}"
        work = partial(deliver, self._clock, self._stop)
        while not self._stop.is_set():
            failures.attempt("outbox", partial(self._outage.attempt, name, work), channel=channel)
            self._stop.wait(self._tick.total_seconds())
