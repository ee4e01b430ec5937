"""Is an event more frequent in one group of texts than in another? Exact p-values, and many of them at once.

Sources: Fisher 1935, "The logic of inductive inference" (the test); Rao, Scott 1984, "On chi-squared tests
for multiway contingency tables with cell proportions estimated from survey data" (weights by effective
counts); Fay, Feuer 1997, "Confidence intervals for directly standardized rates" (the effective number of
events); Benjamini, Yekutieli 2001, "The control of the false discovery rate in multiple testing under
dependency".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Numbers = NDArray[np.float64]

_ROUNDING = 1e-6  #: counts of this distance from a whole number are whole
_NEGLIGIBLE = 1e-17


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """The weights of the texts with and without an event, in each of several groups, (groups,)."""

    events: Numbers  #: sum of the weights of texts with the event
    events_squared: Numbers  #: sum of their squares
    others: Numbers  #: sum of the weights of the other texts
    others_squared: Numbers

    def minus(self, part: "Weighed") -> "Weighed":
        """Return the weights of the texts that are not in `part` of these groups."""
        rest = {
            name: np.maximum(getattr(self, name) - getattr(part, name), 0.0)
            for name in ("events", "events_squared", "others", "others_squared")
        }
        return Weighed(**rest)

    def effective(self) -> tuple[Numbers, Numbers]:
        """Return the events and the texts of an unweighted group of the same precision.

        With equal weights they are the counts. Otherwise the precision is that of the outcome, event or none,
        whose texts are fewer in effect: (Σ w)² / Σ w² over its texts, divided by its share.
        """
        total = self.events + self.others
        with np.errstate(divide="ignore", invalid="ignore"):
            of_events = np.where(self.events > 0, self.events / self.events_squared, np.inf)
            of_others = np.where(self.others > 0, self.others / self.others_squared, np.inf)
            n = np.where(total > 0, total * np.minimum(of_events, of_others), 0.0)
            return np.where(total > 0, n * self.events / total, 0.0), n


def more_frequent(one: Weighed, other: Weighed) -> Numbers:
    """Return the p-values, (groups,), of the event being more frequent in `one` than in `other`.

    The events among the texts of both are drawn without replacement (hypergeometric), so the test is exact if
    all weights are equal. Effective counts that are not whole are rounded to the larger p-value. If the event
    is not more frequent than expected, p is 1.
    """
    events, n = one.effective()
    events_other, n_other = other.effective()
    events, n = np.floor(events + _ROUNDING), np.ceil(n - _ROUNDING)
    events_other = np.ceil(events_other - _ROUNDING)
    n_other = np.maximum(np.floor(n_other + _ROUNDING), events_other)
    return upper_tail(events, n, events + events_other, n + n_other)


def upper_tail(found: Numbers, n: Numbers, events: Numbers, total: Numbers) -> Numbers:
    """Return P(X >= found) for X the events among n of `total` texts, of which `events` have the event.

    All are whole numbers. Where `found` is not above its expectation, the result is 1 instead.

    Example:
        >>> upper_tail(np.array([3.0]), np.array([5.0]), np.array([4.0]), np.array([20.0])).round(4)
        array([0.032])
    """
    p = np.ones(np.shape(found))
    at = np.flatnonzero(found * total > n * events)
    if not at.size:
        return p
    found, n, events, rest = found[at], n[at], events[at], (total - n)[at]
    log_first = _log_choices(n, found) + _log_choices(rest, events - found) - _log_choices(n + rest, events)
    terms, tail, x = np.ones(at.size), np.ones(at.size), found.copy()
    while (terms > _NEGLIGIBLE * tail).any():
        terms = terms * np.maximum(n - x, 0) * np.maximum(events - x, 0) / ((x + 1) * (rest - events + x + 1))
        tail += terms
        x += 1
    p[at] = np.minimum(np.exp(log_first) * tail, 1.0)
    return p


def _log_choices(n: Numbers, k: Numbers) -> Numbers:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def false_discovery(p_values: Numbers) -> Numbers:
    """Return the q-values by Benjamini and Yekutieli, (n,), whatever the dependence of the p-values.

    Of the hypotheses with q <= a, at most a share a is true, on average.

    Example:
        >>> false_discovery(np.array([0.001, 0.5, 0.02])).round(4).tolist()
        [0.0055, 0.9167, 0.055]
    """
    n = p_values.size
    if not n:
        return p_values
    order = np.argsort(p_values)
    ranks = np.arange(1, n + 1)
    scaled = p_values[order] * n * (1 / ranks).sum() / ranks
    q_values = np.empty(n)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values
