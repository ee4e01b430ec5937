"""When processes are killed: moments that are drawn for as long as one asks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.support.processes.killer import Aim, Mark, Moment


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A moment, the longest random delay after it, and what is waited for then."""

    cards: int = 1  #: so many are in the deck
    moment: Moment
    longest_seconds: float = 0.0
    mark: Mark | None = None


def of_daemons(cycle_seconds: float) -> tuple[Kind, ...]:
    return (
        Kind(moment=Moment.START, longest_seconds=0.6),
        Kind(cards=2, moment=Moment.CYCLE, longest_seconds=1.2 * cycle_seconds),
        Kind(cards=4, moment=Moment.VERDICT, mark=Mark.TRANSACTION),
        Kind(moment=Moment.START, longest_seconds=1.5, mark=Mark.TRANSACTION),
        Kind(cards=2, moment=Moment.START, longest_seconds=0.5, mark=Mark.SENDING),
    )


def of_workers(cycle_seconds: float) -> tuple[Kind, ...]:
    return (
        Kind(moment=Moment.START, longest_seconds=0.6),
        Kind(moment=Moment.START, longest_seconds=1.5, mark=Mark.TRANSACTION),
        Kind(cards=5, moment=Moment.JOB, longest_seconds=2 * cycle_seconds, mark=Mark.TRAINING),
        Kind(cards=2, moment=Moment.STAGED, longest_seconds=cycle_seconds),
        Kind(moment=Moment.ADDED),
        Kind(moment=Moment.ADDED, mark=Mark.TRANSACTION),
        Kind(moment=Moment.ADDED, mark=Mark.UNLINKED),
    )


def drawn(kinds: Sequence[Kind], rng: np.random.Generator) -> Iterator[Aim]:
    """Without end, deck after deck: within one, each kind comes as often as it has cards."""
    deck = [kind for kind in kinds for _ in range(kind.cards)]
    while True:
        for number in rng.permutation(len(deck)):
            kind = deck[number]
            delay = float(rng.uniform(0, kind.longest_seconds))
            yield Aim(moment=kind.moment, delay_seconds=delay, mark=kind.mark)
