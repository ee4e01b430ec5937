"""AdamW on a network, step by step, with its whole state."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from transformers import PreTrainedModel

from db.errors import RedistillError

_WEIGHT_DECAY: Final = 0.01
_WARM_UP_SHARE: Final = 0.1
_LARGEST_GRADIENT_NORM: Final = 1.0

_NETWORK: Final = "network."
_OPTIMIZER: Final = "optimizer."
_GENERATOR: Final = "generator"
_GENERATOR_OF_GPU: Final = "generator.cuda"


@dataclass(frozen=True, kw_only=True)
class TakenStep:
    """A step that was taken."""

    step: int  #: its number, counted from 1
    learning_rate: float
    gradient_norm: float  #: of all weights, before it is clipped
    clipped: bool


class TrainingDivergedError(RedistillError):
    """The loss of step {step} of {steps} is not finite: lower learning_rate (it is {learning_rate})."""


class Descent:
    """AdamW that changes a network's weights in place.

    It applies a weight decay of 0.01 to matrices (not to biases and LayerNorm), a linear warm-up over the
    first tenth of the steps, then a linear decay to 0, and clips gradients to norm 1.
    """

    def __init__(self, network: PreTrainedModel, *, learning_rate: float, steps: int) -> None:
        self._network = network
        self._learning_rate = learning_rate
        # One pass over weights and moments; the others take one or more per operation, with copies.
        self._optimizer = AdamW(_parameter_groups(network), lr=learning_rate, fused=True)
        self._generators = self._states_of_generators()
        self.done = 0
        self.steps = steps

    def step(self, loss: Tensor) -> TakenStep:
        """Take one step down the gradient of the loss, and free the gradients before the next pass.

        Raises:
            TrainingDivergedError: the loss is not finite.
        """
        learning_rate = self._learning_rate * _rate_factor(self.done, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_grad_norm_(self._network.parameters(), _LARGEST_GRADIENT_NORM).item()
        self._optimizer.step()
        self.clear_gradients()
        self._generators = self._states_of_generators()
        self.done += 1
        if not math.isfinite(loss.item()):
            raise TrainingDivergedError(step=self.done, steps=self.steps, learning_rate=self._learning_rate)
        return TakenStep(
            step=self.done,
            learning_rate=learning_rate,
            gradient_norm=norm,
            clipped=norm > _LARGEST_GRADIENT_NORM,
        )

    def clear_gradients(self) -> None:
        """Free the memory of the gradients, which is as much as that of the weights."""
        self._optimizer.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, moments and the state of torch's generators (for the dropout) by name, not copied.

        The state is that after the last step: a forward pass that was interrupted since leaves no trace.
        """
        moments = {
            f"{_OPTIMIZER}{number}.{name}": moment
            for number, moments in self._optimizer.state_dict()["state"].items()
            for name, moment in moments.items()
        }
        weights = {f"{_NETWORK}{name}": tensor for name, tensor in self._weights()}
        whole = {**weights, **moments, **self._generators}
        return {name: tensor.detach().contiguous() for name, tensor in whole.items()}

    def restore(self, tensors: Mapping[str, Tensor], *, done: int) -> None:
        """Restore the state that another process had after `done` steps; takes ownership of the tensors."""
        with torch.no_grad():
            for name, weight in self._weights():
                weight.copy_(tensors[f"{_NETWORK}{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(_OPTIMIZER):
                number, part = name.removeprefix(_OPTIMIZER).split(".")
                moments.setdefault(int(number), {})[part] = tensor
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})
        torch.set_rng_state(tensors[_GENERATOR])
        if _GENERATOR_OF_GPU in tensors:
            torch.cuda.set_rng_state(tensors[_GENERATOR_OF_GPU], self._network.device)
        self._generators = self._states_of_generators()
        self.done = done

    def _states_of_generators(self) -> dict[str, Tensor]:
        """Return the states of the CPU's generator and, for a network on a GPU, of the GPU's."""
        states = {_GENERATOR: torch.get_rng_state()}
        if self._network.device.type == "cuda":
            states[_GENERATOR_OF_GPU] = torch.cuda.get_rng_state(self._network.device)
        return states

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from self._network.named_parameters()
        yield from self._network.named_buffers()


def _rate_factor(done: int, steps: int) -> float:
    """Return the factor on the learning rate after `done` steps; it is never above 1."""
    warm_up = math.ceil(_WARM_UP_SHARE * steps)
    return min((done + 1) / warm_up, (steps - done) / max(1, steps - warm_up))


def _parameter_groups(network: PreTrainedModel) -> list[dict[str, object]]:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
