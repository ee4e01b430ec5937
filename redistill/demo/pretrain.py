"""The two models of the demo, trained from scratch with the production code.

The teacher is trained on both worlds; the student is distilled on the labelled train set, which has only the
usual one. Both are BERT classifiers with less than a million parameters.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from distill.first_student.recipe import Recipe, distilled
from distill.training.dataset import LabelledSet, read_labelled, training_set
from distill.training.loop import Progress
from distill.training.schedule import Schedule
from distill.training.train import fit
from monitor.scoring.models import Model, load, quiet
from monitor.stop import never_stopped
from redistill.demo.labelled import write_labelled
from redistill.demo.utterances import INTENTS
from redistill.display.progress import ShowProgress

#: The distillation of the student, at first and in each job.
EPOCHS: Final = 5
BATCH_SIZE: Final = 32
LEARNING_RATE: Final = 2e-3
ALPHA: Final = Decimal("0.7")
TEMPERATURE: Final = 3.0

_TEACHER_EPOCHS: Final = 2
_TEACHER_BATCH_SIZE: Final = 64
_TEACHER_LEARNING_RATE: Final = 1e-3

_VOCABULARY: Final = 1_500
_LONGEST: Final = 64
_SPECIAL: Final = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
}
#: BERT's default of 0.02 suits layers ten times as wide. At these widths it makes the first gradients so
#: small that the student may not converge in five epochs.
_WEIGHTS_SD: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class _Shape:
    layers: int
    hidden: int
    heads: int


_TEACHER: Final = _Shape(layers=3, hidden=128, heads=4)
_STUDENT: Final = _Shape(layers=1, hidden=64, heads=2)


def build(folder: Path, seed: int, progress: ShowProgress) -> None:
    """Write `data/` (labelled files), `models/teacher` and `models/student` to `folder`.

    The same seed and number of threads give bit-identical files.
    """
    files = write_labelled(folder / "data", rng=np.random.default_rng(seed))
    corpus = read_labelled(files.teacher, INTENTS)
    tokenizer = _tokenizer(corpus)
    teacher = _untrained(folder / "models" / "teacher", _TEACHER, tokenizer, seed)
    fit(
        teacher,
        corpus,
        Schedule(
            epochs=_TEACHER_EPOCHS,
            batch_size=_TEACHER_BATCH_SIZE,
            learning_rate=_TEACHER_LEARNING_RATE,
            seed=seed,
        ),
        stopped=never_stopped,
        progress=_shown(progress, "training the teacher"),
    )
    _save(teacher, folder / "models" / "teacher")
    student = folder / "models" / "student"
    _untrained(student, _STUDENT, tokenizer, seed)
    made = distilled(
        Recipe(
            init=student,
            layers=None,
            alpha=ALPHA,
            temperature=TEMPERATURE,
            schedule=Schedule(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, seed=seed),
        ),
        teacher,
        training_set(read_labelled(files.train, INTENTS), (), read_labelled(files.test, INTENTS)),
        stopped=never_stopped,
        progress=_shown(progress, "distilling the student"),
    )
    _save(made.student, student)


def _tokenizer(corpus: LabelledSet) -> PreTrainedTokenizerFast:
    """Return a plain BPE tokenizer; a WordPiece vocabulary from this library would differ between runs."""
    special = [*_SPECIAL.values()]
    tokenizer = Tokenizer(models.BPE(unk_token=_SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(vocab_size=_VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(corpus.texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[*zip(special, range(len(special)), strict=True)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=_LONGEST, **_SPECIAL
    )


def _untrained(directory: Path, shape: _Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> Model:
    config = BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        intermediate_size=256,
        max_position_embeddings=_LONGEST,
        initializer_range=_WEIGHTS_SD,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(INTENTS)),
        label2id={intent: number for number, intent in enumerate(INTENTS)},
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return load(directory)


def _save(model: Model, directory: Path) -> None:
    with quiet():
        model.network.save_pretrained(directory)


def _shown(progress: ShowProgress, what: str) -> Progress:
    return lambda done, total, _loss: progress(what, done, total)
