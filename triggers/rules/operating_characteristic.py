"""The operating characteristic of a rule on agreement: false alarms and delay at a constant true agreement.

Every cycle is assumed to be evaluated, and to be an independent sample of independently drawn requests. For
`point` and `interval`, a stratified sample is replaced by the uniform sample of the same precision (Kish's
effective size); for `sequential` it is used as it is, with the same agreement in all strata.

`point` and `interval` are computed: the disagreements of n requests are Binomial(n, 1 - agreement), a cycle
is breached from some count on, and the breaches of the last cycles are the states of a Markov chain. `clear`
and `cooldown` play no part before the first alarm. `sequential` has no closed form: on the right side of the
threshold its guarantee is given, on the wrong side a simulation with the detector itself.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from db.records import CyclePoint, Interval
from db.states import CycleStatus
from triggers.rules.evaluation import evaluate
from triggers.rules.observation import is_small_part, strata_of
from triggers.rules.sequential import (
    Floats,
    Stratum,
    add,
    share_boost,
    share_log_increments,
    start,
    statistic,
)
from triggers.settings import Rule

#: The number of cycles to which false alarms refer, and the longest simulated delay.
CYCLES: Final = 1_000

_STREAMS = 400
_MOST_STATES = 2**14
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)

#: The interval of agreement, from the number of agreeing requests and the number of all requests.
IntervalOf = Callable[[int, int], Interval]


@dataclass(frozen=True, kw_only=True)
class Delay:
    """The number of cycles from the start of a drift up to and including the one that fires."""

    mean: float  #: inf if the rule never fires
    error: float = 0.0  #: the standard error; 0 if the mean is computed
    is_least: bool = False  #: the mean is a lower bound


def unknown(rule: Rule) -> str | None:
    """Return why the rule cannot be forecast from the agreement alone; None if it can.

    Example:
        >>> from triggers.settings import DEFAULT_RULES
        >>> [unknown(rule) for rule in DEFAULT_RULES]
        [None, 'the spread of kl does not follow from its value and the number of requests']
    """
    if rule.conditions:
        return "the dependence between its conditions is not known"
    if rule.metric != "agreement":
        return f"the spread of {rule.metric} does not follow from its value and the number of requests"
    if rule.below is None:
        return "it fires on an agreement that is too high"
    if _chain(rule.for_cycles, rule.window) is None:
        return f"{rule.for_cycles} of {rule.window} cycles have too many patterns to compute"
    return None


def effective_size(strata: Sequence[Stratum]) -> float:
    """Return the size of the uniform sample with the same precision: (Σ w)² / Σ w²; 0 for no requests.

    Example:
        >>> effective_size([Stratum(weight=1.5, n=60, errors=0), Stratum(weight=0.25, n=40, errors=0)])
        72.72727272727273
    """
    squares = math.fsum(each.n * each.weight**2 for each in strata)
    return math.fsum(each.n * each.weight for each in strata) ** 2 / squares if squares else 0.0


def breach_probability(rule: Rule, n: int, agreement: float, interval: IntervalOf) -> float:
    """Return P(a cycle of n requests is breached), from the least count that the rule calls a breach.

    Example:
        >>> from monitor.intervals import wilson
        >>> from triggers.settings import DEFAULT_RULES
        >>> round(breach_probability(DEFAULT_RULES[0], 1_000, 0.96, wilson), 4)
        0.0491
    """

    def is_breached(disagreements: int) -> bool:
        point = CyclePoint(
            window_end=_ANY_TIME,
            status=CycleStatus.EVALUATED,
            n=n,
            disagreements=disagreements,
            intervals={"agreement": interval(n - disagreements, n)},
        )
        return evaluate(rule, [point]).breached

    least = bisect_left(range(n + 1), x=True, key=is_breached)
    return float(binom.sf(least - 1, n, 1 - agreement))


def false_alarm(rule: Rule, typical: CyclePoint, agreement: float, interval: IntervalOf) -> float:
    """Return P(the rule fires within CYCLES cycles like `typical`); an upper bound for a sequential rule.

    `unknown(rule)` must be None, and `strata_of(typical)` not empty. Only interval rules use `interval`.

    Example:
        >>> from monitor.intervals import wilson
        >>> from triggers.settings import DEFAULT_RULES
        >>> cycle = CyclePoint(window_end=_ANY_TIME, status=CycleStatus.EVALUATED, n=1_000, disagreements=0)
        >>> round(false_alarm(DEFAULT_RULES[0], cycle, 0.96, wilson), 3)
        0.106
    """
    if rule.mode == "sequential":
        return min(1.0, CYCLES / rule.alarm_threshold) if agreement >= float(rule.threshold) else 1.0
    n = round(effective_size(strata_of(typical)))
    return alarm_within(rule, breach_probability(rule, n, agreement, interval))


def delay(
    rule: Rule, typical: CyclePoint, agreement: float, interval: IntervalOf, rng: np.random.Generator
) -> Delay:
    """Return the mean number of cycles to an alarm, starting without evidence; arguments as in `false_alarm`.

    For a sequential rule it is the mean of 400 simulated streams. If some have not fired after CYCLES cycles,
    or the agreement is not below the threshold, the mean is a lower bound.

    Example:
        >>> from monitor.intervals import wilson
        >>> from triggers.settings import DEFAULT_RULES
        >>> cycle = CyclePoint(window_end=_ANY_TIME, status=CycleStatus.EVALUATED, n=1_000, disagreements=0)
        >>> round(delay(DEFAULT_RULES[0], cycle, 0.94, wilson, np.random.default_rng(2025)).mean, 2)
        3.72
    """
    if rule.mode == "sequential":
        if agreement >= float(rule.threshold):
            return Delay(mean=rule.alarm_threshold, is_least=True)
        return _simulated(rule, typical, agreement, rng)
    n = round(effective_size(strata_of(typical)))
    return Delay(mean=mean_delay(rule, breach_probability(rule, n, agreement, interval)))


def alarm_within(rule: Rule, breach: float, cycles: int = CYCLES) -> float:
    """Return P(the rule fires within `cycles`) if each cycle is breached with probability `breach`.

    Example:
        >>> from triggers.settings import DEFAULT_RULES
        >>> round(alarm_within(DEFAULT_RULES[0], 0.5, cycles=3), 4)
        0.125
    """
    chain = _chain_of(rule)
    mass = chain.start()
    for _ in range(cycles):
        mass = chain.step(mass, breach)
    return min(1.0, float(mass[-1]))


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
    chain = _chain_of(rule)
    mass, length, fired, under_way = chain.start(), 0.0, 0.0, 1.0
    while under_way > np.finfo(float).eps * fired:
        length += under_way
        mass = chain.step(mass, breach)
        fired += float(mass[-1])
        mass[0] = mass[-1] = 0.0
        under_way = float(mass.sum())
    return length / fired if fired else math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chain:
    """The Markov chain of the breaches among the last cycles, as far as they can still count for an alarm.

    In the first state no cycle was breached. The absorbing state, in which the rule has fired, is the last.
    """

    if_breached: NDArray[np.intp]  #: (states,) the number of the next state
    if_not: NDArray[np.intp]  #: (states,) the same if the cycle is not breached

    def start(self) -> Floats:
        """Return (states + 1,) probabilities, all in the first state."""
        return np.asarray(np.eye(1, self.if_not.size + 1)[0])

    def step(self, mass: Floats, breach: float) -> Floats:
        """Return the (states + 1,) probabilities after one more cycle."""
        inside, size = mass[:-1], mass.size
        if_breached = np.bincount(self.if_breached, inside * breach, size)
        after = np.asarray(if_breached + np.bincount(self.if_not, inside * (1 - breach), size))
        after[-1] += mass[-1]
        return after


def _chain_of(rule: Rule) -> _Chain:
    chain = _chain(rule.for_cycles, rule.window)
    if chain is None:
        raise ValueError(f"rule {rule.name!r}: {unknown(rule)}")
    return chain


@lru_cache(maxsize=64)
def _chain(wanted: int, window: int) -> _Chain | None:
    """Return the chain of `wanted` breaches in `window` cycles; None if it has too many states."""
    if window > CYCLES:
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


def _simulated(rule: Rule, typical: CyclePoint, agreement: float, rng: np.random.Generator) -> Delay:
    strata, level = strata_of(typical), float(1 - rule.threshold)
    is_boosted = len(strata) == 1 and is_small_part(typical)
    log_wealth = np.tile(start(share_log_increments(strata, level)), (_STREAMS, 1))
    delays: list[int] = []
    for cycle in range(1, CYCLES + 1):
        log_increments = np.zeros_like(log_wealth)
        for each in strata:
            log_increments += _log_increments(
                each, level, rng.binomial(each.n, 1 - agreement, size=len(log_wealth))
            )
        if is_boosted:
            log_increments += share_boost(log_wealth, strata[0].n, level, rule.alarm_threshold)[:, None]
        log_wealth = add(log_wealth, log_increments)
        fired = statistic(log_wealth) >= math.log(rule.alarm_threshold)
        delays += [cycle] * int(fired.sum())
        log_wealth = log_wealth[~fired]
        if not log_wealth.size:
            break
    all_delays = np.array(delays + [CYCLES] * len(log_wealth))
    error = float(all_delays.std(ddof=1)) / math.sqrt(_STREAMS)
    return Delay(mean=float(all_delays.mean()), error=error, is_least=bool(log_wealth.size))


def _log_increments(stratum: Stratum, level: float, errors: NDArray[np.int64]) -> Floats:
    """Return (streams, bets) log increments of a stratum's sample, given the errors in each stream."""
    counts, of = np.unique(errors, return_inverse=True)
    table = [
        share_log_increments([Stratum(weight=stratum.weight, n=stratum.n, errors=int(k))], level)
        for k in counts
    ]
    return np.array(table)[of]
