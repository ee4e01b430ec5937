"""The training loop: seeded batches, stops and checkpoints."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distill.training.adamw import Descent, TakenStep
from distill.training.batches import shuffled_batches
from distill.training.checkpoint import Checkpoint, Checkpoints
from distill.training.schedule import Schedule
from monitor.stop import Stopped, StoppedError

#: Maps the indices of a batch's rows to their loss, a scalar that carries its gradient.
Loss = Callable[[Tensor], Tensor]
#: Called after each step with the number of steps done, the number of all steps and the step's loss.
Progress = Callable[[int, int, float], None]


class Recorder(Protocol):
    """The log that a training keeps of itself."""

    def end_step(self, taken: TakenStep) -> None:
        """Log a step."""

    def end_epoch(self) -> None:
        """Log the epoch whose last step is done; if this raises StoppedError, nothing was logged."""

    def dump(self) -> str:
        """Return the log so far as text."""
        ...

    def restore(self, text: str) -> None:
        """Continue the log that another process dumped."""


class NoRecorder:
    """The recorder of a training that keeps no log."""

    def end_step(self, taken: TakenStep) -> None:
        """Log nothing."""

    def end_epoch(self) -> None:
        """Log nothing."""

    def dump(self) -> str:
        """Return an empty text."""
        return ""

    def restore(self, text: str) -> None:
        """Ignore the text."""


def minimise(
    network: PreTrainedModel,
    loss: Loss,
    lengths: Tensor,
    schedule: Schedule,
    *,
    stopped: Stopped,
    progress: Progress,
    recorder: Recorder,
    checkpoints: Checkpoints | None,
) -> int:
    """Minimise the loss by changing the network's weights in place, and return the number of steps.

    `lengths` are the (n,) rows' tokens; `Descent` describes a step. The seed decides the order of the rows
    and the dropout: with the same number of threads the same call gives the same weights, bit for bit, even
    when it resumes from a checkpoint of another process; so it does on a GPU of the same kind, if `place` has
    chosen the GPU. The network is in evaluation mode between epochs and afterwards.

    Raises:
        StoppedError: `stopped`, which is checked before each step, returned True, or `loss` raised it; the
            steps done until then are saved.
        TrainingDivergedError: a loss is not finite.
    """
    per_epoch = math.ceil(len(lengths) / schedule.batch_size)
    order = torch.Generator().manual_seed(schedule.seed)
    with _seeded(schedule.seed, network.device):
        descent = Descent(network, learning_rate=schedule.learning_rate, steps=schedule.epochs * per_epoch)
        with _checkpointed(_ResumableRun(descent, recorder, checkpoints)) as run:
            for epoch in range(schedule.epochs):
                batches = list(shuffled_batches(lengths, schedule.batch_size, order))
                if epoch < run.epochs:
                    continue
                with _training_mode(network):
                    for rows in batches[descent.done - epoch * per_epoch :]:
                        run.poll(stopped)
                        lost = loss(rows)
                        recorder.end_step(descent.step(lost))
                        progress(descent.done, descent.steps, lost.item())
                run.end_epoch()
    return descent.steps


class _ResumableRun:
    """The progress of a training, and how much of it is saved."""

    def __init__(self, descent: Descent, recorder: Recorder, checkpoints: Checkpoints | None) -> None:
        self._descent = descent
        self._recorder = recorder
        self._checkpoints = checkpoints
        self.epochs = 0
        self._saved = self._position

    @property
    def _position(self) -> tuple[int, int]:
        return self._descent.done, self.epochs

    def poll(self, stopped: Stopped) -> None:
        """Stop, or save if a checkpoint is due; called before each step."""
        if stopped():
            raise StoppedError
        if self._checkpoints is not None and self._checkpoints.due():
            self.save()

    def end_epoch(self) -> None:
        self._recorder.end_epoch()
        self.epochs += 1

    def resume(self) -> None:
        found = None if self._checkpoints is None else self._checkpoints.load()
        if found is not None:
            self._descent.restore(found.tensors, done=found.step)
            self._recorder.restore(found.log)
            self.epochs = found.epochs
            self._saved = self._position

    def save(self) -> None:
        if self._checkpoints is None or self._saved == self._position:
            return
        self._checkpoints.save(
            Checkpoint(
                step=self._descent.done,
                steps=self._descent.steps,
                epochs=self.epochs,
                tensors=self._descent.tensors(),
                log=self._recorder.dump(),
            )
        )
        self._saved = self._position


@contextmanager
def _checkpointed(run: _ResumableRun) -> Iterator[_ResumableRun]:
    """Resume the run from its last checkpoint; save it when it is stopped and at its end."""
    run.resume()
    try:
        yield run
    except StoppedError:
        run.save()
        raise
    run.save()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _training_mode(network: PreTrainedModel) -> Iterator[None]:
    network.train()
    try:
        yield
    finally:
        network.eval()  # type: ignore[no-untyped-call]
