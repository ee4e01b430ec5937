"""What a model answers to texts, and how fast."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from itertools import cycle, islice, repeat
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from db.errors import RedistillError
from db.records import Interval
from monitor.models import Model
from monitor.stop import Stopped, StoppedError

_PERCENTILE = 0.95
_CONFIDENCE = 0.95
_WARM_UP_RUNS = 10

#: Hears how many of the texts are done.
Progress = Callable[[int], None]
#: Token ids and their like, one list per text.
Encoding = Mapping[str, Sequence[Sequence[int]]]


class ScoringError(RedistillError):
    """The model {version} gives logits that are not finite for request {index} (counted from 0): its
    weights are damaged. Put a sound model in its place.
    """


def score(
    model: Model, texts: Sequence[str], *, tokens_per_batch: int, stopped: Stopped, progress: Progress
) -> NDArray[np.float32]:
    """Logits (n, labels) in the model's own label order, one row per text.

    The same for a text wherever it stands, and however often: the distinct texts are scored once,
    sorted by length, in batches of at most `tokens_per_batch` tokens with their padding (a single
    longer text is a batch of its own). No texts give (0, labels).

    Raises:
        ScoringError: a logit is not finite.
        StoppedError: `stopped`, which is asked before each batch, said so.
    """
    place = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    inverse = np.fromiter((place[text] for text in texts), dtype=np.intp, count=len(texts))
    logits = np.empty((len(place), len(model.labels)), dtype=np.float32)
    repeats = np.bincount(inverse, minlength=len(place))
    done = 0
    for batch, inputs in _batches(model, list(place), tokens_per_batch):
        if stopped():
            raise StoppedError
        logits[batch] = _forward(model, inputs)
        done += int(repeats[batch].sum())
        progress(done)
    _check_finite(model, logits[inverse])
    return logits[inverse]


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
    for _, inputs in _batches(model, [text], model.max_length):
        _forward(model, inputs)
    return (perf_counter() - start) * 1_000


def _batches(
    model: Model, texts: Sequence[str], tokens_per_batch: int
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Indices of texts and what the network takes for them, from the shortest to the longest."""
    if not texts:
        return
    encoding = model.tokenizer(texts, truncation=True, max_length=model.max_length)
    lengths = [len(ids) for ids in encoding["input_ids"]]
    order = sorted(range(len(texts)), key=lambda index: (lengths[index], texts[index]))
    for batch in _cut(order, lengths, tokens_per_batch):
        yield batch, _pad(model, encoding, batch, width=lengths[batch[-1]])


def _cut(order: list[int], lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Runs of `order`, which is ascending in length, as long as they fit with their padding."""
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop - start + 1) * lengths[order[stop]] <= tokens_per_batch:
            stop += 1
        yield order[start:stop]
        start = stop


def _pad(model: Model, encoding: Encoding, batch: list[int], *, width: int) -> dict[str, torch.Tensor]:
    fills = {
        "input_ids": model.tokenizer.pad_token_id,
        "token_type_ids": model.tokenizer.pad_token_type_id,
        "attention_mask": 0,
    }
    taken = signature(model.network.forward).parameters
    padded: dict[str, torch.Tensor] = {}
    for name, fill in fills.items():
        if name in taken and name in encoding:
            rows = [encoding[name][index] for index in batch]
            padded[name] = torch.tensor([[*row, *repeat(fill, width - len(row))] for row in rows])
    return padded


def _forward(model: Model, inputs: Mapping[str, torch.Tensor]) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: torch.Tensor = model.network(**inputs).logits
    return logits.float().numpy()


def _check_finite(model: Model, logits: NDArray[np.float32]) -> None:
    damaged = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if damaged.size:
        raise ScoringError(version=model.version[:12], index=damaged[0])
