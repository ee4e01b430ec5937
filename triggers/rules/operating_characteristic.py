"""The operating characteristic of a rule on agreement: false alarms and delay at a true agreement.

Every cycle is assumed to be evaluated, and to be a sample of independently drawn requests. The true agreement
is constant or, with a `Dispersion`, varies between cycles about its mean. For `point` and `interval`, a
stratified sample is replaced by the uniform sample of the same precision (Kish's effective size); for
`sequential` it is used as it is, with the same agreement in all strata.

`point` and `interval` are computed: the disagreements of n requests are Binomial(n, 1 - agreement), a cycle
is breached from some count on, and the breaches of the last cycles are the states of a Markov chain. Its
results are averaged over simulated courses of a varying agreement; a rule with too many states is simulated.
`sequential` has no closed form: if a constant agreement is on the right side of the threshold, its guarantee
is given, else a simulation with the detector itself.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from db.records import CyclePoint, Interval
from db.states import CycleStatus
from triggers.rules import breach_chain
from triggers.rules.breach_chain import fired_by, mean_delay
from triggers.rules.dispersion import Dispersion
from triggers.rules.evaluation import evaluate
from triggers.rules.observation import effective_size, is_small_part, strata_of
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

_STREAMS = 400  #: simulated courses
_FEWEST_STREAMS = 16
_NUMBERS = 200_000  #: of a step of the chain, in all courses
_DRAWN_STREAMS = 2_000  #: courses of a rule whose chain has too many states
_UNFINISHED = 1e-3  #: the probability that a rule has not fired from which a mean delay is a lower bound
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)

#: The interval of agreement, from the number of agreeing requests and the number of all requests.
IntervalOf = Callable[[int, int], Interval]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """The probability of a false alarm within CYCLES cycles."""

    probability: float
    error: float = 0.0  #: the standard error; 0 if the probability is computed
    is_most: bool = False  #: the probability is an upper bound


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
    if rule.window > CYCLES:
        return f"its window of {rule.window:,} cycles is longer than the {CYCLES:,} cycles of a forecast"
    return None


def breach_probability(rule: Rule, n: int, agreement: float, interval: IntervalOf) -> float:
    """Return P(a cycle of n requests is breached), from the least count that the rule calls a breach.

    Example:
        >>> from monitor.intervals import wilson
        >>> from triggers.settings import DEFAULT_RULES
        >>> round(breach_probability(DEFAULT_RULES[0], 1_000, 0.96, wilson), 4)
        0.0491
    """
    return float(_breached(rule, n, np.array(agreement), interval))


def false_alarm(
    rule: Rule,
    typical: CyclePoint,
    agreement: float,
    interval: IntervalOf,
    *,
    varying: Dispersion | None = None,
    rng: np.random.Generator,
) -> Alarm:
    """Return P(the rule fires within CYCLES cycles like `typical`) at this mean agreement.

    `varying` is the variation of the true agreement; None: it is constant. `unknown(rule)` must be None, and
    `strata_of(typical)` not empty. Only interval rules use `interval`.

    Example:
        >>> from monitor.intervals import wilson
        >>> from triggers.settings import DEFAULT_RULES
        >>> rng = np.random.default_rng(2025)
        >>> cycle = CyclePoint(window_end=_ANY_TIME, status=CycleStatus.EVALUATED, n=1_000, disagreements=0)
        >>> round(false_alarm(DEFAULT_RULES[0], cycle, 0.96, wilson, rng=rng).probability, 3)
        0.106
        >>> moves = Dispersion(sd=0.006, autocorrelation=0.5, profile=(), n_cycles=500)
        >>> round(false_alarm(DEFAULT_RULES[0], cycle, 0.965, wilson, varying=moves, rng=rng).probability, 1)
        0.3
    """
    is_constant = varying is None or varying.is_constant
    if rule.mode == "sequential" and (is_constant or agreement < float(rule.threshold)):
        guaranteed = min(1.0, CYCLES / rule.alarm_threshold)
        return Alarm(probability=guaranteed if agreement >= float(rule.threshold) else 1.0, is_most=True)
    if rule.mode == "sequential":
        times = _simulated(rule, typical, _courses(rule, varying, agreement, rng), rng)
        return _of_draws(np.isfinite(times))
    courses = _courses(rule, varying, agreement, rng)
    fired = _fired(rule, _breached(rule, _size(typical), courses, interval), rng)[:, -1]
    if breach_chain.n_states(rule) is None:
        return _of_draws(fired > 0)
    return Alarm(probability=float(fired.mean()), error=_standard_error(fired))


def delay(
    rule: Rule,
    typical: CyclePoint,
    agreement: float,
    interval: IntervalOf,
    rng: np.random.Generator,
    *,
    varying: Dispersion | None = None,
) -> Delay:
    """Return the mean number of cycles to an alarm, starting without evidence; arguments as in `false_alarm`.

    For a sequential rule, or if the agreement varies, it is the mean over simulated courses. If it is likely
    that the rule does not fire within CYCLES cycles, or if the agreement is constant and not below the
    threshold of a sequential rule, the mean is a lower bound.

    Example:
        >>> from monitor.intervals import wilson
        >>> from triggers.settings import DEFAULT_RULES
        >>> cycle = CyclePoint(window_end=_ANY_TIME, status=CycleStatus.EVALUATED, n=1_000, disagreements=0)
        >>> round(delay(DEFAULT_RULES[0], cycle, 0.94, wilson, np.random.default_rng(2025)).mean, 2)
        3.72
    """
    is_constant = varying is None or varying.is_constant
    if rule.mode == "sequential":
        if is_constant and agreement >= float(rule.threshold):
            return Delay(mean=rule.alarm_threshold, is_least=True)
        times = _simulated(rule, typical, _courses(rule, varying, agreement, rng), rng)
        spent = np.minimum(times, CYCLES)
        return Delay(
            mean=float(spent.mean()), error=_standard_error(spent), is_least=bool(np.isinf(times).any())
        )
    if is_constant and breach_chain.n_states(rule) is not None:
        breach = breach_probability(rule, _size(typical), agreement, interval)
        return Delay(mean=mean_delay(rule, breach))
    courses = _courses(rule, varying, agreement, rng)
    fired = _fired(rule, _breached(rule, _size(typical), courses, interval), rng)
    spent = 1 + (1 - fired[:, :-1]).sum(axis=1)
    is_least = bool(1 - fired[:, -1].mean() > _UNFINISHED)
    return Delay(mean=float(spent.mean()), error=_standard_error(spent), is_least=is_least)


def _size(typical: CyclePoint) -> int:
    return round(effective_size(strata_of(typical)))


def _breached(rule: Rule, n: int, agreement: Floats, interval: IntervalOf) -> Floats:
    """Return P(a cycle of n requests is breached) at each agreement, in their shape."""

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
    return np.asarray(binom.sf(least - 1, n, 1 - agreement))


def _fired(rule: Rule, breached: Floats, rng: np.random.Generator) -> Floats:
    """Return P(the rule has fired) after each cycle, (courses, CYCLES), from P(the cycle is breached).

    If its chain has too many states, breaches are drawn, and the values are 0 and 1.
    """
    if breach_chain.n_states(rule) is not None:
        return fired_by(rule, breached)
    count = (rng.random(breached.shape) < breached).cumsum(axis=1)
    count[:, rule.window :] -= count[:, : -rule.window].copy()
    return np.maximum.accumulate(count >= rule.for_cycles, axis=1).astype(np.float64)


def _n_courses(rule: Rule, varying: Dispersion | None) -> int:
    n_states = breach_chain.n_states(rule)
    if rule.mode == "sequential":
        return _STREAMS
    if n_states is None:
        return _DRAWN_STREAMS
    if varying is None or varying.is_constant:
        return 1
    return min(max(_NUMBERS // n_states, _FEWEST_STREAMS), _STREAMS)


def _courses(rule: Rule, varying: Dispersion | None, agreement: float, rng: np.random.Generator) -> Floats:
    """Return the true agreement in each cycle of some courses, (courses, CYCLES)."""
    n = _n_courses(rule, varying)
    return np.full((n, CYCLES), agreement) if varying is None else varying.paths(agreement, CYCLES, n, rng)


def _of_draws(fired: NDArray[np.bool_]) -> Alarm:
    """Return the share of the courses that fired; if none did, its upper 95% bound: the rule of three."""
    share = float(fired.mean())
    if share == 0:
        return Alarm(probability=3 / fired.size, is_most=True)
    return Alarm(probability=share, error=math.sqrt(share * (1 - share) / fired.size))


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _simulated(rule: Rule, typical: CyclePoint, courses: Floats, rng: np.random.Generator) -> Floats:
    """Return the number of cycles until the rule fires in each course, (courses,); inf: not in CYCLES."""
    strata, level = strata_of(typical), float(1 - rule.threshold)
    is_boosted = len(strata) == 1 and is_small_part(typical)
    log_wealth = np.tile(start(share_log_increments(strata, level)), (len(courses), 1))
    times, running = np.full(len(courses), np.inf), np.arange(len(courses))
    for cycle in range(1, CYCLES + 1):
        error_rate = 1 - courses[running, cycle - 1]
        log_increments = np.zeros_like(log_wealth)
        for each in strata:
            log_increments += _log_increments(each, level, rng.binomial(each.n, error_rate))
        if is_boosted:
            log_increments += share_boost(log_wealth, strata[0].n, level, rule.alarm_threshold)[:, None]
        log_wealth = add(log_wealth, log_increments)
        fired = statistic(log_wealth) >= math.log(rule.alarm_threshold)
        times[running[fired]] = cycle
        log_wealth, running = log_wealth[~fired], running[~fired]
        if not running.size:
            break
    return times


def _log_increments(stratum: Stratum, level: float, errors: NDArray[np.int64]) -> Floats:
    """Return (streams, bets) log increments of a stratum's sample, given the errors in each stream."""
    counts, of = np.unique(errors, return_inverse=True)
    table = [
        share_log_increments([Stratum(weight=stratum.weight, n=stratum.n, errors=int(k))], level)
        for k in counts
    ]
    return np.array(table)[of]
