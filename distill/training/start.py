"""The model that the training of a student starts from: a classifier, an encoder, or some layers of one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from db.errors import RedistillError
from monitor.scoring.models import HeadMissingError, Model, ModelError, fingerprint, load, quiet
from monitor.scoring.placement import ON_CPU, Placement

#: The list of an encoder's layers, by family.
_LAYERS: Final = dict.fromkeys(
    ("bert", "camembert", "electra", "mpnet", "roberta", "xlm-roberta"), "encoder.layer"
) | {"distilbert": "transformer.layer"}


class LayersError(RedistillError):
    """No student can be made of {layers} layers of {model}: {problem}."""

    exit_code = 2


def load_start(
    directory: Path,
    labels: Sequence[str],
    *,
    seed: int,
    layers: int | None = None,
    placement: Placement = ON_CPU,
) -> Model:
    """Load the start of a student that is to have these labels.

    A classifier is used as it is. An encoder without a head, as AutoModel saves it, gets a new head, whose
    weights depend on the seed. With `layers`, only that many of the layers are used, as `chosen_layers`
    chooses them. `version` is the fingerprint of the directory.

    Raises:
        LayersError: the layers of this architecture are unknown, or there are fewer of them.
        ModelError: as for `load`.
    """
    version = fingerprint(directory)
    try:
        classifier: Model | None = load(directory, ON_CPU if layers else placement)
    except HeadMissingError:
        classifier = None
    if classifier is not None and layers is None:
        return classifier
    with TemporaryDirectory(prefix="redistill-start-") as temporary:
        folder = Path(temporary)
        network = _network(directory, None if classifier is not None else labels, seed)
        if layers is not None:
            _cut(network, directory, layers)
        with quiet():
            network.save_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
            tokenizer.save_pretrained(folder)
        try:
            return replace(load(folder, placement), version=version)
        except ModelError as error:
            raise ModelError(model=directory, problem=error.fields["problem"]) from error


def chosen_layers(n: int, of: int) -> tuple[int, ...]:
    """Return the indices of n of the layers, at even distances from the first to the last, halves rounded up.

    Source: Sanh et al. 2019, "DistilBERT", arXiv 1910.01108, section 3; its six layers are those of the
    example.

    Example:
        >>> chosen_layers(6, of=12), chosen_layers(2, of=6), chosen_layers(1, of=6)
        ((0, 2, 4, 7, 9, 11), (0, 5), (0,))
    """
    gaps = max(n - 1, 1)
    return tuple((2 * index * (of - 1) + gaps) // (2 * gaps) for index in range(n))


def _network(directory: Path, labels: Sequence[str] | None, seed: int) -> PreTrainedModel:
    """Return the classifier of a directory, with a new head where it is to have other labels than its own."""
    names: dict[str, Any] = {}
    if labels is not None:
        names["id2label"] = dict(enumerate(labels))
        names["label2id"] = {label: index for index, label in enumerate(labels)}
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        network: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            directory,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            **names,
        )
    return network


def _cut(network: PreTrainedModel, directory: Path, n: int) -> None:
    kind = network.config.model_type
    if kind not in _LAYERS:
        problem = f"its architecture is {kind}, not one of {', '.join(sorted(_LAYERS))}; use --init"
        raise LayersError(layers=n, model=directory, problem=problem)
    path, _, name = _LAYERS[kind].rpartition(".")
    parent = network.base_model.get_submodule(path)
    stack = cast("nn.ModuleList", getattr(parent, name))
    if not 1 <= n <= len(stack):
        problem = f"it has {len(stack)}; choose 1 to {len(stack)}"
        raise LayersError(layers=n, model=directory, problem=problem)
    setattr(parent, name, nn.ModuleList([stack[index] for index in chosen_layers(n, of=len(stack))]))
    network.config.num_hidden_layers = n
