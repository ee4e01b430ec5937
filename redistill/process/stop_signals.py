"""Stopping a process on SIGINT and SIGTERM, within a time limit."""

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
    """Yield an event that SIGINT (Ctrl-C) or SIGTERM sets; a second Ctrl-C kills the process.

    A process that still runs `within_seconds` after the signal, in the block or after it, exits then, because
    something hangs; the next process redoes what is not committed.

    Only for the main thread. The previous handlers are restored at the end of the block.
    """
    stop, asked = threading.Event(), SimpleQueue[bool]()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.put(item=True)  # not stop.set(): the main thread may hold its lock at this moment
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    threading.Thread(target=_stop_when, args=(asked, stop, within_seconds), name="stop", daemon=True).start()
    before = {number: signal.signal(number, ask) for number in _ASKING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.put(item=False)


def _stop_when(asked: SimpleQueue[bool], stop: threading.Event, within_seconds: float | None) -> None:
    if not asked.get():
        return
    stop.set()
    if within_seconds is not None:
        time.sleep(within_seconds)
        structlog.get_logger().warning("left hanging", after_seconds=within_seconds)
        leave()


def leave() -> NoReturn:
    """Exit with 0 without waiting for hanging threads, nor for torch, whose teardown can take seconds."""
    with suppress(OSError):  # a full disk or a closed pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
