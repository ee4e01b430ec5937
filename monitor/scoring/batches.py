"""Scoring texts with a model, in batches."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from inspect import signature
from itertools import repeat
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from db.errors import RedistillError
from monitor.scoring.model import Model, in_a_line, is_failure
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
    """The model {version} {problem} for request {index} (counted from 0): {fix}."""

    def __init__(self, *, version: str, problem: str, index: int, fix: str) -> None:
        self.version, self.problem, self.index, self.fix = version, problem, index, fix
        super().__init__(version=version, problem=problem, index=index, fix=fix)

    def at(self, index: int) -> Self:
        """Return the error for the request with another index."""
        return type(self)(version=self.version, problem=self.problem, index=index, fix=self.fix)


class ForwardError(RedistillError):
    """The model {version} fails ({problem}) on {n} texts of {tokens} tokens: lower tokens_per_batch in
    [scoring] if memory ran out, else replace the model.
    """


def answer(model: Model, batch: Batch) -> NDArray[np.float32]:
    """Return the logits (texts, labels) of one batch, with the threads that torch is set to.

    Raises:
        ForwardError: the network raises any error.
    """
    inputs = _padded(model, batch)
    try:
        with torch.inference_mode():
            return model.logits(inputs).cpu().numpy()  # the copy waits for a GPU
    except BaseException as error:
        if not is_failure(error):
            raise
        n, tokens = inputs["input_ids"].shape
        raise ForwardError(
            version=model.version[:12], problem=in_a_line(error), n=n, tokens=tokens
        ) from error


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
        ScoringError: a logit is not finite, or the tokenizer fails on a text.
        ForwardError: the network fails on a batch.
        StoppedError: `stopped`, which is checked after each batch, returned True.
    """
    place = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    inverse = np.fromiter((place[text] for text in texts), dtype=np.intp, count=len(texts))
    logits = np.empty((len(place), len(model.labels)), dtype=np.float32)
    repeats = np.bincount(inverse, minlength=len(place))
    batches, done = _batched(model, texts, list(place), tokens_per_batch), 0
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


def _batched(
    model: Model, texts: Sequence[str], distinct: Sequence[str], tokens_per_batch: int
) -> list[Batch]:
    try:
        return batched(model, distinct, tokens_per_batch)
    except ScoringError as error:
        raise error.at(texts.index(distinct[error.index])) from error


def batched(model: Model, texts: Sequence[str], tokens_per_batch: int) -> list[Batch]:
    """Return batches of at most `tokens_per_batch` tokens including padding, from the shortest texts on.

    A text without tokens, of which only some tokenizers know any, is one padding token.

    Raises:
        ScoringError: the tokenizer fails on a text.
    """
    if not texts:
        return []
    encoding = _encoded(model, texts)
    lengths = [len(ids) for ids in encoding["input_ids"]]
    order = sorted(range(len(texts)), key=lambda index: (lengths[index], texts[index]))
    return [
        Batch(
            rows=rows, encoding={name: [values[index] for index in rows] for name, values in encoding.items()}
        )
        for rows in map(tuple, _cut(order, lengths, tokens_per_batch))
    ]


def _encoded(model: Model, texts: Sequence[str]) -> Mapping[str, Sequence[Sequence[int]]]:
    try:
        encoding = _tokens(model, texts)
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ScoringError(
            version=model.version[:12],
            problem=f"cannot read the text ({in_a_line(error)})",
            index=_first_unreadable(model, texts),
            fix="replace its tokenizer, or remove the request from the log",
        ) from error
    instead = {"input_ids": model.tokenizer.pad_token_id, "attention_mask": 1}
    return {name: [row or [instead.get(name, 0)] for row in rows] for name, rows in encoding.items()}


def _tokens(model: Model, texts: Sequence[str]) -> Mapping[str, Sequence[Sequence[int]]]:
    encoding: Mapping[str, Sequence[Sequence[int]]] = model.tokenizer(
        texts, truncation=True, max_length=model.max_length
    )
    return encoding


def _first_unreadable(model: Model, texts: Sequence[str]) -> int:
    for index, text in enumerate(texts):
        try:
            _tokens(model, [text])
        except BaseException as error:
            if not is_failure(error):
                raise
            return index
    return 0


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
        raise ScoringError(
            version=model.version[:12],
            problem="gives logits that are not finite",
            index=int(damaged[0]),
            fix="its weights are damaged, replace it with an undamaged model",
        )
