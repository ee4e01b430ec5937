"""A full disk, and a process that dies at a file operation."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Stand in for a full disk: from `size` bytes on, every write to a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def is_killed_at(
    operation: int, events: Collection[str], folder: Path, attempt: Callable[[], object]
) -> bool:
    """Make the attempt in a child that dies at its n-th audit event on the folder; return whether it died.

    An attempt with fewer events ends well.
    """
    child = os.fork()
    if child == 0:
        _die_at(operation, events, folder)
        attempt()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def _die_at(operation: int, events: Collection[str], folder: Path) -> None:
    left = operation

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in events and any(str(folder) in str(argument) for argument in arguments[:2]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
