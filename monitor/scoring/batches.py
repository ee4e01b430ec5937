"""Scoring texts with a model, in batches."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from inspect import signature
from itertools import repeat
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from db.errors import RedistillError
from monitor.scoring.models import Model
from monitor.stop import Stopped, StoppedError

#: Receives the number of texts scored so far.
Progress = Callable[[int], None]


class Scorer(Protocol):
    """A function that scores texts: `score` with its other arguments fixed."""

    def __call__(
        self, model: Model, texts: Sequence[str], *, stopped: Stopped, progress: Progress
    ) -> NDArray[np.float32]:
        """Return logits (n, labels), one row per text. Errors as for `score`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Texts that a model scores together."""

    rows: tuple[int, ...]  #: the indices of the texts
    encoding: Mapping[
        str, Sequence[Sequence[int]]
    ]  #: token ids and further inputs of the model, one list per text


#: Scores batches with a model, and yields the logits (texts, labels) of each, in order.
Answers = Callable[[Model, Sequence[Batch], Stopped], Generator[NDArray[np.float32]]]


class ScoringError(RedistillError):
    """The model {version} gives logits that are not finite for request {index} (counted from 0), so its
    weights are damaged: replace it with an undamaged model.
    """

    index: int

    def __init__(self, *, version: str, index: int) -> None:
        self.index = index
        super().__init__(version=version, index=index)


def answer(model: Model, batch: Batch) -> NDArray[np.float32]:
    """Return the logits (texts, labels) of one batch, with the threads that torch is set to."""
    with torch.inference_mode():
        logits = model.logits(_padded(model, batch))
    return logits.cpu().numpy()  # the copy waits for a GPU


def answers_here(model: Model, batches: Sequence[Batch], _stopped: Stopped) -> Generator[NDArray[np.float32]]:
    """Score batches with this machine, and yield their logits.

    On the CPU as many batches are scored at a time as torch has threads, each with one thread; a GPU scores
    one after the other.

    The small matrix products of a student keep one core busy, but cannot be divided among several. The logits
    of a batch also do not depend on the number of cores.
    """
    if model.placement.is_cuda:
        yield from (answer(model, batch) for batch in batches)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="scoring")
    torch.set_num_threads(1)  # also for the threads of the pool, which start later
    try:
        yield from pool.map(lambda batch: answer(model, batch), batches)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def score(
    model: Model,
    texts: Sequence[str],
    *,
    tokens_per_batch: int,
    stopped: Stopped,
    progress: Progress,
    answers: Answers = answers_here,
) -> NDArray[np.float32]:
    """Return logits (n, labels) in the model's own label order, one row per text.

    The logits of a text do not depend on its position or its repetitions: distinct texts are scored once,
    sorted by length, in batches of at most `tokens_per_batch` tokens including padding (a longer text is a
    batch of its own). No texts give (0, labels).

    Raises:
        ScoringError: a logit is not finite.
        StoppedError: `stopped`, which is checked after each batch, returned True.
    """
    place = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    inverse = np.fromiter((place[text] for text in texts), dtype=np.intp, count=len(texts))
    logits = np.empty((len(place), len(model.labels)), dtype=np.float32)
    repeats = np.bincount(inverse, minlength=len(place))
    batches, done = batched(model, list(place), tokens_per_batch), 0
    with closing(answers(model, batches, stopped)) as answered:
        for batch, found in zip(batches, answered, strict=True):
            if stopped():
                raise StoppedError
            rows = list(batch.rows)
            logits[rows] = found
            done += int(repeats[rows].sum())
            progress(done)
    _check_finite(model, logits[inverse])
    return logits[inverse]


def batched(model: Model, texts: Sequence[str], tokens_per_batch: int) -> list[Batch]:
    """Return batches of at most `tokens_per_batch` tokens including padding, from the shortest texts on."""
    if not texts:
        return []
    encoding = model.tokenizer(texts, truncation=True, max_length=model.max_length)
    lengths = [len(ids) for ids in encoding["input_ids"]]
    order = sorted(range(len(texts)), key=lambda index: (lengths[index], texts[index]))
    return [
        Batch(
            rows=rows, encoding={name: [values[index] for index in rows] for name, values in encoding.items()}
        )
        for rows in map(tuple, _cut(order, lengths, tokens_per_batch))
    ]


def _cut(order: list[int], lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Yield runs of `order`, which is ascending in length, that fit into a batch including padding."""
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop - start + 1) * lengths[order[stop]] <= tokens_per_batch:
            stop += 1
        yield order[start:stop]
        start = stop


def _padded(model: Model, batch: Batch) -> dict[str, torch.Tensor]:
    fills = {
        "input_ids": model.tokenizer.pad_token_id,
        "token_type_ids": model.tokenizer.pad_token_type_id,
        "attention_mask": 0,
    }
    taken = signature(model.network.forward).parameters
    return {
        name: torch.tensor(_filled(batch.encoding[name], fill), device=model.placement.device)
        for name, fill in fills.items()
        if name in taken and name in batch.encoding
    }


def _filled(rows: Sequence[Sequence[int]], fill: int) -> list[list[int]]:
    width = max(map(len, rows))
    return [[*row, *repeat(fill, width - len(row))] for row in rows]


def _check_finite(model: Model, logits: NDArray[np.float32]) -> None:
    damaged = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if damaged.size:
        raise ScoringError(version=model.version[:12], index=int(damaged[0]))
