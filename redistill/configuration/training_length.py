"""The number of epochs that suits the rows a re-distillation finds."""

import math
from typing import Final

from distill.settings import RedistillSection
from distill.training.dataset import HELD_OUT_SHARE

#: A student that learns labels it was never taught needs more steps than the 5 epochs of the design give
#: a few thousand rows. On CLINC150 one agreed with its teacher on 0.948 of the sample that condemned the
#: one before it after 295 steps, and on 0.978 after 650, with the same rows and seed.
LEAST_STEPS: Final = 600
MOST_EPOCHS: Final = 30

_BREACHED_WINDOWS: Final = 3  #: whose samples a job has, by the default rule


def epochs_for(n_labelled: int, n_window: int) -> int:
    """Return the epochs in which a job takes at least LEAST_STEPS steps: the default (5) or more, at most 30.

    Args:
        n_labelled: labelled rows to train on.
        n_window: requests that a cycle samples; a job trains on the part of three samples that is not held
            out, beside the labelled rows.

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
