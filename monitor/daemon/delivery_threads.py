"""Who takes the messages to the channels: each channel has one, so a slow one holds up only itself."""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Final

import structlog

from db.connection.outage import Outage

Clock = Callable[[], datetime]
#: Sends what is due for one channel; asks the first argument for the time, and ends when the second is set.
Deliver = Callable[[Clock, threading.Event], object]

#: How long all of them may take to end. What hangs for longer ends with the process: its message has not been
#: marked, and is sent again by the next one.
STOP_TIMEOUT_SECONDS: Final = 3.0


class DeliveryThreads:
    """A thread for each channel, which looks every `tick` whether a message is due."""

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
        """Begin to look."""
        for thread in self._threads.values():
            thread.start()

    def ask_to_stop(self) -> None:
        """Without waiting for it: their time begins to run."""
        if not self._stop.is_set():
            self._until = monotonic() + STOP_TIMEOUT_SECONDS
        self._stop.set()

    def stop(self) -> None:
        """Ask all to end after the message under way, and wait a little for it."""
        self.ask_to_stop()
        for channel, thread in self._threads.items():
            thread.join(max(0.0, self._until - monotonic()))
            if thread.is_alive():
                structlog.get_logger().warning("left hanging", channel=channel)

    def _run(self, channel: str, deliver: Deliver) -> None:
        while not self._stop.is_set():
            try:
                self._outage.turn(f"outbox of {channel}", partial(deliver, self._clock, self._stop))
            except Exception:  # noqa: BLE001 - the top of the thread: the next tick tries again
                structlog.get_logger().exception("tick failed", tick="outbox", channel=channel)
            self._stop.wait(self._tick.total_seconds())
