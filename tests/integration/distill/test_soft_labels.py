"""Offline soft labels: the teacher is asked once for a labelled file, and a job learns the same from that."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from distill.soft_labels import SoftLabels, used_mode
from distill.training.archived import with_first
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training.objective import Distillation
from monitor.scoring.models import Model, load
from monitor.stop import never_stopped
from monitor.storage.local_store import LocalStore
from redistill.display.progress import show_nothing
from tests.support.world.models import make_model
from tests.support.world.tiny_world import LABELS, utterances

#: Some texts occur twice, and one in two cases, which a tokenizer may tell apart.
TEXTS = tuple(each.text for each in utterances(30, new=0.3, rng=np.random.default_rng(1))) * 2 + ("Hi", "hi")
ROWS = LabelledSet(
    path=Path("train.jsonl"),
    sha256="5" * 64,
    texts=TEXTS,
    labels=np.zeros(len(TEXTS), dtype=np.int64),
    lines=tuple(range(1, len(TEXTS) + 1)),
)


@pytest.fixture
def teacher(tmp_path: Path) -> Iterator[Model]:
    yield load(make_model(tmp_path / "teacher", LABELS, seed=1))
    torch.set_num_threads(1)


class Asked:
    """Counts the batches that a model answers."""

    def __init__(self, model: Model) -> None:
        self.n = 0
        model.network.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.n += 1


def kept_by(teacher: Model, registry: Path) -> SoftLabels:
    return SoftLabels(store=LocalStore(registry), teacher=teacher, tokens_per_batch=64, show=show_nothing)


@pytest.mark.parametrize(
    ("mode", "n_runs", "are_kept", "used"),
    [
        ("online", 99, True, "online"),
        ("offline", 0, False, "offline"),
        ("auto", 4, False, "online"),
        ("auto", 5, False, "offline"),
        ("auto", 1, True, "offline"),
    ],
)
def test_who_runs_more_often_asks_the_teacher_once(
    mode: str, n_runs: int, used: str, *, are_kept: bool
) -> None:
    assert used_mode(mode, n_runs=n_runs, offline_above=4, are_kept=are_kept) == used  # type: ignore[arg-type]


def test_the_teacher_is_asked_once_for_a_file(teacher: Model, tmp_path: Path) -> None:
    asked = Asked(teacher)
    first = kept_by(teacher, tmp_path / "registry").of(ROWS, never_stopped)
    assert first.shape == (len(TEXTS), len(LABELS))
    n = asked.n
    again = kept_by(teacher, tmp_path / "registry")
    assert again.are_kept(ROWS)
    assert np.array_equal(again.of(ROWS, never_stopped), first)
    assert (n > 0, asked.n) == (True, n)
    assert np.array_equal(first[:30], first[30:60])


@pytest.mark.parametrize("damage", ["cut", "no tensors", "other texts"])
def test_a_damaged_file_is_made_again(teacher: Model, tmp_path: Path, damage: str) -> None:
    kept = kept_by(teacher, tmp_path / "registry")
    first = kept.of(ROWS, never_stopped)
    (file,) = (tmp_path / "registry" / "soft-labels" / teacher.version).iterdir()
    if damage == "other texts":
        other = LabelledSet(
            path=ROWS.path, sha256=ROWS.sha256, texts=("x",), labels=ROWS.labels[:1], lines=(1,)
        )
        file.unlink()
        kept.of(other, never_stopped)
    else:
        file.write_bytes(b"" if damage == "no tensors" else file.read_bytes()[:-9])
    with capture_logs() as logs:
        assert np.array_equal(kept.of(ROWS, never_stopped), first)
    assert bool(logs) is (damage != "other texts")
    asked = Asked(teacher)
    kept.of(ROWS, never_stopped)
    assert asked.n == 0


def test_the_loss_of_known_logits_is_that_of_the_teachers_answers(teacher: Model, tmp_path: Path) -> None:
    """For all rows, for some, and for rows of which the teacher answers a part."""
    student = load(make_model(tmp_path / "student", LABELS, seed=2))
    data = TrainingSet(texts=TEXTS, labels=ROWS.labels, labelled=np.ones(len(TEXTS), dtype=np.bool_))
    logits = kept_by(teacher, tmp_path / "registry").of(ROWS, never_stopped)
    online = Distillation(student, teacher, data, alpha=0.6, temperature=3.0)
    rows = torch.arange(10, 40)
    expected = online.loss(rows).item()
    for n in (len(TEXTS), 25, 5):
        known = TrainingSet(**{**vars(data), "known_logits": with_first(logits[:n], None)})
        offline = Distillation(student, teacher, known, alpha=0.6, temperature=3.0)
        asked = Asked(teacher)
        assert offline.loss(rows).item() == pytest.approx(expected, abs=1e-5)
        assert asked.n == (0 if n > 39 else 1)
        assert torch.allclose(offline._soft_labels(rows), online._soft_labels(rows), atol=1e-5, rtol=0)
