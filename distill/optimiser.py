"""AdamW over seeded batches: the loop that every training here runs."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from db.errors import RedistillError
from distill.batches import shuffled_batches
from monitor.stop import Stopped, StoppedError

_WEIGHT_DECAY: Final = 0.01
_WARM_UP_SHARE: Final = 0.1
_LARGEST_GRADIENT_NORM: Final = 1.0

#: From the rows of a batch to their loss, a scalar that carries its gradient.
Loss = Callable[[Tensor], Tensor]
#: Hears after each step how many steps are done, how many there are, and the step's loss.
Progress = Callable[[int, int, float], None]


class TrainingDivergedError(RedistillError):
    """The loss of step {step} of {steps} is not finite: lower learning_rate (it is {learning_rate})."""


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
    after_epoch: Callable[[], None],
) -> int:
    """Change the network's weights in place, and count the steps.

    `lengths` are the (n,) rows' tokens. Weight decay .01 on matrices (not on biases and LayerNorm),
    a linear warm-up over the first tenth of the steps, then a linear decay to 0, gradients clipped
    to norm 1. The seed decides the order of the rows and the dropout: with as many threads the same
    call gives the same weights, bit by bit. The network is in evaluation mode between epochs and
    afterwards.

    Raises:
        StoppedError: `stopped`, which is asked before each step, said so.
        TrainingDivergedError: a loss is not finite.
    """
    steps = epochs * math.ceil(len(lengths) / batch_size)
    optimizer = AdamW(_parameter_groups(network), lr=learning_rate)
    schedule = LambdaLR(optimizer, partial(_rate, steps=steps, warm_up=math.ceil(_WARM_UP_SHARE * steps)))
    order = torch.Generator().manual_seed(seed)
    done = 0
    with _seeded(seed):
        for _ in range(epochs):
            with _training(network):
                for rows in shuffled_batches(lengths, batch_size, order):
                    if stopped():
                        raise StoppedError
                    done += 1
                    value = _step(network, optimizer, loss(rows))
                    if not math.isfinite(value):
                        raise TrainingDivergedError(step=done, steps=steps, learning_rate=learning_rate)
                    schedule.step()
                    progress(done, steps, value)
            after_epoch()
    optimizer.zero_grad()
    return steps


def _rate(done: int, *, steps: int, warm_up: int) -> float:
    return min((done + 1) / warm_up, (steps - done) / max(1, steps - warm_up))


def _parameter_groups(network: PreTrainedModel) -> list[dict[str, object]]:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]


def _step(network: PreTrainedModel, optimizer: AdamW, loss: Tensor) -> float:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT_NORM)
    optimizer.step()
    return loss.item()


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
