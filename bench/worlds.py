"""A drifted service to re-distil: models, a breached archive, a new world; of the demo, or of CLINC150.

The archive is what three breached hours leave: mixed traffic, of which the product holds out a part. The new
world is fresh traffic of the drifted kind alone. The poor teacher has learned the usual traffic only, so that
it errs where the student has to learn.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification

from distill.training.archived import ArchivedRow
from distill.training.dataset import LabelledSet, TrainingSet, read_labelled, split_archive, training_set
from distill.training.schedule import Schedule
from distill.training.train import fit
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load
from monitor.stop import never_stopped
from redistill.demo import pretrain
from redistill.demo.utterances import INTENTS, Utterance, generate
from redistill.display.progress import show_nothing

_TOKENS: Final = 4_096
_SHARE: Final = 0.3  #: of drifted requests in the archive
_ARCHIVED: Final = 4_000
_NEW_WORLD: Final = 4_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Requests with their true labels, which are indices into the labels of the world."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]

    def part(self, rows: Sequence[int]) -> "Rows":
        return Rows(texts=tuple(self.texts[row] for row in rows), labels=self.labels[list(rows)])


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """The models and the data of a job."""

    student: Path
    teachers: dict[str, Path]  #: "good" and "poor"
    schedule: Schedule
    train: LabelledSet
    test: LabelledSet
    archived: Rows  #: to train on
    condemned: Rows  #: the held-out part of the archive
    new_world: Rows

    def training(self, n_labelled: int | None, seed: int) -> TrainingSet:
        """Return the rows of a job; so many archived requests have their true label, drawn at random."""
        n = len(self.archived.texts)
        drawn = np.random.default_rng(seed).permutation(n)[: n if n_labelled is None else n_labelled]
        known = dict.fromkeys(drawn.tolist())
        rows = [
            ArchivedRow(text=text, label=int(label) if row in known else None)
            for row, (text, label) in enumerate(zip(self.archived.texts, self.archived.labels, strict=True))
        ]
        return training_set(self.train, rows, self.test)


def logits(model: Model, texts: Sequence[str]) -> NDArray[np.float32]:
    return score(model, texts, tokens_per_batch=_TOKENS, stopped=never_stopped, progress=lambda _done: None)


def demo(folder: Path, seed: int) -> World:
    """Return the world of `make demo`, with a poor teacher that has learned the labelled train set only."""
    pretrain.build(folder, seed, show_nothing)
    train, test = (read_labelled(folder / "data" / f"{name}.jsonl", INTENTS) for name in ("train", "test"))
    _fit_poor_teacher(folder / "models" / "poor", train, seed)
    rng = np.random.default_rng([seed, 1])
    archive = _rows(generate(_ARCHIVED, shift=_SHARE, rng=rng))
    held_out = dict.fromkeys(split_archive(archive.texts).rows)
    return World(
        student=folder / "models" / "student",
        teachers={"good": folder / "models" / "teacher", "poor": folder / "models" / "poor"},
        schedule=Schedule(
            epochs=pretrain.EPOCHS,
            batch_size=pretrain.BATCH_SIZE,
            learning_rate=pretrain.LEARNING_RATE,
            seed=seed,
        ),
        train=train,
        test=test,
        archived=archive.part([row for row in range(len(archive.texts)) if row not in held_out]),
        condemned=archive.part([*held_out]),
        new_world=_rows(generate(_NEW_WORLD, shift=1.0, rng=rng)),
    )


def _fit_poor_teacher(folder: Path, rows: LabelledSet, seed: int) -> None:
    """Train the teacher's network from its beginning on the usual traffic alone."""
    shutil.copytree(folder.with_name("teacher"), folder)
    torch.manual_seed(seed)
    BertForSequenceClassification(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    model = load(folder)
    schedule = Schedule(epochs=5, batch_size=64, learning_rate=1e-3, seed=seed)
    fit(model, rows, schedule, stopped=never_stopped, progress=lambda *_: None)
    model.network.save_pretrained(folder)


def _rows(utterances: Sequence[Utterance]) -> Rows:
    return Rows(
        texts=tuple(each.text for each in utterances),
        labels=np.array([INTENTS.index(each.label) for each in utterances], dtype=np.int64),
    )
