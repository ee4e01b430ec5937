from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

from db.records import Job
from db.states import JobStatus
from distill.job_data import JobData
from distill.settings import RedistillSection
from distill.training.archived import KnownLogits
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training_identity import identity, statements_of
from monitor.scoring.models import Model, load
from monitor.scoring.placement import ON_CPU, Placement
from tests.support.world.models import make_model

JOB = Job(
    job_id=3,
    monitor="mangaassist",
    cycle_id=12,
    rule="high-kl",
    reason="kl above 0.15",
    teacher_version="t" * 64,
    student_version="s" * 64,
    alpha_from=Decimal("0.7"),
    alpha_to=Decimal("0.6"),
    temperature=3.0,
    status=JobStatus.RUNNING,
    attempt=1,
    enqueued_at=datetime(2026, 11, 24, tzinfo=UTC),
    started_at=None,
    finished_at=None,
    candidate_version=None,
    decision=None,
    decision_reason=None,
)
ROWS = LabelledSet(
    path=Path("rows.jsonl"), sha256="a" * 64, texts=("one", "two"), labels=np.array([0, 1]), lines=(1, 2)
)
DATA = JobData(
    training=TrainingSet(
        texts=("where is it", "thanks"), labels=np.array([1, 0]), labelled=np.array([True, False])
    ),
    validation=ROWS,
    test=ROWS,
    condemned=None,
    sha256={},
)
SECTION = RedistillSection()
HALF = np.array([0.5, 0], dtype=np.float32)
KNOWN = KnownLogits(rows=np.array([1]), logits=np.array([[1, 2]], dtype=np.float32))

Made = tuple[Job, Model, Model, JobData, RedistillSection]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_model(tmp_path_factory.mktemp("model"), ("faq", "returns"), seed=1))


def trained_on(**changed: object) -> JobData:
    return replace(DATA, training=replace(DATA.training, **changed))  # type: ignore[arg-type]


def with_section(**changed: object) -> Callable[[Made], Made]:
    return lambda made: (*made[:4], SECTION.model_copy(update=changed))


CHANGES: dict[str, tuple[str, Callable[[Made], Made]]] = {
    "job": ("job", lambda made: (replace(JOB, job_id=4), *made[1:])),
    "monitor": ("monitor", lambda made: (replace(JOB, monitor="other"), *made[1:])),
    "alpha": ("alpha", lambda made: (replace(JOB, alpha_to=Decimal("0.5")), *made[1:])),
    "temperature": ("temperature", lambda made: (replace(JOB, temperature=2.0), *made[1:])),
    "student": ("student", lambda made: (made[0], replace(made[1], version="x"), *made[2:])),
    "teacher": ("teacher", lambda made: (*made[:2], replace(made[2], version="x"), *made[3:])),
    "text": ("data", lambda made: (*made[:3], trained_on(texts=("where is it", "thank you")), SECTION)),
    "order": ("data", lambda made: (*made[:3], trained_on(texts=("thanks", "where is it")), SECTION)),
    "label": ("data", lambda made: (*made[:3], trained_on(labels=np.array([0, 0])), SECTION)),
    "mask": ("data", lambda made: (*made[:3], trained_on(labelled=np.array([True, True])), SECTION)),
    "weight": ("data", lambda made: (*made[:3], trained_on(label_weights=HALF), SECTION)),
    "known logits": ("data", lambda made: (*made[:3], trained_on(known_logits=KNOWN), SECTION)),
    "validation": ("data", lambda made: (*made[:3], replace(DATA, validation=None), SECTION)),
    "epochs": ("epochs", with_section(epochs=9)),
    "batch_size": ("batch_size", with_section(batch_size=9)),
    "learning_rate": ("learning_rate", with_section(learning_rate=9e-5)),
    "seed": ("seed", with_section(seed=9)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_weights_changes_the_identity_in_one_place(change: str, model: Model) -> None:
    name, changed = CHANGES[change]
    made: Made = (JOB, model, model, DATA, SECTION)
    one, other = identity(*made), identity(*changed(made))
    assert {key for key in {*one, *other} if one[key] != other[key]} == {name}


def test_what_changes_no_weight_changes_nothing(model: Model) -> None:
    """Another attempt, under a section that says other things about what comes before and after."""
    later = replace(JOB, attempt=2, started_at=datetime(2026, 11, 25, tzinfo=UTC))
    section = SECTION.model_copy(update={"promote": "manual", "registry": Path("elsewhere")})
    moved = replace(DATA, test=replace(ROWS, sha256="b" * 64))
    assert identity(JOB, model, model, DATA, SECTION) == identity(later, model, model, moved, section)


def placed(model: Model, place: Placement) -> Model:
    return replace(model, placement=place)


def test_on_the_cpu_in_float32_it_has_the_names_of_the_versions_before_devices(model: Model) -> None:
    """So that their open trainings are resumed."""
    assert [*identity(JOB, model, model, DATA, SECTION)] == [
        *("monitor", "job", "student", "teacher", "data", "alpha", "temperature"),
        *("epochs", "batch_size", "learning_rate", "seed", "code"),
        *("torch", "transformers", "tokenizers", "threads", "processor"),
    ]


def test_another_precision_and_another_device_are_parts_of_it(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = identity(JOB, model, model, DATA, SECTION)
    rounded = placed(model, replace(ON_CPU, precision="bfloat16"))
    added = {"device": "cpu", "precision": "bfloat16"}
    assert identity(JOB, rounded, rounded, DATA, SECTION) == {**usual, **added}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA A10G")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    on_gpu = placed(model, Placement(device=torch.device("cuda", 0), precision="float32"))
    added = {"device": "cuda", "precision": "float32", "cuda": "13.0", "gpu": "NVIDIA A10G"}
    assert identity(JOB, on_gpu, on_gpu, DATA, SECTION) == {**usual, **added}


def test_the_number_of_threads_is_a_part_of_it(model: Model) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        found = identity(JOB, model, model, DATA, SECTION)
    finally:
        torch.set_num_threads(threads)
    assert found["threads"] == str(threads + 1)
    assert found["torch"] == torch.__version__


STEP = '''
"""A step."""

import torch
from torch import nn


class Step:
    """One."""

    rate = 0.1  #: of learning

    def take(self, loss: torch.Tensor) -> None:
        """Take it."""
        loss.backward()
        self.say("taken")
'''


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ('"""A step."""', '"""One step of a training."""', True),
        ('        """Take it."""\n', "", True),
        ("  #: of learning", "  # per step", True),
        ("from torch import nn", "from torch.nn import functional", True),
        ("class Step:", "class Step:  # moved\n", True),
        ("rate = 0.1", "rate = 0.2", False),
        ("loss.backward()", "loss.detach()", False),
        ('self.say("taken")', 'self.say("done")', False),
        ("def take(self, loss", "def take(self, gain", False),
    ],
)
def test_a_step_is_its_statements(old: str, new: str, is_same: bool) -> None:  # noqa: FBT001
    """Another docstring, comment, layout or import restarts no open training; another statement does."""
    assert old in STEP
    assert (statements_of(STEP.replace(old, new)) == statements_of(STEP)) is is_same
