"""How a process is asked to stop, and that it does."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

import structlog

_ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(*, within_seconds: float | None = None) -> Iterator[threading.Event]:
    """An event that SIGINT (Ctrl-C) or SIGTERM sets; a second Ctrl-C ends the process at once.

    A process that still runs `within_seconds` after it was asked ends then, be it in the block or after it:
    something hangs, and what is not committed by then is left to the next process.

    Only for the main thread. The handlers of before are put back at the end of the block.
    """
    stop, asked = threading.Event(), SimpleQueue[bool]()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.put(item=True)  # not stop.set(): the main thread may be about to wait, and hold its lock
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    threading.Thread(target=_obey, args=(asked, stop, within_seconds), name="stop", daemon=True).start()
    before = {number: signal.signal(number, ask) for number in _ASKING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.put(item=False)


def _obey(asked: SimpleQueue[bool], stop: threading.Event, within_seconds: float | None) -> None:
    if not asked.get():
        return
    stop.set()
    if within_seconds is not None:
        time.sleep(within_seconds)
        structlog.get_logger().warning("left hanging", after_seconds=within_seconds)
        leave()


def leave() -> NoReturn:
    """End the process, with 0: it waits for no thread that hangs, nor until torch is taken down, which takes
    seconds on a busy machine.
    """
    with suppress(OSError):  # what they lead to may be full, or gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
