"""The number of epochs for the rows that a re-distillation trains on."""

import math
from typing import Final

from distill.settings import RedistillSection
from distill.training.dataset import HELD_OUT_SHARE

#: For a few thousand rows, the 5 epochs of the design are too few steps for a student to learn new labels. On
#: CLINC150, agreement on the condemned sample was 0.948 after 295 steps and 0.978 after 650, with the same
#: rows and seed.
LEAST_STEPS: Final = 600
MOST_EPOCHS: Final = 30

_BREACHED_WINDOWS: Final = 3  #: windows whose samples a job trains on, by the default rule


def epochs_for(n_labelled: int, n_window: int) -> int:
    """Return the epochs that give a job at least LEAST_STEPS steps: at least the default (5), at most 30.

    Args:
        n_labelled: labelled rows to train on.
        n_window: requests that a cycle samples. Beside the labelled rows, a job trains on the part of three
            samples that is not held out.

    Example:
        >>> [epochs_for(44_000, 1_944), epochs_for(4_000, 1_500), epochs_for(600, 1_500), epochs_for(0, 0)]
        [5, 6, 11, 5]
    """
    least = RedistillSection().epochs
    rows = n_labelled + _BREACHED_WINDOWS * (1 - HELD_OUT_SHARE) * n_window
    if not rows:
        return least
    needed = math.ceil(LEAST_STEPS * RedistillSection().batch_size / rows)
    return min(max(needed, least), MOST_EPOCHS)
