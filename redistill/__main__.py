"""`redistill`, also `python -m redistill`: the process, from its first line on."""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line, which SIGTERM and Ctrl-C end at once until a command handles them itself.

    The handlers come before all other imports, because the first process of a container has no default
    action: the kernel discards a signal that it does not handle.
    """
    signal.signal(signal.SIGTERM, _die)
    from redistill.process.stop_signals import interrupt_at_once  # noqa: PLC0415 - after the handler

    interrupt_at_once()
    from redistill.cli import main as run  # noqa: PLC0415 - after the handlers

    run()


def _die(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # reached only by the first process of a container


if __name__ == "__main__":
    main()
