"""Copies of a version for a service, as it is or with its temperature divided into its last layer."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from db.errors import RedistillError
from distill.registry import MANIFEST, removed_on_error
from monitor.scoring.batches import score
from monitor.scoring.files import FINGERPRINTED
from monitor.scoring.models import Model, load
from monitor.stop import never_stopped

_PROBES: Final = ("where is my order?", "hello", "I want to return 2 books that I ordered last week.")
#: The largest difference between the logits of the copy and the divided ones, in parts of the largest of them
#: or of 1.
_TOLERANCE: Final = 1e-5


class FolderNotEmptyError(RedistillError):
    """{folder} is not an empty folder: name a new or an empty one."""


class FolderUnwritableError(RedistillError):
    """{folder} cannot be written: {problem}. Free space or fix the permissions there."""


class HeadUnknownError(RedistillError):
    """The temperature cannot be divided into the model of {folder}: {problem}. Export it without
    --calibrated, and divide its logits by {temperature:.6g} where it is served.
    """


def export(source: Path, folder: Path, *, temperature: float | None = None) -> None:
    """Copy the files of a version to a folder, which is there with all of them or not at all.

    With a temperature, weight and bias of the last layer are divided by it, so that the softmax of the copy's
    logits is calibrated. That copy is another version, and is without the manifest of this one.

    Raises:
        FolderNotEmptyError, FolderUnwritableError: the folder cannot be used.
        HeadUnknownError: the last layer cannot be identified, or dividing it does not divide the logits.
    """
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise FolderNotEmptyError(folder=folder)
    draft = folder.absolute().with_name(f".{folder.absolute().name}.tmp-{uuid.uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        with removed_on_error(draft):
            for path in _files(source, with_manifest=temperature is None):
                shutil.copyfile(path, draft / path.name)
            if temperature is not None:
                _divide(draft, temperature, source)
            draft.replace(folder)
    except OSError as error:
        raise FolderUnwritableError(folder=folder, problem=error.strerror or error) from error


def _files(source: Path, *, with_manifest: bool) -> Iterator[Path]:
    patterns = (*FINGERPRINTED, MANIFEST) if with_manifest else FINGERPRINTED
    yield from {path for pattern in patterns for path in source.glob(pattern) if path.is_file()}


def _divide(folder: Path, temperature: float, source: Path) -> None:
    model = load(source)
    head = _head(model)
    if head is None:
        problem = "its logits are not the output of one linear layer"
        raise HeadUnknownError(folder=source, problem=problem, temperature=temperature)
    wanted = _logits(model) / temperature
    for key in (f"{head}.weight", *((f"{head}.bias",) if _has_bias(model, head) else ())):
        path = _file_of(folder, key)
        if path is None:
            problem = f"its files have no weight {key!r}"
            raise HeadUnknownError(folder=source, problem=problem, temperature=temperature)
        _rewrite(path, key, temperature)
    found = _logits(load(folder))
    error = float(np.abs(found - wanted).max())
    if error > _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        problem = f"with its layer {head!r} divided, its logits are off by up to {error:.1g}"
        raise HeadUnknownError(folder=source, problem=problem, temperature=temperature)


def _head(model: Model) -> str | None:
    """Return the name of the one linear layer that gives the logits, at some token or at all, or None."""
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        layer = model.network.get_submodule(name)
        return layer.register_forward_hook(lambda _layer, _given, out: outputs.__setitem__(name, out))

    hooks = [keep(name) for name, layer in model.network.named_modules() if isinstance(layer, nn.Linear)]
    logits = torch.from_numpy(_logits(model, _PROBES[:1]))[0]
    for hook in hooks:
        hook.remove()
    found = [name for name, out in outputs.items() if _contains(out.float().cpu(), logits)]
    return found[0] if len(found) == 1 else None


def _contains(out: torch.Tensor, logits: torch.Tensor) -> bool:
    return out.shape[-1] == len(logits) and bool((out.reshape(-1, len(logits)) == logits).all(dim=1).any())


def _has_bias(model: Model, head: str) -> bool:
    return getattr(model.network.get_submodule(head), "bias", None) is not None


def _logits(model: Model, texts: tuple[str, ...] = _PROBES) -> NDArray[np.float32]:
    return score(
        model,
        texts,
        tokens_per_batch=model.max_length,
        stopped=never_stopped,
        progress=lambda _done: None,
    )


def _file_of(folder: Path, key: str) -> Path | None:
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if key in file.keys():  # noqa: SIM118 - not a mapping
                return path
    return None


def _rewrite(path: Path, key: str, temperature: float) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[key] = (tensors[key].double() / temperature).to(tensors[key].dtype)
    save_file(tensors, path, metadata=metadata)
