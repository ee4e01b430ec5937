"""Streams of requests with a known rate of disagreement, the same for every detector."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CYCLE: Final = 1_000  #: requests per cycle
BLOCK: Final = 250  #: streams that are drawn together from one seed
HEALTHY: Final = 0.026  #: the usual rate of disagreement: an agreement of .974

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Path:
    """A course of the rate of disagreement: healthy cycles, then those that a detector is tested on."""

    name: str
    calm: int = 0  #: cycles at the usual rate
    cycles: int  #: cycles after the calm ones
    rate: float = HEALTHY  #: the rate of disagreement in those cycles
    spread: float = 0.0  #: the standard deviation of the rate between them

    def errors(self, *, seed: int, block: int) -> Iterator[Bools]:
        """Yield for each cycle which requests are disagreements, (CYCLE, BLOCK)."""
        rng = np.random.default_rng([seed, block])
        for number in range(self.calm + self.cycles):
            rate = np.full(BLOCK, HEALTHY if number < self.calm else self.rate)
            if number >= self.calm and self.spread:
                rate = np.clip(rng.normal(self.rate, self.spread, BLOCK), 0.0, 1.0)
            yield rng.random((CYCLE, BLOCK)) < rate
