"""`python -m redistill.process.kept ARGUMENTS`: `redistill`, which stops when its parent has died.

Its standard input is a pipe that the parent holds open and never writes to. The pipe ends with the parent, in
whatever way the parent dies and whichever of its threads started this process.
"""

import os
import signal
import threading

from redistill.__main__ import main

_STANDARD_INPUT = 0


def _stop_with_parent() -> None:
    while os.read(_STANDARD_INPUT, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_with_parent, name="parent", daemon=True).start()
    main()
