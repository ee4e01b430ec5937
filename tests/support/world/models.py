"""Tiny real model directories, built from scratch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import digits

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (  # type: ignore[attr-defined]
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from monitor.scoring.batches import score
from monitor.scoring.models import Model, quiet
from monitor.stop import never_stopped

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CORPUS = (
    "where is my order",
    "i want my money back",
    "show me something like this manga",
    "does this edition come in colour",
    "talk to a person please",
    "is there a discount code for volume two",
    "hello there how are you today",
    "the checkout page does not take my card",
)


def answers(model: Model, texts: Sequence[str]) -> NDArray[np.float32]:
    """The model's logits, in batches of the usual size."""
    return score(model, texts, stopped=never_stopped, progress=lambda _: None, tokens_per_batch=1_024)


def make_model(
    directory: Path,
    labels: Sequence[str],
    *,
    seed: int,
    hidden: int = 32,
    layers: int = 1,
    corpus: Iterable[str] = CORPUS,
    max_length: int = 64,
) -> Path:
    """A BERT classifier with random weights, saved in `directory`. Its answers differ from text to text, and
    on the corpus all logits are 0 on average.
    """
    corpus = tuple(corpus)
    tokenizer = make_tokenizer(corpus, max_length=max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(make_config(labels, len(tokenizer), hidden, layers, max_length))
    model.eval()  # type: ignore[no-untyped-call]
    inputs = tokenizer(list(corpus), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        model.classifier.bias.data -= model(**inputs).logits.mean(axis=0)
    return save(model, tokenizer, directory)


def make_copy(
    source: Path, directory: Path, *, labels: Sequence[str] | None = None, noise: float = 0.0, seed: int = 0
) -> Path:
    """The same classifier, with its logits in the order of `labels` and normal noise on its last weights."""
    model = BertForSequenceClassification.from_pretrained(source)
    names = [name for _, name in sorted(dict[int, str](model.config.id2label or {}).items())]
    order = [names.index(label) for label in labels or names]
    generator = torch.Generator().manual_seed(seed)
    weight = model.classifier.weight.data
    weight += noise * torch.randn(weight.shape, generator=generator)
    model.classifier.weight.data = weight[order]
    model.classifier.bias.data = model.classifier.bias.data[order]
    model.config.id2label = {new: names[old] for new, old in enumerate(order)}
    model.config.label2id = {names[old]: new for new, old in enumerate(order)}
    return save(model, BertTokenizerFast.from_pretrained(source), directory)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> Path:
    with quiet():
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory


def make_config(
    labels: Sequence[str], vocab_size: int, hidden: int, layers: int, max_length: int
) -> BertConfig:
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_length,
        initializer_range=0.5,  # large, so that the logits differ from text to text
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )


def make_tokenizer(corpus: Iterable[str], *, max_length: int) -> BertTokenizerFast:
    """A piece a word, and letters for all else. A vocabulary that is learned is another in each process."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = [word for text in corpus for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    letters = sorted({*digits, *(letter for word in words for letter in word)})
    pieces = dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length)
