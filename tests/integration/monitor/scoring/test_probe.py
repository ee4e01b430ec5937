"""What is held against a loaded model: each text must be scored in a batch as it is scored alone."""

from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (  # type: ignore[attr-defined]
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from monitor.scoring.models import Model, ModelError, load
from monitor.scoring.probe import probed
from tests.support.world.architectures import POSITIONS, SIZES, edit_json, make_classifier
from tests.support.world.models import CORPUS, answers, make_tokenizer

NOT_SUPPORTED = ("convbert", "fnet", "nystromformer", "xlnet")

TEXTS = (*CORPUS, "i like [SEP] tags", "[PAD] [MASK]", "order " * 200)


def alone(model: Model) -> NDArray[np.float32]:
    return np.concatenate([answers(model, [text]) for text in TEXTS])


def refusal(directory: Path) -> str:
    with pytest.raises(ModelError) as refused:
        load(directory)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("model_type", sorted(SIZES.keys() - {*NOT_SUPPORTED, "big_bird"}))
def test_a_supported_architecture_scores_a_text_in_a_batch_as_alone(model_type: str, tmp_path: Path) -> None:
    """Also one of 200 words for 64 positions, and one with special tokens."""
    model = load(make_classifier(model_type, tmp_path))
    together = answers(model, TEXTS)
    np.testing.assert_allclose(together, alone(model), atol=1e-4)
    assert together.std(axis=0).max() > 1e-3


@pytest.mark.parametrize("model_type", NOT_SUPPORTED)
def test_an_architecture_for_which_padding_matters_is_refused(model_type: str, tmp_path: Path) -> None:
    said = refusal(make_classifier(model_type, tmp_path))
    assert "between a batch and the text alone" in said
    assert f"its architecture, {model_type}, is not supported; use one of docs/models.md" in said


def test_a_tokenizer_that_pads_on_the_left_is_the_reason_that_is_given(tmp_path: Path) -> None:
    """An XLNet reads the last token."""
    directory = make_classifier("xlnet", tmp_path)
    edit_json(directory / "tokenizer_config.json", padding_side="left")
    assert "it needs padding on the left, which is not supported" in refusal(directory)


def test_padding_on_the_left_is_ignored_where_it_does_not_matter(tmp_path: Path) -> None:
    directory = make_classifier("bert", tmp_path)
    edit_json(directory / "tokenizer_config.json", padding_side="left")
    model = load(directory)
    np.testing.assert_allclose(answers(model, TEXTS), alone(model), atol=1e-4)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
@pytest.mark.parametrize("pad", [None, 5])
def test_another_padding_token_in_the_config_is_refused_with_both(
    model_type: str, pad: int | None, tmp_path: Path
) -> None:
    directory = make_classifier(model_type, tmp_path)
    edit_json(directory / "config.json", pad_token_id=pad)
    expected = f"pad_token_id is {pad} in its config.json and 0 in its tokenizer; set it to 0 in config.json"
    assert expected in refusal(directory)
    edit_json(directory / "config.json", pad_token_id=0)
    load(directory)


def test_a_tokenizer_without_attention_masks_is_refused(tmp_path: Path) -> None:
    directory = make_classifier("bert", tmp_path)
    edit_json(directory / "tokenizer_config.json", model_input_names=["input_ids"])
    assert "its tokenizer gives no attention mask; add attention_mask to model_input_names" in refusal(
        directory
    )


def test_attention_in_blocks_is_refused(tmp_path: Path) -> None:
    """It is switched off for good by the first short text."""
    directory = make_classifier("big_bird", tmp_path)
    assert "set 'original_full' in its config.json" in refusal(directory)
    edit_json(directory / "config.json", attention_type="original_full")
    load(directory)


@pytest.mark.parametrize("model_type", ["gpt2", "bart", "mbart", "openai-gpt", "ctrl", "roformer"])
def test_a_long_text_is_cut_to_the_positions_of_the_network(model_type: str, tmp_path: Path) -> None:
    """Whatever the network calls them, and although its tokenizer names no limit."""
    model = load(make_classifier(model_type, tmp_path))
    assert model.max_length == POSITIONS
    assert np.isfinite(answers(model, ["order " * 1_600])).all()


@pytest.mark.parametrize("model_type", ["llama", "deberta-v2", "modernbert"])
def test_relative_positions_limit_nothing(model_type: str, tmp_path: Path) -> None:
    model = load(make_classifier(model_type, tmp_path))
    assert model.max_length == 4_096
    assert np.isfinite(answers(model, ["order " * 100])).all()


def test_special_tokens_in_a_text_for_an_encoder_decoder_are_text(tmp_path: Path) -> None:
    """It reads the state of the end token, of which each text must have one."""
    model = load(make_classifier("bart", tmp_path))
    encoding = model.tokenizer("i like [SEP] tags")["input_ids"]
    assert encoding.count(model.tokenizer.sep_token_id) == 1


def test_a_text_without_tokens_is_scored(tmp_path: Path) -> None:
    """As one of blanks is for a tokenizer that adds no special tokens."""
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *" ".join(CORPUS).split()])}
    plain = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")  # noqa: S106
    model = load(make_classifier("gpt2", tmp_path, tokenizer=tokenizer))
    assert model.tokenizer("  ")["input_ids"] == []
    together = answers(model, ["where is my order", "  "])
    np.testing.assert_allclose(together[1:], answers(model, ["  "]), atol=1e-4)


def test_a_network_that_cannot_score_is_refused_with_its_error(tmp_path: Path) -> None:
    directory = make_classifier("t5", tmp_path)
    edit_json(directory / "config.json", decoder_start_token_id=None)
    assert "it cannot score a batch of texts (" in refusal(directory)


def test_the_probe_costs_as_much_as_a_few_requests() -> None:
    """For a network of the size of MiniLM, tens of milliseconds; the bound is for a busy machine."""
    sizes: Any = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    tokenizer = make_tokenizer(CORPUS, max_length=512)
    network = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), intermediate_size=1_536, **sizes)
    )
    network.eval()
    labels = ("faq", "returns")
    model = Model(version="0" * 64, labels=labels, tokenizer=tokenizer, network=network, max_length=512)
    start = thread_time()
    probed(model, Path())
    assert thread_time() - start < 1
