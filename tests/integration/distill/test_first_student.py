"""The maker of a first student: interrupted, resumed, and among several seeds."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import distill.evaluate
from distill.first_student.maker import FirstStudent, Maker
from distill.first_student.measured import Exam
from distill.first_student.recipe import Recipe
from distill.first_student.rows import LabelledRows, read_rows
from distill.training.fields import TEXT_AND_LABEL
from distill.training.schedule import Schedule
from monitor.scoring.models import Model, load
from monitor.settings import MetricsSection
from monitor.stop import StoppedError, never_stopped
from monitor.storage.local_store import LocalStore
from tests.support.world.models import CORPUS, make_model

LABELS = ("faq", "returns", "order_tracking")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
WORDS = sorted(set(" ".join(CORPUS).split()))


@pytest.fixture(autouse=True)
def few_latency_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill.evaluate, "_LATENCY_RUNS", 3)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_model(tmp_path_factory.mktemp("models") / "teacher", LABELS, seed=1, layers=2))


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "init", LABELS, seed=2, hidden=16)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> LabelledRows:
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(3)
    sizes = {"train": 48, "validation": 16, "test": 16}
    for name, n in sizes.items():
        lines = [f"{name} {' '.join(rng.choice(WORDS, 5))},{rng.choice(LABELS)}" for _ in range(n)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    paths = {name: folder / f"{name}.csv" for name in sizes}
    return read_rows(**paths, labels=LABELS, fields=TEXT_AND_LABEL)


@pytest.fixture
def maker(teacher: Model, init: Path, rows: LabelledRows, tmp_path: Path) -> Maker:
    schedule = Schedule(epochs=2, batch_size=16, learning_rate=5e-3, seed=7)
    return Maker(
        store=LocalStore(tmp_path / "registry"),
        teacher=teacher,
        rows=rows,
        recipe=Recipe(init=init, layers=None, alpha=Decimal("0.7"), temperature=3.0, schedule=schedule),
        exam=Exam.of(
            teacher,
            rows,
            MetricsSection(resamples=100),
            tokens_per_batch=512,
            stopped=never_stopped,
            show=lambda *_: None,
        ),
        show=lambda *_: None,
    )


def make(maker: Maker, *seeds: int, stopped: Callable[[], bool] = never_stopped) -> FirstStudent:
    return maker.make(seeds or (7,), with_baseline=len(seeds) < 2, stopped=stopped, now=NOW)


def after(n: int) -> Callable[[], bool]:
    """Stop at the n-th question."""
    asked = iter(range(n))
    return lambda: next(asked, None) is None


def test_interrupted_anywhere_it_leaves_no_version_and_resumes_to_the_same_one(
    maker: Maker, tmp_path: Path
) -> None:
    folder = tmp_path / "registry"
    for n in (1, 60, 120, 200):
        with pytest.raises(StoppedError):
            make(maker, 7, stopped=after(n))
        left = {path.name.partition("-")[0] for path in folder.iterdir()}
        assert left <= {"registry.json", ".checkpoint"}
    resumed = make(maker, 7)
    other = Maker(**{**vars(maker), "store": LocalStore(tmp_path / "other")})
    undisturbed = make(other, 7)
    assert resumed.registered.version == undisturbed.registered.version
    assert resumed.kept.log == undisturbed.kept.log
    assert {path.name for path in folder.iterdir()} == {"registry.json", "versions"}


def test_the_seed_with_the_best_validation_is_kept(maker: Maker, tmp_path: Path) -> None:
    found = make(maker, 7, 8)
    best = max((each.validation.accuracy, each.validation.agreement) for each in found.students)
    assert (found.kept.validation.accuracy, found.kept.validation.agreement) == best
    assert [each.seed for each in found.students] == [7, 8]
    assert len([*(tmp_path / "registry" / "versions").iterdir()]) == 1


def test_the_baseline_takes_the_same_steps_on_the_labels_alone(maker: Maker) -> None:
    found = make(maker)
    (baseline,) = found.baselines
    assert baseline.log.steps == found.kept.log.steps
    assert [epoch.kl_gradient_share for epoch in baseline.log.epochs] == [0.0, 0.0]
    assert [epoch.loss for epoch in baseline.log.epochs] == pytest.approx(
        [epoch.ce for epoch in baseline.log.epochs]
    )
