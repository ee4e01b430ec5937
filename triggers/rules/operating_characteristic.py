"""What a rule on agreement will do while the true agreement stays where it is, before it pages anyone.

Cycles are taken as evaluated, each, and as independent samples of requests that are drawn one by one. A
stratified sample is taken as a uniform one that would be as sure (Kish's effective size), for `point` and
`interval`; for `sequential` as it is, with the same agreement in all strata.

`point` and `interval` are computed: the disagreements of n requests are Binomial(n, 1 - agreement), a cycle
is breached from some count on, and the breaches of the last cycles are the states of a Markov chain. `clear`
and `cooldown` play no part before the first alarm. `sequential` has no such law: of it there is the guarantee
on the right side of the threshold, and on the wrong one a simulation with the detector itself.
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

#: The time for which false alarms are told, and the longest delay that is simulated.
CYCLES: Final = 1_000

_STREAMS = 400
_MOST_STATES = 2**14
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)

#: From how many of how many agree to the interval that a cycle has then.
IntervalOf = Callable[[int, int], Interval]


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Cycles from the beginning of a drift to the one that fires, that one included."""

    mean: float  #: inf where it never fires
    error: float = 0.0  #: the standard error; 0 of what is computed
    is_least: bool = False  #: the mean is as long at least


def unknown(rule: Rule) -> str | None:
    """Why nothing can be said of the rule from the agreement alone; None where it can.

    Example:
        >>> from triggers.settings import DEFAULT_RULES
        >>> [unknown(rule) for rule in DEFAULT_RULES]
        [None, 'how far kl scatters does not follow from its value and the number of requests']
    """
    if rule.conditions:
        return "how its conditions move together is not known"
    if rule.metric != "agreement":
        return f"how far {rule.metric} scatters does not follow from its value and the number of requests"
    if rule.below is None:
        return "it looks for an agreement that is too high"
    if _chain(rule.for_cycles, rule.window) is None:
        return f"{rule.for_cycles} of {rule.window} cycles can lie in too many ways"
    return None


def effective_size(strata: Sequence[Stratum]) -> float:
    """The uniform sample that would be as sure of a share: (Σ w)² / Σ w² over its requests; 0 of none.

    Example:
        >>> effective_size([Stratum(weight=1.5, n=60, errors=0), Stratum(weight=0.25, n=40, errors=0)])
        72.72727272727273
    """
    squares = math.fsum(each.n * each.weight**2 for each in strata)
    return math.fsum(each.n * each.weight for each in strata) ** 2 / squares if squares else 0.0


def breach_probability(rule: Rule, n: int, agreement: float, interval: IntervalOf) -> float:
    """P(a cycle of n requests is breached), by the least count that the rule itself calls a breach.

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
    """P(the rule fires within CYCLES cycles like `typical`); of a sequential rule, at most so much.

    The rule and the cycle are of those that `unknown` and `strata_of` know. `interval` is what the cycle's
    agreement has, and only looked at by interval rules.

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
    """Mean cycles to an alarm, from no evidence on; arguments as of `false_alarm`.

    Of a sequential rule it is the mean of 400 simulated streams. Where some have not fired after CYCLES
    cycles, or the agreement is no drift, it is a lower bound.

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
    """P(the rule fires within so many cycles), if each is breached with that probability.

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
    """Mean cycles until the rule fires, if each is breached with that probability; inf if none is.

    The chain comes back to its start again and again, until once it fires: the mean is the length of such a
    way over the probability that it ends in an alarm. All terms are positive, so that no digits are lost.

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
    """Which of the last cycles were breached, as far as they can still count for an alarm.

    The first state is that none was; after the last one comes that the rule has fired, which stays.
    """

    if_breached: NDArray[np.intp]  #: (states,) the next one's number
    if_not: NDArray[np.intp]

    def start(self) -> Floats:
        """(states + 1,) all of the probability in the first."""
        return np.asarray(np.eye(1, self.if_not.size + 1)[0])

    def step(self, mass: Floats, breach: float) -> Floats:
        """The probabilities after one cycle more."""
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
    """Of a rule that fires when so many of the last `window` cycles are breached; None of too many states."""
    if window > CYCLES:
        return None
    states, number = [0], {0: 0}
    following: list[tuple[int, int]] = []
    for state in states:  # which grows on the way
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
    """The breaches of the last cycles, a bit each, the newest lowest; without those that come to nothing.

    One comes to nothing when it will have left the window before there can be enough.
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
    """(streams, bets) of a stratum's sample with so many errors in each stream."""
    counts, of = np.unique(errors, return_inverse=True)
    table = [
        share_log_increments([Stratum(weight=stratum.weight, n=stratum.n, errors=int(k))], level)
        for k in counts
    ]
    return np.array(table)[of]
