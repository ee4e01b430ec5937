"""A descent over seeded batches: the loop that every training here runs."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distill.training.adamw import Descent
from distill.training.batches import shuffled_batches
from distill.training.checkpoint import Checkpoint, Checkpoints
from monitor.stop import Stopped, StoppedError

#: From the rows of a batch to their loss, a scalar that carries its gradient.
Loss = Callable[[Tensor], Tensor]
#: Hears after each step how many steps are done, how many there are, and the step's loss.
Progress = Callable[[int, int, float], None]


class Journal(Protocol):
    """What a training writes down about itself."""

    def close_epoch(self) -> None:
        """Hear that an epoch's last step is done. What raises StoppedError here has written nothing."""

    def dump(self) -> str:
        """All that was written so far."""
        ...

    def restore(self, text: str) -> None:
        """Go on from what another process had dumped."""


class NoJournal:
    """Of a training that says nothing about itself."""

    def close_epoch(self) -> None:
        """Nothing to write."""

    def dump(self) -> str:
        """Nothing."""
        return ""

    def restore(self, text: str) -> None:
        """Nothing to go on from."""


def minimise(
    network: PreTrainedModel,
    loss: Loss,
    lengths: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    stopped: Stopped,
    progress: Progress,
    journal: Journal,
    checkpoints: Checkpoints | None,
) -> int:
    """Change the network's weights in place, and count the steps.

    `lengths` are the (n,) rows' tokens. How a step goes is told in `Descent`. The seed decides the order
    of the rows and the dropout: with as many threads the same call gives the same weights, bit by bit,
    also if it goes on from a checkpoint of another process. The network is in evaluation mode between
    epochs and afterwards.

    Raises:
        StoppedError: `stopped`, which is asked before each step, said so, or `loss` raised it; what was
            done until then is saved.
        TrainingDivergedError: a loss is not finite.
    """
    per_epoch = math.ceil(len(lengths) / batch_size)
    order = torch.Generator().manual_seed(seed)
    with _seeded(seed):
        descent = Descent(network, learning_rate=learning_rate, steps=epochs * per_epoch)
        with _kept(_Course(descent, journal, checkpoints)) as course:
            for epoch in range(epochs):
                batches = list(shuffled_batches(lengths, batch_size, order))
                if epoch < course.epochs:
                    continue
                with _training(network):
                    for rows in batches[descent.done - epoch * per_epoch :]:
                        course.poll(stopped)
                        value = descent.step(loss(rows))
                        progress(descent.done, descent.steps, value)
                course.close_epoch()
    descent.forget_gradients()
    return descent.steps


class _Course:
    """How far a training is, and how far it has been saved."""

    def __init__(self, descent: Descent, journal: Journal, checkpoints: Checkpoints | None) -> None:
        self._descent = descent
        self._journal = journal
        self._checkpoints = checkpoints
        self.epochs = 0
        self._saved = self._place

    @property
    def _place(self) -> tuple[int, int]:
        return self._descent.done, self.epochs

    def poll(self, stopped: Stopped) -> None:
        """From the work, before a step."""
        if stopped():
            raise StoppedError
        if self._checkpoints is not None and self._checkpoints.due():
            self.save()

    def close_epoch(self) -> None:
        self._journal.close_epoch()
        self.epochs += 1

    def resume(self) -> None:
        found = None if self._checkpoints is None else self._checkpoints.load()
        if found is not None:
            self._descent.restore(found.tensors, done=found.step)
            self._journal.restore(found.journal)
            self.epochs = found.epochs
            self._saved = self._place

    def save(self) -> None:
        if self._checkpoints is None or self._saved == self._place:
            return
        self._checkpoints.save(
            Checkpoint(
                step=self._descent.done,
                steps=self._descent.steps,
                epochs=self.epochs,
                tensors=self._descent.tensors(),
                journal=self._journal.dump(),
            )
        )
        self._saved = self._place


@contextmanager
def _kept(course: _Course) -> Iterator[_Course]:
    """From where the last process was; saved when it is stopped, and at the end."""
    course.resume()
    try:
        yield course
    except StoppedError:
        course.save()
        raise
    course.save()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _training(network: PreTrainedModel) -> Iterator[None]:
    network.train()
    try:
        yield
    finally:
        network.eval()  # type: ignore[no-untyped-call]
