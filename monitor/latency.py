"""How fast a model answers one request."""

import math
from collections.abc import Sequence
from itertools import cycle, islice
from time import perf_counter

import numpy as np
from scipy import stats

from db.records import Interval
from monitor.models import Model
from monitor.scoring import answer, batched

_PERCENTILE = 0.95
_CONFIDENCE = 0.95
_WARM_UP_RUNS = 10


def latency_p95_ms(model: Model, texts: Sequence[str], *, runs: int) -> Interval:
    """95th percentile of the time from a text to its logits, one text at a time, in milliseconds.

    The texts are taken in turn, `runs` times in all, after 10 runs to warm up. The bounds are order
    statistics: whatever the law of the times, the true percentile lies between them with at least 95%
    probability, for independent runs. With fewer than 72 runs there is no such upper bound, and the
    longest time stands in for it. NaN without texts or runs.

    Source: Hahn, Meeker 1991, "Statistical Intervals", section 5.2.
    """
    if not texts or runs < 1:
        return Interval(estimate=np.nan, low=np.nan, high=np.nan)
    turns = cycle(texts)
    for text in islice(turns, _WARM_UP_RUNS):
        _timed_ms(model, text)
    return _p95([_timed_ms(model, text) for text in islice(turns, runs)])


def _p95(times: Sequence[float]) -> Interval:
    """Order statistics; the ranks of the bounds are quantiles of Binomial(n, 0.95)."""
    n, ordered = len(times), sorted(times)
    beyond = (1 - _CONFIDENCE) / 2
    low, high = (int(stats.binom.ppf(level, n, _PERCENTILE)) for level in (beyond, 1 - beyond))
    return Interval(
        estimate=ordered[math.ceil(_PERCENTILE * n) - 1],
        low=ordered[max(low, 1) - 1],
        high=ordered[min(high + 1, n) - 1],
    )


def _timed_ms(model: Model, text: str) -> float:
    start = perf_counter()
    for batch in batched(model, [text], model.max_length):
        answer(model, batch)
    return (perf_counter() - start) * 1_000
