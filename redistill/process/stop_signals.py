"""Stopping a process on SIGINT and SIGTERM, within a time limit."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

from redistill.process.garbage import collector_paused

#: The exit code of a command that was stopped before its end.
INTERRUPTED: Final = 130
_ASKING: Final = (signal.SIGINT, signal.SIGTERM)
_PIPE_BYTES: Final = 512
_STANDARD_ERROR: Final = 2


@contextmanager
def stop_on_signals(*, within_seconds: float | None = None, exit_code: int = 0) -> Iterator[threading.Event]:
    """Yield an event that SIGINT (Ctrl-C) or SIGTERM sets; a second Ctrl-C kills the process.

    A process that still runs `within_seconds` after the signal, in the block or after it, exits then with
    `exit_code`, because something hangs; the next process redoes what is not committed.

    Only for the main thread. The previous handlers are restored at the end of the block.
    """
    stop = threading.Event()
    # Through a pipe, the signal reaches the thread even while the main thread hangs in a library.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _let_second_kill) for number in _ASKING}
    limit = (within_seconds, exit_code)
    threading.Thread(target=_stop_when, args=(reader, stop, *limit), name="stop", daemon=True).start()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier)
        os.close(writer)
        if stop.is_set():
            os.close(reader)


@contextmanager
def leave_on_signals() -> Iterator[None]:
    """Exit with 0 at once on a signal in the block, which loads libraries while nothing is under way."""
    before = {number: signal.signal(number, lambda *_: leave()) for number in _ASKING}
    try:
        with collector_paused():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_at_once() -> None:
    """Let Ctrl-C end the process at once: while libraries are loaded, nothing is under way.

    An exception would be lost in some parts of an import. A process that ignores Ctrl-C continues to do so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


def interrupt_by_exception() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def loading() -> Iterator[None]:
    """Let Ctrl-C end the process at once in the block, which loads libraries."""
    interrupt_at_once()
    try:
        with collector_paused():
            yield
    finally:
        interrupt_by_exception()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, whose steps belong together; a second one has its effect."""
    before = signal.getsignal(signal.SIGINT)
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(_STANDARD_ERROR, b"redistill: interrupted\n")
    leave(INTERRUPTED)


def _let_second_kill(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stop_when(reader: int, stop: threading.Event, within_seconds: float | None, exit_code: int) -> None:
    received = b""
    while not set(received) & set(_ASKING):
        received = os.read(reader, _PIPE_BYTES)
        if not received:  # the block has ended
            os.close(reader)
            return
    stop.set()  # the pipe stays open: another signal writes to it
    if within_seconds is not None:
        time.sleep(within_seconds)
        import structlog  # noqa: PLC0415 - the handlers are set before anything that takes long to load

        structlog.get_logger().warning("left hanging", after_seconds=within_seconds)
        leave(exit_code)


def leave(exit_code: int = 0) -> NoReturn:
    """Exit without waiting for hanging threads, nor for torch, whose teardown can take seconds."""
    with suppress(OSError):  # a full disk or a closed pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)
