"""The start of a student: a classifier as it is, an encoder with a new head, or some layers of either."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (  # type: ignore[attr-defined]
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)

from distill.training.start import LayersError, load_start
from monitor.scoring.models import HeadMissingError, ModelError, fingerprint, load
from tests.support.world.architectures import make_classifier
from tests.support.world.models import CORPUS, answers, make_config, make_model, make_tokenizer, save

LABELS = ("faq", "returns", "order_tracking")
OTHERS = ("a", "b")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "classifier", LABELS, seed=1, layers=4)


def make_encoder(directory: Path, kind: type[BertModel | BertForMaskedLM] = BertModel) -> Path:
    tokenizer = make_tokenizer(CORPUS, max_length=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = kind(make_config(OTHERS, len(tokenizer), 32, 2, 64))
    return save(network, tokenizer, directory)


def layers_of(directory: Path) -> list[torch.Tensor]:
    return query_weights(BertForSequenceClassification.from_pretrained(directory))


def query_weights(network: Any) -> list[torch.Tensor]:  # noqa: ANN401 - torch does not type submodules
    return [layer.attention.self.query.weight for layer in network.base_model.encoder.layer]


def test_a_classifier_is_the_start_as_it_is(classifier: Path) -> None:
    start = load_start(classifier, LABELS, seed=7)
    assert start.version == fingerprint(classifier)
    assert np.array_equal(answers(start, CORPUS), answers(load(classifier), CORPUS))


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_an_encoder_without_a_head_gets_a_new_one_with_the_wanted_labels(
    tmp_path: Path, kind: type[BertModel | BertForMaskedLM]
) -> None:
    """Also one that was saved with a head for pre-training, and so without a pooler."""
    directory = make_encoder(tmp_path / "encoder", kind)
    with pytest.raises(HeadMissingError, match=r"lack classifier\.bias, which would be random"):
        load(directory)
    one, again, other = (load_start(directory, LABELS, seed=seed) for seed in (7, 7, 8))
    assert one.labels == LABELS
    assert one.version == other.version == fingerprint(directory)
    assert np.array_equal(answers(one, CORPUS), answers(again, CORPUS))
    assert not np.allclose(answers(one, CORPUS), answers(other, CORPUS))
    assert torch.equal(query_weights(one.network)[1], query_weights(other.network)[1])


def test_a_damaged_encoder_is_no_encoder_without_a_head(tmp_path: Path) -> None:
    directory = make_encoder(tmp_path / "encoder")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"lack bert\.encoder\.layer\.2.*, which would be random"):
        load_start(directory, LABELS, seed=7)


def test_layers_are_taken_at_even_distances_with_the_head(classifier: Path) -> None:
    start = load_start(classifier, LABELS, seed=7, layers=2)
    whole, taken = layers_of(classifier), query_weights(start.network)
    assert [torch.equal(*pair) for pair in zip(taken, (whole[0], whole[3]), strict=True)] == [True, True]
    head: Any = BertForSequenceClassification.from_pretrained(classifier).classifier
    cut: Any = start.network
    assert torch.equal(cut.classifier.weight, head.weight)
    assert start.labels == LABELS


@pytest.mark.parametrize("kind", ["camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"])
def test_layers_of_other_architectures(tmp_path: Path, kind: str) -> None:
    directory = make_classifier(kind, tmp_path / kind)
    n = AutoModelForSequenceClassification.from_pretrained(directory).config.num_hidden_layers
    start = load_start(directory, LABELS, seed=7, layers=1)
    assert start.network.config.num_hidden_layers == 1 < n
    assert answers(start, CORPUS).shape == (len(CORPUS), len(LABELS))


@pytest.mark.parametrize(("layers", "problem"), [(5, "it has 4; choose 1 to 4"), (0, "it has 4")])
def test_layers_that_it_does_not_have_are_refused(classifier: Path, layers: int, problem: str) -> None:
    with pytest.raises(LayersError, match=problem):
        load_start(classifier, LABELS, seed=7, layers=layers)


def test_an_architecture_whose_layers_are_unknown_is_refused(tmp_path: Path) -> None:
    directory = make_classifier("albert", tmp_path / "albert")
    with pytest.raises(LayersError, match=r"its architecture is albert, not one of bert, .*; use --init"):
        load_start(directory, LABELS, seed=7, layers=1)
