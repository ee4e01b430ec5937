"""Tiny classifiers of other architectures than BERT, with random weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerBase

from tests.support.world.models import CORPUS, make_tokenizer, save

LABELS: Final = ("faq", "promotion", "escalation")
POSITIONS: Final = 64

_COMMON: Final = {
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: number for number, label in enumerate(LABELS)},
}
_ENCODER: Final = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.5,
}
_DECODER: Final = {**_ENCODER, "num_key_value_heads": 2, "head_dim": 16}
_GPT2: Final = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS, "initializer_range": 0.5}
_BART: Final = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": POSITIONS,
    "init_std": 0.2,
}
_T5: Final = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
#: The sizes of each architecture, by its model_type.
SIZES: Final[Mapping[str, Mapping[str, Any]]] = {
    **dict.fromkeys(
        ("bert", "camembert", "electra", "ernie", "megatron-bert", "modernbert", "roberta", "xlm-roberta"),
        _ENCODER,
    ),
    **dict.fromkeys(("convbert", "fnet", "longformer", "mpnet", "nystromformer", "roformer"), _ENCODER),
    **dict.fromkeys(("gemma", "llama", "mistral", "qwen3"), _DECODER),
    "albert": {**_ENCODER, "embedding_size": 16},
    "big_bird": {**_ENCODER, "block_size": 4},
    "deberta-v2": {**_ENCODER, "relative_attention": True, "position_biased_input": False},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "initializer_range": 0.5},
    "gpt2": _GPT2,
    "ctrl": {**_GPT2, "dff": 64},
    "openai-gpt": _GPT2,
    "bart": _BART,
    "mbart": _BART,
    "t5": {**_T5, "decoder_start_token_id": 0},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "initializer_range": 0.5},
}


def make_classifier(
    model_type: str, directory: Path, *, tokenizer: PreTrainedTokenizerBase | None = None
) -> Path:
    """A classifier saved in `directory`, by default with a tokenizer that limits no length."""
    tokenizer = tokenizer or make_tokenizer(CORPUS, max_length=10**30)
    settings = {**_COMMON, **SIZES[model_type], "vocab_size": len(tokenizer) + 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = AutoConfig.for_model(model_type, **settings)
        network = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    return save(network.eval(), tokenizer, directory)


def edit_json(path: Path, **changes: object) -> None:
    """Change keys of the object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
