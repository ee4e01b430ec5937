"""95% intervals of five metrics of a labelled evaluation, compared with those of scipy.stats.bootstrap.

The metrics are accuracy, macro-F1, rare-class accuracy, ECE and the mean KL; both draw 10,000 resamples for
each. The statistics for scipy are vectorised: rows are counted by cell for macro-F1 and ECE. The same call of
Redistill also computes the debiased ECE, Brier score, NLL, recall and precision by label and the calibration
curve.

    make bench-intervals
    python bench/intervals.py --rows 1000 --rounds 1
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats
from scipy.special import log_softmax, softmax

from distill.evaluation.label_metrics import label_metrics
from monitor.divergence import kl_divergence
from monitor.intervals import bootstrap_mean
from monitor.settings import MetricsSection

_RESAMPLES: Final = 10_000
_SEEDS: Final = (2025, 2026, 2027)
_LABELS: Final = tuple(f"intent {number}" for number in range(10))
_RARE: Final = _LABELS[-4:]
_BINS: Final = 10
_GROWTH: Final = (1_000, 10_000, 100_000, 1_000_000)
_BATCH_VALUES: Final = 2**22  #: indices that scipy draws at once

Intervals = Mapping[str, tuple[float, float]]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Labelled rows with the logits of a teacher and a student."""

    truth: Ints
    teacher: Floats
    student: Floats


def rows(n: int, rng: np.random.Generator) -> Rows:
    """Draw rows with ten labels, three of them rare; the student is right in about nine out of ten."""
    shares = np.array([0.2, 0.18, 0.16, 0.14, 0.12, 0.1, 0.055, 0.02, 0.015, 0.01])
    truth = rng.choice(len(shares), size=n, p=shares)
    teacher = rng.normal(size=(n, len(shares)))
    teacher[np.arange(n), truth] += 4
    return Rows(truth=truth, teacher=teacher, student=teacher + rng.normal(scale=0.9, size=teacher.shape))


def ours(data: Rows, seed: int) -> Intervals:
    settings = MetricsSection(rare_labels=_RARE, resamples=_RESAMPLES, seeds=[seed])
    panel = label_metrics(data.student, data.truth, _LABELS, settings)
    found = {each.name: (each.low, each.high) for each in panel}
    kl = bootstrap_mean(kl_divergence(data.teacher, data.student, 3.0))
    names = ("accuracy", "macro_f1", "rare_class_accuracy", "ece")
    return {**{name: found[name] for name in names}, "kl": (kl.low, kl.high)}


def scipys(data: Rows, seed: int) -> Intervals:
    """Compute the intervals as scipy's documentation shows it, with several resamples in one array."""
    predicted = data.student.argmax(axis=1)
    right = (predicted == data.truth).astype(np.float64)
    rare = np.isin(data.truth, [_LABELS.index(label) for label in _RARE])
    apart = log_softmax(data.teacher / 3, axis=1) - log_softmax(data.student / 3, axis=1)
    kl = (softmax(data.teacher / 3, axis=1) * apart).sum(axis=1)
    confidence = softmax(data.student, axis=1).max(axis=1)
    bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    cells = data.truth * len(_LABELS) + predicted

    def counted(codes: Ints, of: int, weights: Floats | None = None) -> Floats:
        """Turn (resamples, n) codes into (resamples, of) counts."""
        flat = (codes + np.arange(len(codes))[:, None] * of).ravel()
        weighed = None if weights is None else weights.ravel()
        return np.bincount(flat, weighed, minlength=len(codes) * of).reshape(len(codes), of).astype(float)

    def macro_f1(index: Ints, axis: int) -> Floats:
        del axis
        index = np.atleast_2d(index)
        table = counted(cells[index], len(_LABELS) ** 2).reshape(len(index), len(_LABELS), len(_LABELS))
        hits = np.diagonal(table, axis1=1, axis2=2)
        both = table.sum(axis=1) + table.sum(axis=2)
        f1 = np.divide(2 * hits, both, where=both > 0, out=np.zeros_like(both))
        return np.squeeze(f1.sum(axis=1) / (both > 0).sum(axis=1))

    def ece(index: Ints, axis: int) -> Floats:
        del axis
        index = np.atleast_2d(index)
        gaps = counted(bins[index], _BINS, (right - confidence)[index])
        return np.squeeze(np.abs(gaps).sum(axis=1) / index.shape[1])

    def interval(of: NDArray[np.generic], statistic: Callable[..., Floats]) -> tuple[float, float]:
        found = stats.bootstrap(
            (of,),
            statistic,
            n_resamples=_RESAMPLES,
            method="percentile",
            vectorized=True,
            batch=max(1, _BATCH_VALUES // of.size),
            rng=np.random.default_rng(seed),
        ).confidence_interval
        return float(found.low), float(found.high)

    every = np.arange(data.truth.size)
    return {
        "accuracy": interval(right, np.mean),
        "macro_f1": interval(every, macro_f1),
        "rare_class_accuracy": interval(right[rare], np.mean),
        "ece": interval(every, ece),
        "kl": interval(kl, np.mean),
    }


def timed(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def compare(data: Rows, rounds: int) -> Table:
    """Run both in each round, with a seed per round, and compare times and bounds."""
    seconds, mine, others = [], [], []
    ours(data, _SEEDS[0])
    for number in range(rounds):
        seed = _SEEDS[number % len(_SEEDS)] + number // len(_SEEDS) * 100
        began = perf_counter()
        mine.append(ours(data, seed))
        between = perf_counter()
        others.append(scipys(data, seed))
        seconds.append((between - began, perf_counter() - between))
    one, other = np.median(seconds, axis=0)
    ratios = [theirs / own for own, theirs in seconds]
    table = Table(
        title=f"{data.truth.size:,} rows, {_RESAMPLES:,} resamples: {one:.3f} s against {other:.2f} s, "
        f"{np.median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f})"
    )
    for heading in ("metric", "redistill", "scipy", "difference", "spread of scipy"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name in mine[0]:
        ends = np.array([[each[name] for each in side] for side in (mine, others)])
        middle = ends.mean(axis=1)
        width = middle[1, 1] - middle[1, 0]
        apart = np.abs(middle[0] - middle[1]).max() / width
        spread = np.ptp(ends[1], axis=0).max() / width
        table.add_row(
            name, *(f"[{low:.4f}, {high:.4f}]" for low, high in middle), f"{apart:.1%}", f"{spread:.1%}"
        )
    return table


def growth(rng: np.random.Generator) -> Table:
    table = Table(title="seconds for the five metrics, one seed")
    for heading in ("rows", "redistill"):
        table.add_column(heading, justify="right")
    for n in _GROWTH:
        data = rows(n, rng)
        table.add_row(f"{n:,}", f"{timed(lambda data=data: ours(data, _SEEDS[0])):.3f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_500)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    rng = np.random.default_rng(2025)
    console = Console(width=120)
    console.print(compare(rows(wanted.rows, rng), wanted.rounds))
    console.print("apart: distance of the bounds in widths of the interval, from the means over the rounds")
    console.print(growth(rng))


if __name__ == "__main__":
    main()
