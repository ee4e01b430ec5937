"""The alarms of a rule on M of the last N cycles, from the probability that each cycle is breached.

The breaches of the last cycles, as far as they can still count, are the states of a Markov chain. `clear` and
`cooldown` play no part before the first alarm.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triggers.rules.sequential import Floats
from triggers.settings import Rule

#: The longest window of a rule, in cycles, and the default number of cycles.
LONGEST: Final = 1_000
_MOST_STATES: Final = 2**14


def n_states(rule: Rule) -> int | None:
    """Return the number of patterns of breaches in the rule's window before it fires; None: too many."""
    chain = _chain(rule.for_cycles, rule.window)
    return None if chain is None else chain.if_not.size


def alarm_within(rule: Rule, breach: float, cycles: int = LONGEST) -> float:
    """Return P(the rule fires within `cycles`) if each cycle is breached with probability `breach`.

    Example:
        >>> from triggers.settings import DEFAULT_RULES
        >>> round(alarm_within(DEFAULT_RULES[0], 0.5, cycles=3), 4)
        0.125
    """
    return float(fired_by(rule, np.full((1, cycles), breach))[0, -1])


def fired_by(rule: Rule, breach: Floats) -> Floats:
    """Return P(the rule has fired) after each cycle of n histories, (n, cycles), each from its start.

    `breach` is (n, cycles): the probability that the cycle is breached, independently of the others.

    Example:
        >>> from triggers.settings import DEFAULT_RULES
        >>> fired_by(DEFAULT_RULES[0], np.array([[0.5, 0.5, 0.5, 0.5], [1, 1, 1, 0]]))
        array([[0.    , 0.    , 0.125 , 0.1875],
               [0.    , 0.    , 1.    , 1.    ]])
    """
    chain, fired = _chain_of(rule), np.empty(breach.shape)
    mass = chain.start(len(breach))
    for cycle in range(breach.shape[1]):
        mass = chain.step(mass, breach[:, cycle])
        fired[:, cycle] = mass[:, -1]
    return np.minimum(fired, 1.0)


def mean_delay(rule: Rule, breach: float) -> float:
    """Return the mean number of cycles until the rule fires; inf if `breach` is 0.

    `breach` is the probability that a cycle is breached. The chain returns to its start until it fires: the
    mean is the expected length of one excursion over the probability that the excursion ends in an alarm. All
    terms are positive, so no digits are lost.

    Example:
        >>> from triggers.settings import DEFAULT_RULES
        >>> mean_delay(DEFAULT_RULES[0], 0.5)
        14.0
    """
    chain, always = _chain_of(rule), np.array([breach])
    mass, length, fired, under_way = chain.start(1), 0.0, 0.0, 1.0
    while under_way > np.finfo(float).eps * fired:
        length += under_way
        mass = chain.step(mass, always)
        fired += float(mass[0, -1])
        mass[0, 0] = mass[0, -1] = 0.0
        under_way = float(mass.sum())
    return length / fired if fired else math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chain:
    """The Markov chain of the breaches among the last cycles, as far as they can still count for an alarm.

    In the first state no cycle was breached. The absorbing state, in which the rule has fired, is the last.
    """

    if_breached: NDArray[np.intp]  #: (states,) the number of the next state
    if_not: NDArray[np.intp]  #: (states,) the same if the cycle is not breached

    def start(self, n: int) -> Floats:
        """Return (n, states + 1) probabilities, all in the first state."""
        return np.tile(np.eye(1, self.if_not.size + 1), (n, 1))

    def step(self, mass: Floats, breach: Floats) -> Floats:
        """Return the (n, states + 1) probabilities after one more cycle; `breach` is (n,)."""
        inside, (n, size) = mass[:, :-1], mass.shape
        first = np.arange(n)[:, None] * size
        breached, not_breached = inside * breach[:, None], inside * (1 - breach[:, None])
        after = np.bincount((first + self.if_breached).ravel(), breached.ravel(), n * size)
        after = after + np.bincount((first + self.if_not).ravel(), not_breached.ravel(), n * size)
        moved = np.asarray(after.reshape(n, size), dtype=np.float64)
        moved[:, -1] += mass[:, -1]
        return moved


def _chain_of(rule: Rule) -> _Chain:
    chain = _chain(rule.for_cycles, rule.window)
    if chain is None:
        patterns = f"{rule.for_cycles} of {rule.window} cycles have too many patterns to compute"
        raise ValueError(f"rule {rule.name!r}: {patterns}")
    return chain


@lru_cache(maxsize=64)
def _chain(wanted: int, window: int) -> _Chain | None:
    """Return the chain of `wanted` breaches in `window` cycles; None if it has too many states."""
    if window > LONGEST:
        return None
    states, number = [0], {0: 0}
    following: list[tuple[int, int]] = []
    for state in states:  # the list grows during the loop
        pair = []
        for breached in (True, False):
            if breached and state.bit_count() + 1 >= wanted:
                pair.append(-1)
                continue
            after = _that_count((state << 1) | breached, wanted, window)
            if after not in number:
                number[after] = len(states)
                states.append(after)
            pair.append(number[after])
        following.append((pair[0], pair[1]))
        if len(states) > _MOST_STATES:
            return None
    table = np.array(following)
    table[table < 0] = len(states)
    return _Chain(if_breached=table[:, 0], if_not=table[:, 1])


def _that_count(recent: int, wanted: int, window: int) -> int:
    """Return the breaches that can still count: one bit per cycle, the newest lowest.

    A breach is dropped if it leaves the window before there can be `wanted` of them.
    """
    kept = found = 0
    while recent:
        newest = recent & -recent
        found += 1
        if wanted - found > window - newest.bit_length():
            break
        kept |= newest
        recent ^= newest
    return kept
