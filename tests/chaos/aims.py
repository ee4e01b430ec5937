"""When processes are killed: moments that are drawn for as long as one asks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.killer import Aim, Mark, Moment


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A moment, the longest random delay after it, and what is waited for then."""

    share: float
    moment: Moment
    longest_seconds: float
    mark: Mark | None = None

    @property
    def name(self) -> str:
        return self.moment if self.mark is None else f"{self.moment}, then {self.mark}"


def of_daemons(cycle_seconds: float) -> tuple[Kind, ...]:
    return (
        Kind(share=0.1, moment=Moment.START, longest_seconds=0.6),
        Kind(share=0.2, moment=Moment.CYCLE, longest_seconds=1.2 * cycle_seconds),
        Kind(share=0.4, moment=Moment.VERDICT, longest_seconds=0, mark=Mark.TRANSACTION),
        Kind(share=0.1, moment=Moment.START, longest_seconds=1.5, mark=Mark.TRANSACTION),
        Kind(share=0.2, moment=Moment.START, longest_seconds=0.5, mark=Mark.SENDING),
    )


def of_workers(cycle_seconds: float) -> tuple[Kind, ...]:
    return (
        Kind(share=0.1, moment=Moment.START, longest_seconds=0.6),
        Kind(share=0.2, moment=Moment.JOB, longest_seconds=6 * cycle_seconds),
        Kind(share=0.1, moment=Moment.JOB, longest_seconds=0, mark=Mark.TRANSACTION),
        Kind(share=0.15, moment=Moment.STAGED, longest_seconds=3 * cycle_seconds),
        Kind(share=0.15, moment=Moment.ADDED, longest_seconds=0, mark=Mark.TRANSACTION),
        Kind(share=0.2, moment=Moment.ADDED, longest_seconds=0, mark=Mark.UNLINKED),
        Kind(share=0.1, moment=Moment.START, longest_seconds=1.5, mark=Mark.TRANSACTION),
    )


def drawn(kinds: Sequence[Kind], rng: np.random.Generator) -> Iterator[Aim]:
    """Without end."""
    while True:
        kind = kinds[int(rng.choice(len(kinds), p=[each.share for each in kinds]))]
        delay = float(rng.uniform(0, kind.longest_seconds))
        yield Aim(moment=kind.moment, delay_seconds=delay, mark=kind.mark)
