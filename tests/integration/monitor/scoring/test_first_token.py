"""A last layer that goes on with the first token alone gives what the whole layer gives."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from monitor.scoring.first_token import first_token_only
from monitor.scoring.models import load
from tests.support.world.models import CORPUS, make_tokenizer, save

CUT = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
LEFT_WHOLE = ("albert", "mpnet")


def make_network(family: str, layers: int, vocabulary: int) -> PreTrainedModel:
    names = ("dim", "hidden_dim") if family == "distilbert" else ("hidden_size", "intermediate_size")
    config = AutoConfig.for_model(
        family,
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_labels=3,
        pad_token_id=0,
        **dict(zip(names, (24, 48), strict=True)),
    )
    torch.manual_seed(7)
    return AutoModelForSequenceClassification.from_config(config).eval()


def inputs(vocabulary: int) -> dict[str, torch.Tensor]:
    tokens = torch.randint(5, vocabulary, (5, 9), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([9, 2, 5, 9, 1])
    mask = (torch.arange(9) < lengths[:, None]).long()
    return {"input_ids": tokens * mask, "attention_mask": mask}


@pytest.mark.parametrize("family", [*CUT, *LEFT_WHOLE])
@pytest.mark.parametrize("layers", [1, 3])
def test_logits_and_gradients_are_those_of_the_whole_layer(family: str, layers: int) -> None:
    whole = make_network(family, layers, vocabulary=50)
    cut = copy.deepcopy(whole)
    first_token_only(cut)
    logits = [network(**inputs(50)).logits for network in (whole, cut)]
    for each in logits:
        torch.logsumexp(each, dim=1).sum().backward()
    np.testing.assert_allclose(logits[1].detach(), logits[0].detach(), atol=1e-6)
    for (name, one), other in zip(whole.named_parameters(), cut.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", CUT)
def test_the_last_layer_of_a_loaded_model_gives_the_first_token_alone(family: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(CORPUS, max_length=16)
    network = make_network(family, 2, len(tokenizer))
    model = load(save(network, tokenizer, tmp_path))
    found = model.network(**inputs(len(tokenizer)), output_hidden_states=True)
    assert found.hidden_states[-1].shape == (5, 1, 24)
    assert found.hidden_states[-2].shape == (5, 9, 24)
    np.testing.assert_allclose(
        found.logits.detach(), network(**inputs(len(tokenizer))).logits.detach(), atol=1e-6
    )


def test_a_network_without_layers_stays_as_it_is() -> None:
    network = make_network("bert", 0, vocabulary=50)
    first_token_only(network)
    assert network(**inputs(50)).logits.shape == (5, 3)
