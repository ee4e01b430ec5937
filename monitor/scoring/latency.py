"""The latency of a model for single requests, alone and compared with another model."""

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from db.records import Interval
from monitor.intervals import percentile_interval
from monitor.scoring.batches import answer, batched
from monitor.scoring.models import Model
from monitor.scoring.placement import ON_CPU, Placement
from monitor.stop import Stopped, StoppedError

Floats = NDArray[np.float64]

_PERCENTILE = 0.95
_MEDIAN = 0.5
_CONFIDENCE = 0.95
_WARM_UP_RUNS = 10
_RESAMPLES = 2_000
_NOTHING: Final = Interval(estimate=np.nan, low=np.nan, high=np.nan)


@dataclass(frozen=True, kw_only=True)
class LatencyPair:
    """The P95 latencies of two models that were timed alternately."""

    candidate: Interval  #: milliseconds
    incumbent: Interval  #: milliseconds
    ratio: Interval  #: of the two P95s, candidate / incumbent; above 1 the candidate is slower
    median_ratio: Interval  #: the median over the pairs of the ratio of one pair


def latency_p95_ms(model: Model, texts: Sequence[str], *, runs: int) -> Interval:
    """Return the 95th percentile of the time from a text to its logits, one text at a time, in milliseconds.

    The texts are used in turn, for `runs` runs after 10 warm-up runs. The bounds are order statistics: for
    independent runs the true percentile is between them with a probability of at least 95%, whatever the
    distribution of the times. With fewer than 72 runs there is no such upper bound, and the longest time is
    used instead. NaN without texts or runs.

    Source: Hahn, Meeker 1991, "Statistical Intervals", section 5.2.
    """
    if not texts or runs < 1:
        return _NOTHING
    turns = cycle(texts)
    for text in islice(turns, _WARM_UP_RUNS):
        _timed_ms(model, text)
    return _p95([_timed_ms(model, text) for text in islice(turns, runs)])


def latency_pair(
    candidate: Model,
    incumbent: Model,
    texts: Sequence[str],
    *,
    pairs: int,
    rng: np.random.Generator,
    stopped: Stopped,
) -> LatencyPair:
    """Time two models on the same texts, one right after the other, and compare their P95.

    Both models score each text before the next text, and alternate in going first, so that other load on the
    machine slows both. There are `pairs` pairs after 10 warm-up pairs. The intervals in milliseconds are
    those of `latency_p95_ms`, the intervals of the ratios those of `compare_times`. All are NaN without texts
    or pairs.

    Raises:
        StoppedError: `stopped`, which is checked before each pair, returned True.
    """
    if not texts or pairs < 1:
        return LatencyPair(candidate=_NOTHING, incumbent=_NOTHING, ratio=_NOTHING, median_ratio=_NOTHING)
    times = paired_times(candidate, incumbent, texts, pairs=pairs, stopped=stopped)
    return compare_times(times[:, 0], times[:, 1], rng=rng)


def paired_times(
    first: Model, second: Model, texts: Sequence[str], *, pairs: int, stopped: Stopped
) -> Floats:
    """Return the times of two models, (pairs, 2) in milliseconds, taken as for `latency_pair`.

    Needs a text. Raises StoppedError as there.
    """
    turns = _in_turn(first, second, texts, stopped)
    return np.array(list(islice(turns, _WARM_UP_RUNS + pairs)))[_WARM_UP_RUNS:]


def compare_times(candidate: Floats, incumbent: Floats, *, rng: np.random.Generator) -> LatencyPair:
    """Compare the times, (n,) milliseconds each, of two models on the same n texts.

    The interval of the ratio of the two P95s is a percentile bootstrap over the pairs, with 2,000 resamples;
    the interval of the median ratio is from order statistics. The two are sensitive to different noise: if
    about one time in twenty is long by chance, the P95 of each model may or may not be one of them while the
    median is stable; if every other time is long, the reverse holds. Needs n >= 1.

    Example:
        >>> times = np.linspace(1.0, 2.0, 300)
        >>> found = compare_times(3 * times, times, rng=np.random.default_rng(7))
        >>> found.ratio.estimate, found.median_ratio.low
        (3.0, 3.0)
    """
    drawn = rng.integers(candidate.size, size=(_RESAMPLES, candidate.size))
    ratio = float(_percentile(candidate) / _percentile(incumbent))
    ratios = _percentile(candidate[drawn]) / _percentile(incumbent[drawn])
    return LatencyPair(
        candidate=_p95(candidate.tolist()),
        incumbent=_p95(incumbent.tolist()),
        ratio=percentile_interval(ratio, ratios),
        median_ratio=_order_statistics((candidate / incumbent).tolist(), _MEDIAN),
    )


def processor(placement: Placement) -> str:
    """Return the processor and the number of threads, as in 'AMD EPYC 7B13, 2 threads'.

    For a model on a GPU, or in bfloat16, they follow its placement: 'cuda (NVIDIA A10G), float32, AMD …'.
    """
    threads = torch.get_num_threads()
    found = f"{_processor_name()}, {threads} thread{'' if threads == 1 else 's'}"
    return found if placement == ON_CPU else f"{placement.name}, {found}"


def _processor_name() -> str:
    """Return the model name from /proc/cpuinfo on Linux, elsewhere that of `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _in_turn(
    candidate: Model, incumbent: Model, texts: Sequence[str], stopped: Stopped
) -> Iterator[tuple[float, float]]:
    """Yield the times of both models in milliseconds, text by text, endlessly."""
    for number, text in enumerate(cycle(texts)):
        if stopped():
            raise StoppedError
        if number % 2:
            second = _timed_ms(incumbent, text)
            yield _timed_ms(candidate, text), second
        else:
            yield _timed_ms(candidate, text), _timed_ms(incumbent, text)


def _p95(times: Sequence[float]) -> Interval:
    return _order_statistics(times, _PERCENTILE)


def _order_statistics(values: Sequence[float], quantile: float) -> Interval:
    """Return a quantile of the values; the ranks of the bounds are quantiles of Binomial(n, quantile)."""
    n, ordered = len(values), sorted(values)
    beyond = (1 - _CONFIDENCE) / 2
    low, high = (int(stats.binom.ppf(level, n, quantile)) for level in (beyond, 1 - beyond))
    return Interval(
        estimate=ordered[math.ceil(quantile * n) - 1],
        low=ordered[max(low, 1) - 1],
        high=ordered[min(high + 1, n) - 1],
    )


def _percentile(times: Floats) -> Floats:
    """Return the order statistic that estimates the P95 of the last axis."""
    rank = math.ceil(_PERCENTILE * times.shape[-1]) - 1
    return np.asarray(np.partition(times, rank, axis=-1)[..., rank])


def _timed_ms(model: Model, text: str) -> float:
    """Return the time until the logits are in the memory of the host, for which a GPU has to be done."""
    start = perf_counter()
    for batch in batched(model, [text], model.max_length):
        answer(model, batch)
    return (perf_counter() - start) * 1_000
