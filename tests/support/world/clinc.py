"""The sixteen intents of examples/clinc150/new_intents.py, with its models, for the long proofs."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from db.records import TeacherPoint
from monitor.measure import measure
from monitor.scoring.models import Model, load
from tests.support.world.models import answers
from triggers.rules.cycle_point import teacher_point_of
from triggers.teacher.correctness import split

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "clinc150"
VARIABLE: Final = "REDISTILL_CLINC150"
N: Final = 1_500
SEED: Final = 2025

Logits = NDArray[np.float32]
Rows = NDArray[np.intp]


def data_folder() -> Path:
    """The folder of CLINC150's two files; without one the test fails in CI and is skipped elsewhere."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        said = (
            f"set {VARIABLE} to the folder of CLINC150's data_full.json and domains.json (examples/README.md)"
        )
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    return Path(folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Router:
    """Both models, and the held-out texts of which windows are drawn."""

    teacher: Model
    student: Model
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    truth: Rows  #: of each text
    taught: tuple[int, ...]  #: labels that the student learnt
    untaught: tuple[int, ...]
    cached: dict[tuple[str, str], Logits] = field(default_factory=dict)

    def answers(self, name: str, change: Callable[[str], str] = str) -> tuple[Logits, Logits]:
        """Both models' logits of all texts, each changed; once for a name."""
        for model in (self.teacher, self.student):
            if (name, model.version) not in self.cached:
                self.cached[name, model.version] = answers(model, [change(text) for text in self.texts])
        return self.cached[name, self.teacher.version], self.cached[name, self.student.version]

    def window(
        self,
        rng: np.random.Generator,
        *,
        share: float = 0.0,
        n_untaught: int = 6,
        weights: Mapping[int, float] | None = None,
    ) -> Rows:
        """Draw a window's requests, of which the share asks for the first untaught intents."""
        n_new = round(N * share)
        usual = np.flatnonzero(np.isin(self.truth, self.taught))
        weight = np.array([(weights or {}).get(label, 1.0) for label in self.truth[usual].tolist()])
        new = np.flatnonzero(np.isin(self.truth, self.untaught[:n_untaught]))
        return np.concatenate([rng.choice(usual, N - n_new, p=weight / weight.sum()), rng.choice(new, n_new)])

    def point(self, logits: tuple[Logits, Logits], rows: Rows, *, with_labels: bool) -> TeacherPoint:
        """The cycle of a window whose requests got these logits."""
        teacher, student = (each[rows] for each in logits)
        found = teacher_point_of(measure(teacher, student, self.labels, temperature=3.0))
        if not with_labels:
            return found
        correctness = split(
            self.truth[rows], teacher.argmax(axis=1), student.argmax(axis=1), np.ones(rows.size)
        )
        return TeacherPoint(**{**vars(found), "correctness": correctness})


def read_router(folder: Path, kept: Path) -> Router:
    """Train the models of the example, or find them in its cache."""
    sys.path.insert(0, str(EXAMPLE))
    from intents import read_intents  # noqa: PLC0415 - found from here on
    from new_intents import models  # noqa: PLC0415

    corpus = read_intents(folder, np.random.default_rng(SEED))
    teacher, student = map(load, models(corpus, kept, SEED))
    held_out = (*corpus.usual, *corpus.new_topics)
    untaught = dict.fromkeys(each.label for each in corpus.new_topics)
    return Router(
        teacher=teacher,
        student=student,
        labels=teacher.labels,
        texts=tuple(each.text for each in held_out),
        truth=np.array([teacher.labels.index(each.label) for each in held_out]),
        taught=tuple(
            teacher.labels.index(label) for label in dict.fromkeys(each.label for each in corpus.usual)
        ),
        untaught=tuple(teacher.labels.index(label) for label in untaught),
    )
