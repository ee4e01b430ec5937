"""The drifted service of bench/worlds.py on CLINC150, with the models of examples/clinc150."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pair
from corpus import Corpus, Utterance, read_corpus, write_labelled
from pair import Distilling, LabelledFiles
from worlds import Rows, World

from distill.training.dataset import read_labelled, split_archive
from distill.training.schedule import Schedule
from redistill.display.progress import show_nothing

_SEED: Final = 2025
_TEACHER: Final = Schedule(epochs=2, batch_size=64, learning_rate=1e-4, seed=_SEED)
_STUDENT: Final = Schedule(epochs=3, batch_size=64, learning_rate=3e-4, seed=_SEED)
_CANDIDATE: Final = Schedule(epochs=3, batch_size=64, learning_rate=2e-4, seed=_SEED)


def clinc150(folder: Path, data: Path) -> World:
    """Return a world in whose archive half of the requests are on topics that only the good teacher knows."""
    corpus = read_corpus(data, np.random.default_rng(_SEED))
    teacher, student = models(folder / "good", corpus)
    good, poor = (_files(folder / name, corpus, whole=name == "good") for name in ("good", "poor"))
    teachers = {"good": teacher, "poor": pair.teacher(poor, _TEACHER, show_nothing)}
    half = len(corpus.new_topics) // 2
    archive = _rows(corpus, [*corpus.new_topics[:half], *corpus.usual[:half]])
    held_out = dict.fromkeys(split_archive(archive.texts).rows)
    return World(
        student=student,
        teachers=teachers,
        schedule=_CANDIDATE,
        train=read_labelled(good.train, corpus.labels),
        test=read_labelled(good.test, corpus.labels),
        archived=archive.part([row for row in range(len(archive.texts)) if row not in held_out]),
        condemned=archive.part([*held_out]),
        new_world=_rows(corpus, corpus.new_topics[half:]),
    )


def models(folder: Path, corpus: Corpus) -> tuple[Path, Path]:
    """Return the folders of the teacher of all topics and of its student, which are made once and cached."""
    files = _files(folder, corpus, whole=True)
    teacher = pair.teacher(files, _TEACHER, show_nothing)
    return teacher, pair.student(
        files, teacher, _STUDENT, Distilling(alpha=0.7, temperature=3.0), show_nothing
    )


def _files(folder: Path, corpus: Corpus, *, whole: bool) -> LabelledFiles:
    """Write the labelled files; those of the poor teacher have the student's topics only."""
    return LabelledFiles(
        labels=corpus.labels,
        teacher=write_labelled(folder / "teacher.jsonl", corpus.teacher if whole else corpus.train),
        train=write_labelled(folder / "train.jsonl", corpus.train),
        validation=write_labelled(folder / "validation.jsonl", corpus.validation),
        test=write_labelled(folder / "test.jsonl", corpus.test),
    )


def _rows(corpus: Corpus, utterances: Sequence[Utterance]) -> Rows:
    return Rows(
        texts=tuple(each.text for each in utterances),
        labels=np.array([corpus.labels.index(each.label) for each in utterances], dtype=np.int64),
    )
