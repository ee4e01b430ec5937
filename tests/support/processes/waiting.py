"""Waits for a condition that a thread, a process or a server will fulfil."""

import time
from collections.abc import Callable


def comes_true(condition: Callable[[], object], *, seconds: float = 10, every: float = 0.02) -> bool:
    """Return whether the condition holds within the time; poll until then."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def wait_until(
    condition: Callable[[], object], what: str, *, timeout: float = 120, every: float = 0.05
) -> None:
    """Poll until the condition holds; fail, naming `what`, if it does not within the time."""
    assert comes_true(condition, seconds=timeout, every=every), f"after {timeout:.0f} s: not {what}"
