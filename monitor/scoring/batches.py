"""What a model answers to texts."""

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

#: Hears how many of the texts are done.
Progress = Callable[[int], None]


class Scorer(Protocol):
    """Asks a model about texts: `score` with all else chosen."""

    def __call__(
        self, model: Model, texts: Sequence[str], *, stopped: Stopped, progress: Progress
    ) -> NDArray[np.float32]:
        """Logits (n, labels), one row per text. Errors as for `score`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Texts that are scored together."""

    rows: tuple[int, ...]  #: their indices among all
    encoding: Mapping[str, Sequence[Sequence[int]]]  #: token ids and their like, one list per text


#: Asks a model about batches: the logits (texts, labels) of each, in their order.
Answers = Callable[[Model, Sequence[Batch], Stopped], Generator[NDArray[np.float32]]]


class ScoringError(RedistillError):
    """The model {version} gives logits that are not finite for request {index} (counted from 0): its
    weights are damaged. Put a sound model in its place.
    """

    index: int

    def __init__(self, *, version: str, index: int) -> None:
        self.index = index
        super().__init__(version=version, index=index)


def answer(model: Model, batch: Batch) -> NDArray[np.float32]:
    """Logits (texts, labels) of one batch, by as many threads as torch has here."""
    with torch.inference_mode():
        logits: torch.Tensor = model.network(**_padded(model, batch)).logits
    return logits.float().numpy()


def answers_here(model: Model, batches: Sequence[Batch], _stopped: Stopped) -> Generator[NDArray[np.float32]]:
    """As many batches at a time as torch has threads here, each by one thread.

    Products as small as those of a student's layers keep one core busy, but not several together. And so
    the logits of a batch do not depend on how many cores there are.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="scoring")
    torch.set_num_threads(1)  # also those of the pool, which start later
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
    """Logits (n, labels) in the model's own label order, one row per text.

    The same for a text wherever it stands, and however often: the distinct texts are scored once,
    sorted by length, in batches of at most `tokens_per_batch` tokens with their padding (a single
    longer text is a batch of its own). No texts give (0, labels).

    Raises:
        ScoringError: a logit is not finite.
        StoppedError: `stopped`, which is asked after each batch, said so.
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
    """The texts in batches of at most so many tokens with their padding, from the shortest to the longest."""
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
    """Runs of `order`, which is ascending in length, as long as they fit with their padding."""
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
        name: torch.tensor(_filled(batch.encoding[name], fill))
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
