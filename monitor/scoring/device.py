"""The choice of the device on which models run."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from db.errors import RedistillError
from monitor.scoring.placement import ON_CPU, Placement
from monitor.setting_values import Device, Precision

#: The file of the first GPU, which the driver or the container runtime makes.
_GPU_FILE: Final = Path("/dev/nvidia0")


class DeviceMissingError(RedistillError):
    """device = 'cuda' in [{section}] cannot be used: {problem}, or set device = 'auto'."""


def place(device: Device, precision: Precision, *, section: str) -> Placement:
    """Return the placement that a section of the configuration asks for; "auto": a GPU if torch finds one.

    If that is a GPU, this process computes the same bits on it each time from now on.

    Raises:
        DeviceMissingError: the section asks for CUDA, and torch finds no GPU.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return replace(ON_CPU, precision=precision)
    if not torch.cuda.is_available():
        raise DeviceMissingError(section=section, problem=why_missing())
    # Source: docs.nvidia.com/cuda/cublas, "Results reproducibility"; torch requires it for the next line.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(mode=True)
    return Placement(device=torch.device("cuda", torch.cuda.current_device()), precision=precision)


def has_gpu() -> bool:
    """Return whether this machine, or the container, has a GPU, even if torch cannot use it."""
    return _GPU_FILE.exists()


def why_missing() -> str:
    """Return why torch finds no GPU, and how to change that."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA; install a build with CUDA"
    if not has_gpu():
        return f"this machine or container has no GPU ({_GPU_FILE} is missing); give it one"
    torch_for_cuda = f"torch {torch.__version__} for CUDA {torch.version.cuda}"
    return f"{torch_for_cuda} cannot use the GPU; repair its driver (see nvidia-smi)"
