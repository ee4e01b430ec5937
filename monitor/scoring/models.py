"""Classifiers in the Hugging Face `save_pretrained` layout: their fingerprints, their labels and loading.

Nothing in a model directory is executed or unpickled: weights are read only from safetensors, code in the
directory is refused, and nothing is downloaded.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from db.errors import RedistillError
from monitor.scoring.first_token import first_token_only
from monitor.scoring.placement import ON_CPU, Placement

#: The files of a directory that determine the model's logits. A model card, manifest.json, training_args.bin,
#: the state of an optimizer and any other files are ignored.
FINGERPRINTED = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)
_WEIGHTS = "model*.safetensors"
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model")
_FEWEST_LABELS = 2
_LONGEST = 4_096  #: tokens, for a model without a limit of its own


class ModelError(RedistillError):
    """The model {model} cannot be used: {problem}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A classifier that is ready to score, with weights in float32 and in evaluation mode."""

    version: str  #: the fingerprint of its directory
    labels: tuple[str, ...]  #: one per logit, in the model's own order
    tokenizer: PreTrainedTokenizerBase
    network: PreTrainedModel  #: its last layer computes only the first token, if that suffices
    max_length: int  #: tokens, including special ones; longer texts are truncated
    placement: Placement = ON_CPU

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (rows, labels) in float32, on the model's device."""
        return self.placement.forward(self.network, inputs)


def fingerprint(directory: Path) -> str:
    """Return the SHA-256 that identifies a model, as 64 hexadecimal digits.

    It covers the names and contents of the files in `FINGERPRINTED`, and equals the output of
    `LC_ALL=C sha256sum <these files, sorted> | sha256sum` in the directory.

    Raises:
        ModelError: there is no such directory, no weights or no config, or a file cannot be read.
    """
    whole = hashlib.sha256()
    try:
        for path in _parts(directory):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{digest}  {path.name}\n".encode())
    except OSError as error:
        raise ModelError(model=directory, problem=error) from error
    return whole.hexdigest()


def load(directory: Path, placement: Placement = ON_CPU) -> Model:
    """Load the classifier in a directory, with its tokenizer; by default on the CPU and in float32.

    Raises:
        ModelError: a file is missing, damaged or from another model; a weight of the network, such as its
            head, is not in the files; the labels are not distinct names; the weights are not in safetensors;
            the model needs code of its own.
    """
    version = fingerprint(directory)
    with quiet():
        network = _load_network(directory)
        tokenizer = _load_tokenizer(directory)
    _check_vocabulary(directory, tokenizer, network)
    return Model(
        version=version,
        labels=_labels(directory, network),
        tokenizer=tokenizer,
        network=network.to(placement.device),  # type: ignore[arg-type]
        max_length=_max_length(tokenizer, network),
        placement=placement,
    )


def match_labels(teacher: Model, student: Model) -> NDArray[np.intp]:
    """Return the index of each of the teacher's labels among the student's, matched by name.

    `student_logits[:, match_labels(teacher, student)]` are in the teacher's order.

    Raises:
        ModelError: only one of the models has a certain label.
    """
    for one, other, names in ((student, teacher, "the teacher"), (teacher, student, "the student")):
        lacking = [label for label in other.labels if label not in one.labels]
        if lacking:
            problem = f"it lacks {lacking[0]!r}, a label of {names}; both must know the same labels"
            raise ModelError(model=one.version[:12], problem=problem)
    return np.array([student.labels.index(label) for label in teacher.labels], dtype=np.intp)


def _parts(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise ModelError(
            model=directory, problem="there is no such directory; correct 'uri', or put the model there"
        )
    _require(directory, ("config.json",), "save the model there with save_pretrained")
    _require_safetensors(directory)
    _require(directory, _VOCABULARIES, "save the tokenizer there with save_pretrained")
    found = {path for pattern in FINGERPRINTED for path in directory.glob(pattern) if path.is_file()}
    return sorted(found, key=lambda path: path.name)


def _require(directory: Path, patterns: tuple[str, ...], fix: str) -> None:
    if not any(path.is_file() for pattern in patterns for path in directory.glob(pattern)):
        raise ModelError(model=directory, problem=f"it has no {' or '.join(patterns)}; {fix}")


def _require_safetensors(directory: Path) -> None:
    fix = "save the model there with save_pretrained"
    if any(directory.glob("pytorch_model*.bin")):
        fix = "pytorch_model.bin is a pickle and is not opened: load it where you trust it, and save it again"
    _require(directory, (_WEIGHTS,), fix)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the reports and progress bars of transformers."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _loading(directory: Path, part: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        problem = f"its {part} cannot be loaded ({_first_line(error)}); save it there again"
        raise ModelError(model=directory, problem=problem) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {' '.join(lines[:1])}".rstrip(": .")


def _load_network(directory: Path) -> PreTrainedModel:
    with _loading(directory, "network"):
        network: PreTrainedModel
        network, report = AutoModelForSequenceClassification.from_pretrained(
            directory,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # so that the report names them
            output_loading_info=True,
        )
    if report["missing_keys"] or report["mismatched_keys"]:
        raise ModelError(model=directory, problem=_lacking(report["missing_keys"], report["mismatched_keys"]))
    _own_weights(network)
    first_token_only(network)
    network.eval()  # type: ignore[no-untyped-call]
    return network


def _own_weights(network: PreTrainedModel) -> None:
    """Copy the weights to memory that torch has allocated and aligned.

    Loaded weights are mapped from the file: they would change with the file, and their offset in the file
    decides which kernel multiplies them, so that a copy of the model would give different last bits.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()


def _lacking(missing: Iterable[str], mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> str:
    for name, found, wanted in sorted(mismatched):
        shapes = f"{[*found]} in its weights and {[*wanted]} by its config"
        return f"{name} is {shapes}; put the files of one model there"
    return f"its weights lack {min(missing)}, which would be random; save the trained classifier there"


def _load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    with _loading(directory, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    if tokenizer.pad_token_id is None:
        raise ModelError(
            model=directory, problem="its tokenizer has no padding token; set one and save it again"
        )
    return tokenizer


def _check_vocabulary(directory: Path, tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel) -> None:
    highest = max(tokenizer.get_vocab().values())
    known = cast("nn.Embedding", network.get_input_embeddings()).num_embeddings
    if highest >= known:
        problem = (
            f"its tokenizer gives token ids up to {highest}, its network knows {known} tokens; "
            "put the tokenizer there that the network was trained with"
        )
        raise ModelError(model=directory, problem=problem)


def _labels(directory: Path, network: PreTrainedModel) -> tuple[str, ...]:
    """Return the labels, checked here: transformers also loads a config with gaps, duplicates or no names."""
    names = cast("dict[int, str]", network.config.id2label)
    if len(names) < _FEWEST_LABELS or sorted(names) != list(range(len(names))):
        problem = f"the id2label of its config.json must name the labels 0, 1, … of a classifier, not {names}"
        raise ModelError(model=directory, problem=problem)
    labels = tuple(str(names[index]) for index in range(len(names)))
    doubles = sorted({label for label in labels if labels.count(label) > 1})
    if doubles:
        problem = f"its config.json gives the label {doubles[0]!r} to two logits; name each once in id2label"
        raise ModelError(model=directory, problem=problem)
    return labels


def _max_length(tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel) -> int:
    """Return the limit in tokens; the first `padding_idx` + 1 positions of a RoBERTa are used by no token."""
    positions = (
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in network.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    )
    return min(tokenizer.model_max_length, _LONGEST, *positions)
