"""The first module that the server of `fork` loads: from then on it collects no garbage.

Otherwise it would look through all modules again and again while they load. Its processes collect their own.
"""

import gc
import os

gc.disable()


def _collect_again() -> None:
    gc.freeze()
    gc.enable()


os.register_at_fork(after_in_child=_collect_again)
