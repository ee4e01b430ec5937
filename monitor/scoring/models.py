"""Loading classifiers in the Hugging Face `save_pretrained` layout; docs/models.md says which.

Nothing in a model directory is executed or unpickled: weights are read only from safetensors, code in the
directory is refused, and nothing is downloaded.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from monitor.scoring.config import check_config, labels_of
from monitor.scoring.files import check_files, check_vocabulary_files, fingerprint
from monitor.scoring.first_token import first_token_only
from monitor.scoring.model import Model, ModelError, in_a_line, is_failure, match_labels
from monitor.scoring.placement import ON_CPU, Placement
from monitor.scoring.probe import probed

__all__ = ["HeadMissingError", "Model", "ModelError", "fingerprint", "load", "match_labels", "quiet"]

_LONGEST: Final = 4_096  #: tokens, for a model without a limit of its own
#: Weights that no classifier of texts uses: the pooler that some classes lack, the heads of pre-training, and
#: buffers that earlier versions of transformers saved.
_UNUSED: Final = re.compile(
    r"(^|\.)(pooler|lm_head|cls|qa_outputs|(\w+_)?predictions|sop_classifier|vocab_\w+)\."
    r"|(^|\.)(position_ids|masked_bias|final_logits_bias)$|^decoder\.(bias|weight)$"
)
#: A layer between encoder and head, which is as new as the head where an encoder was saved without it.
_POOLER: Final = re.compile(r"(^|\.)pooler\.")


class HeadMissingError(ModelError):
    """The model {model} cannot be used: {problem}."""


def load(directory: Path, placement: Placement = ON_CPU) -> Model:
    """Load the classifier in a directory, with its tokenizer; by default on the CPU and in float32.

    Raises:
        ModelError: a file is missing, damaged, from another model or not covered by the fingerprint; a weight
            of the network is not in the files, or one in the files is not of the network;
            the labels are not distinct names; the weights are not in safetensors; the model needs code of its
            own; the logits of a text depend on the batch that it is in.
        HeadMissingError: the files are those of an encoder without a head.
    """
    version = fingerprint(directory)
    with quiet(), _loading(directory, "model"):
        check_files(directory)
        check_config(directory)
        network = _load_network(directory)
        tokenizer = _load_tokenizer(directory)
        check_vocabulary_files(directory, tokenizer)
        _check_vocabulary(directory, tokenizer, network)
        tokenizer.split_special_tokens |= bool(network.config.is_encoder_decoder)
        model = Model(
            version=version,
            labels=labels_of(directory, network.config),
            tokenizer=tokenizer,
            network=network,
            max_length=_max_length(tokenizer, network),
        )
        model = probed(model, directory)
        return replace(model, network=network.to(placement.device), placement=placement)  # type: ignore[arg-type]


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
    except BaseException as error:
        if not is_failure(error):
            raise
        problem = f"its {part} cannot be loaded ({in_a_line(error)}); replace it with an undamaged copy"
        raise ModelError(model=directory, problem=problem) from error


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
    _check_weights(directory, network, report)
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


def _check_weights(directory: Path, network: PreTrainedModel, report: Mapping[str, Any]) -> None:
    missing: set[str] = {*report["missing_keys"]}
    head = {name for name in network.state_dict() if not name.startswith(f"{network.base_model_prefix}.")}
    encoder_only = bool(missing) and head <= missing and all(map(_POOLER.search, missing - head))
    problem = _misfit(() if encoder_only else missing, report["mismatched_keys"], report["unexpected_keys"])
    if problem is not None:
        raise ModelError(model=directory, problem=problem)
    if encoder_only:
        raise HeadMissingError(model=directory, problem=_lacking(min(missing & head)))


def _misfit(
    missing: Iterable[str],
    mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]],
    unexpected: Iterable[str],
) -> str | None:
    for name, found, wanted in sorted(mismatched):
        shapes = f"{[*found]} in its weights and {[*wanted]} by its config"
        return f"{name} is {shapes}; put the files of one model there"
    for name in sorted(missing):
        return _lacking(name)
    for name in sorted(unexpected):
        if not _UNUSED.search(name):
            return f"its config has no place for the weight {name}; put the files of one model there"
    return None


def _lacking(name: str) -> str:
    return f"its weights lack {name}, which would be random; save the trained classifier there"


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
    known = cast("nn.Embedding", network.get_input_embeddings()).weight.shape[0]
    if highest >= known:
        problem = (
            f"its tokenizer gives token ids up to {highest}, its network knows {known} tokens; "
            "put the tokenizer there that the network was trained with"
        )
        raise ModelError(model=directory, problem=problem)


def _max_length(tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel) -> int:
    """Return the limit in tokens; the first `padding_idx` + 1 positions of a RoBERTa are used by no token."""
    positions = (
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in network.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    )
    return min(tokenizer.model_max_length, _LONGEST, *positions)
