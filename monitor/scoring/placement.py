"""The place of a model: its device, and the precision of its forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from monitor.setting_values import Precision


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The place of a model: weights and logits are in float32 with either precision."""

    device: torch.device
    precision: Precision

    @property
    def is_cuda(self) -> bool:
        """Return whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def name(self) -> str:
        """Return device and precision, as in 'cpu, float32' or 'cuda (NVIDIA A10G), bfloat16'."""
        device = f"cuda ({torch.cuda.get_device_name(self.device)})" if self.is_cuda else "cpu"
        return f"{device}, {self.precision}"

    def forward(self, network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return a network's logits (rows, labels) in float32, on its device.

        With bfloat16 the matrix products, and what torch.autocast adds to them, are computed from values that
        are rounded to 8 significant bits. A weight is used once in a pass, so its rounded copy is not kept.
        """
        is_rounded = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_rounded, cache_enabled=False):
            logits: Tensor = network(**inputs).logits
        return logits.float()


ON_CPU: Final = Placement(device=torch.device("cpu"), precision="float32")
