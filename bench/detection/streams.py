"""Streams of requests whose rate of disagreement is known: the same ones for every detector."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CYCLE: Final = 1_000  #: requests that a cycle draws
BLOCK: Final = 250  #: streams that are drawn together, from one seed
HEALTHY: Final = 0.026  #: the usual rate of disagreement: an agreement of .974

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Path:
    """Healthy cycles, then what a detector is tried on."""

    name: str
    calm: int = 0  #: cycles at the usual rate
    cycles: int  #: that come after them
    rate: float = HEALTHY  #: of disagreement, in those
    spread: float = 0.0  #: its standard deviation between them

    def errors(self, *, seed: int, block: int) -> Iterator[Bools]:
        """Of each cycle, (CYCLE, BLOCK): whether a request of a stream is a disagreement."""
        rng = np.random.default_rng([seed, block])
        for number in range(self.calm + self.cycles):
            rate = np.full(BLOCK, HEALTHY if number < self.calm else self.rate)
            if number >= self.calm and self.spread:
                rate = np.clip(rng.normal(self.rate, self.spread, BLOCK), 0.0, 1.0)
            yield rng.random((CYCLE, BLOCK)) < rate
