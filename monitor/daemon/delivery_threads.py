"""The threads that deliver messages: one per channel, so that a slow channel delays no other."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """The channels of a daemon, and how it finds those that have something to send."""

    channels: Mapping[str, Deliver]  #: by the channel's name
    due: Callable[[datetime], Collection[str]]  #: the channels with a message that is due


class DeliveryThreads:
    """One thread per channel, which sends its messages, and one that looks every `pause` which have any."""

    def __init__(self, deliveries: Deliveries, *, pause: timedelta, clock: Clock, outage: Outage) -> None:
        self._deliveries = deliveries
        self._stop = threading.Event()
        self._until = 0.0
        self._pause = pause
        self._clock = clock
        self._outage = outage
        self._look = threading.Event()
        self._due = {name: threading.Event() for name in deliveries.channels}
        self._threads = {
            name: threading.Thread(target=self._run, args=(name, work), name=f"delivery {name}", daemon=True)
            for name, work in deliveries.channels.items()
        }
        self._looker = threading.Thread(target=self._look_for_messages, name="deliveries", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        for thread in (*self._threads.values(), self._looker):
            thread.start()

    def look_now(self) -> None:
        """Look for messages without waiting for the pause: this process has written some."""
        self._look.set()

    def ask_to_stop(self) -> None:
        """Ask the threads to stop, and start their timeout; do not wait."""
        if not self._stop.is_set():
            self._until = monotonic() + STOP_TIMEOUT_SECONDS
        self._stop.set()
        for event in (self._look, *self._due.values()):
            event.set()

    def stop(self) -> None:
        """Ask the threads to stop after the current message, and wait for them until their timeout."""
        self.ask_to_stop()
        for channel, thread in self._threads.items():
            thread.join(max(0.0, self._until - monotonic()))
            if thread.is_alive():
                structlog.get_logger().warning("left hanging", channel=channel)
        self._looker.join(max(0.0, self._until - monotonic()))

    def _look_for_messages(self) -> None:
        failures = Failures()
        while not self._stop.is_set():
            self._look.clear()
            failures.attempt("messages", partial(self._outage.attempt, "messages", self._wake_threads))
            self._look.wait(self._pause.total_seconds())

    def _wake_threads(self) -> None:
        for name in self._deliveries.due(self._clock()):
            self._due[name].set()

    def _run(self, channel: str, deliver: Deliver) -> None:
        failures, name = Failures(), f"outbox of {channel}"
        work = partial(deliver, self._clock, self._stop)
        while not self._stop.is_set():
            self._due[channel].wait()
            if self._stop.is_set():
                return
            self._due[channel].clear()
            failures.attempt("outbox", partial(self._outage.attempt, name, work), channel=channel)
