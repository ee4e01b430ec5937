"""A tiny, real world: utterances, a teacher that knows all of them, and a student that knows the usual ones.

An utterance is two keywords of its intent among fillers. Each intent has usual keywords and new ones, and
an utterance has keywords of one kind. The teacher has learned both kinds and the student one, so a share
of new ones in the traffic is a drift of a known size. No keyword is a word of a label, a log line or a
schema: wherever one turns up, the text of a request has leaked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertForSequenceClassification, BertTokenizerFast  # type: ignore[attr-defined]

from distill.training.dataset import read_labelled, training_set
from distill.training.schedule import Schedule
from distill.training.train import fit, train
from monitor.scoring.models import Model, load, quiet
from monitor.stop import never_stopped
from tests.support.world.models import SPECIAL, make_config, save

#: The keywords of each intent.
Words = Mapping[str, tuple[str, ...]]

USUAL: Final[Words] = {
    "order_tracking": ("parcel", "delayed", "whereabouts", "doorstep"),
    "return_request": ("refund", "sendback", "moneyback", "damaged"),
    "recommendation": ("similar", "suggest", "favourites", "bookshelf"),
    "promotion": ("coupon", "bargain", "cheaper", "voucher"),
    "checkout_help": ("basket", "creditcard", "billing", "declined"),
    "escalation": ("complaint", "somebody", "furious", "unacceptable"),
}
NEW: Final[Words] = {
    "order_tracking": ("drone", "courierapp"),
    "return_request": ("boomerang", "swapback"),
    "recommendation": ("rabbithole", "bingeworthy"),
    "promotion": ("bogo", "flashdrop"),
    "checkout_help": ("tapnpay", "instalment"),
    "escalation": ("ombudsman", "lawyer"),
}
LABELS: Final = tuple(USUAL)
KEYWORDS: Final = tuple(word for kind in (USUAL, NEW) for words in kind.values() for word in words)
_FILLERS: Final = [
    *("please", "the", "my", "a", "is", "can", "you", "i", "me", "it"),
    *("for", "this", "to", "with", "today", "about", "have", "of", "on"),
]

_SEED: Final = 2025
_MAX_LENGTH: Final = 32
#: So many utterances in a hundred have a keyword of another intent among them: both models err there.
_AMBIGUOUS: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Utterance:
    text: str
    label: str


@dataclass(frozen=True, kw_only=True)
class World:
    """Where its models and labelled files lie; they are only read."""

    teacher: Path
    student: Path
    train: Path
    test: Path


def utterances(n: int, *, new: float, rng: np.random.Generator, new_words: Words = NEW) -> list[Utterance]:
    """So many utterances, of which the share `new` has new keywords."""
    intents = rng.integers(len(LABELS), size=(n, 2))
    kinds = [new_words if is_new else USUAL for is_new in rng.random(n) < new]
    clear = rng.random(n) >= _AMBIGUOUS
    return [
        Utterance(
            text=_text(kind, LABELS[first], LABELS[first if is_clear else second], rng), label=LABELS[first]
        )
        for kind, (first, second), is_clear in zip(kinds, intents, clear, strict=True)
    ]


def _text(kind: Words, intent: str, other: str, rng: np.random.Generator) -> str:
    words = [
        str(rng.choice(kind[intent])),
        str(rng.choice(kind[other])),
        *rng.choice(_FILLERS, size=rng.integers(3, 7)).tolist(),
    ]
    rng.shuffle(words)
    return " ".join(words)


def build(folder: Path, *, new_words: Words = NEW, lesson: Sequence[Utterance] | None = None) -> World:
    """Both models, trained from scratch, and the student's labelled files; about 3 s on one core.

    The teacher has learned the `new_words`, or the `lesson`, which may be wrong.
    """
    rng = np.random.default_rng(_SEED)
    world = World(
        teacher=folder / "teacher",
        student=folder / "student",
        train=folder / "train.jsonl",
        test=folder / "test.jsonl",
    )
    tokenizer = _tokenizer(new_words)
    everything = utterances(2_000, new=0.5, rng=rng, new_words=new_words)
    _write(folder / "everything.jsonl", lesson or everything)
    test = _write(world.test, utterances(500, new=0.0, rng=rng))
    _write(world.train, [each for each in utterances(1_200, new=0.0, rng=rng) if each.text not in test])
    _train_teacher(_untrained(world.teacher, tokenizer, hidden=64), folder / "everything.jsonl")
    _train_student(_untrained(world.student, tokenizer, hidden=32), world)
    return world


def _write(path: Path, rows: Sequence[Utterance]) -> set[str]:
    path.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows), encoding="utf-8")
    return {row.text for row in rows}


def _untrained(directory: Path, tokenizer: BertTokenizerFast, *, hidden: int) -> Path:
    config = make_config(LABELS, len(tokenizer), hidden, 1, _MAX_LENGTH)
    config.initializer_range = 0.1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = BertForSequenceClassification(config)
    return save(network, tokenizer, directory)


def _tokenizer(new_words: Words) -> BertTokenizerFast:
    """A token a word. A vocabulary that is learned is another one in each process."""
    keywords = (word for kind in (USUAL, new_words) for words in kind.values() for word in words)
    tokens = dict.fromkeys((*SPECIAL, *keywords, *_FILLERS))
    tokenizer = Tokenizer(WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))  # noqa: S106 - a token
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=_MAX_LENGTH)


def _train_teacher(directory: Path, labelled: Path) -> None:
    teacher = load(directory)
    fit(
        teacher,
        read_labelled(labelled, LABELS),
        Schedule(epochs=5, batch_size=64, learning_rate=6e-3, seed=_SEED),
        stopped=never_stopped,
        progress=lambda *_: None,
    )
    _save(teacher, directory)


def _train_student(directory: Path, world: World) -> None:
    student, teacher = load(directory), load(world.teacher)
    train(
        student,
        teacher,
        training_set(read_labelled(world.train, LABELS), (), read_labelled(world.test, LABELS)),
        Schedule(epochs=6, batch_size=64, learning_rate=6e-3, seed=_SEED),
        alpha=0.7,
        temperature=3.0,
        stopped=never_stopped,
        progress=lambda *_: None,
    )
    _save(student, directory)


def _save(model: Model, directory: Path) -> None:
    with quiet():
        model.network.save_pretrained(directory)
