"""The garbage collector while libraries load."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no garbage in the block, which loads libraries, nor ever look through what it has loaded.

    Otherwise the collector looks through all modules several times while torch loads and twice at the exit,
    which takes a third of the processor time of a short command.
    """
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
