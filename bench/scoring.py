"""10,000 requests scored by a teacher and a student, compared with transformers.pipeline and a machine limit.

The limit is the time that the multiplications of a whole forward pass over the requests' tokens, without
padding, would take at the rate of one large float32 product on this machine, measured right before and after.
Redistill leaves out some of those multiplications, whose results are not used. Ratios are medians over the
rounds. The models have random weights, which does not change the time.

    make bench-scoring
    python bench/scoring.py --requests 2000 --rounds 3
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    TextClassificationPipeline,
)

from monitor.cores import keep_freed_memory, usable_cores
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load, quiet
from redistill.demo.utterances import INTENTS, generate

_TOKENS_PER_BATCH: Final = 1_024
_PIPELINE_BATCH: Final = 64
_VOCABULARY: Final = 30_522
_SPECIAL: Final = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
_ZIPF: Final = 1.1  #: exponent of the Zipf law by which texts repeat
_COMPARED: Final = 200  #: texts whose logits are compared with a plain forward pass
_PEAK_SIZE: Final = 2_048


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The dimensions of a BERT."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int


SHAPES: Final = (
    Shape(name="teacher, as DistilBERT", hidden=768, inner=3_072, layers=6, heads=12),
    Shape(name="student, as TinyBERT", hidden=312, inner=1_200, layers=4, heads=12),
)


def build(folder: Path, shape: Shape, words: Sequence[str]) -> Path:
    pieces = dict.fromkeys([*_SPECIAL.values(), *words])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=_SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = BertConfig(
        vocab_size=_VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        id2label=dict(enumerate(INTENTS)),
        label2id={label: number for number, label in enumerate(INTENTS)},
    )
    torch.manual_seed(2025)
    with quiet():
        BertForSequenceClassification(config).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **_SPECIAL).save_pretrained(
            folder
        )
    return folder


def ours(model: Model, texts: Sequence[str]) -> NDArray[np.float32]:
    return score(
        model,
        texts,
        tokens_per_batch=_TOKENS_PER_BATCH,
        stopped=lambda: False,
        progress=lambda _done: None,
    )


def plain(network: PreTrainedModel, model: Model, text: str) -> NDArray[np.float32]:
    """Score one text, as the library's documentation shows it."""
    inputs = model.tokenizer(text, return_tensors="pt", truncation=True)
    with torch.inference_mode():
        return network(**inputs).logits[0].numpy()


def operations(shape: Shape, lengths: NDArray[np.int64]) -> float:
    """Return the floating-point operations of a forward pass's products, without padding and head."""
    per_token = 2 * (4 * shape.hidden**2 + 2 * shape.hidden * shape.inner)
    attention = 4 * shape.hidden * np.square(lengths).sum()
    return float(shape.layers * (per_token * lengths.sum() + attention))


def peak(seconds: float = 2.0) -> float:
    """Return the operations per second of one large product, the median over `seconds` of them."""
    left, right = torch.rand(_PEAK_SIZE, _PEAK_SIZE), torch.rand(_PEAK_SIZE, _PEAK_SIZE)
    times, began = [], perf_counter()
    while perf_counter() - began < seconds:
        times.append(timed(lambda: left @ right))
    return 2 * _PEAK_SIZE**3 / float(np.median(times))


def timed(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def compare(
    folder: Path, shape: Shape, texts: Sequence[str], rng: np.random.Generator, rounds: int
) -> list[str]:
    model, network = load(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    pipeline = TextClassificationPipeline(
        model=network, tokenizer=model.tokenizer, batch_size=_PIPELINE_BATCH, device="cpu"
    )
    repeated = [texts[rank] for rank in np.minimum(rng.zipf(_ZIPF, size=len(texts)), len(texts)) - 1]
    lengths = np.array([len(ids) for ids in model.tokenizer(list(texts))["input_ids"]])
    runs = []
    for _ in range(rounds):
        before = peak()
        mine = timed(lambda: ours(model, texts))
        limit = operations(shape, lengths) / ((before + peak()) / 2)
        others = timed(lambda: pipeline(list(texts), top_k=None))
        mine_repeated = timed(lambda: ours(model, repeated))
        others_repeated = timed(lambda: pipeline(repeated, top_k=None))
        runs.append((mine, others, others / mine, limit / mine, others_repeated / mine_repeated))
    seconds, others_seconds, faster, of_limit, faster_repeated = np.median(runs, axis=0)
    together = ours(model, texts)
    apart = max(
        np.abs(together[at] - plain(network, model, text)).max() for at, text in enumerate(texts[:_COMPARED])
    )
    return [
        shape.name,
        f"{len(texts) / seconds:,.0f}/s",
        f"{len(texts) / others_seconds:,.0f}/s",
        f"{faster:.2f}",
        f"{of_limit:.2f}",
        f"{faster_repeated:.1f}",
        f"{apart:.0e}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")  # the pipeline advises to use a data set
    torch.set_num_threads(usable_cores())
    keep_freed_memory()
    rng = np.random.default_rng(2025)
    texts = list(dict.fromkeys(each.text for each in generate(wanted.requests * 3, shift=0.5, rng=rng)))
    texts = texts[: wanted.requests]
    words = sorted({word for text in texts for word in text.lower().split()})
    table = Table(title=f"{len(texts):,} different requests, {torch.get_num_threads()} threads, float32")
    headings = (
        "model", "redistill", "pipeline", "times as fast", "share of the limit", "times as fast on repeats",
        "largest difference in logits",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "model" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            built = build(Path(folder, shape.name), shape, words)
            table.add_row(*compare(built, shape, texts, rng, wanted.rounds))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
