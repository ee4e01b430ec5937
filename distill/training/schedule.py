"""The schedule of a training."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The length, batches, learning rate and seed of a training."""

    epochs: int  #: passes over all rows, 1 or more
    batch_size: int  #: rows per step, 1 or more
    learning_rate: float  #: the highest, between warm-up and decay
    seed: int  #: for the order of the rows and the dropout
