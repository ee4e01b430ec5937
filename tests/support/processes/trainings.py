"""A small distillation that a process begins, or goes on with, until it is stopped, killed or done."""

import hashlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from distill.training.checkpoint import Checkpoints, folder
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training.schedule import Schedule
from distill.training.train import train
from monitor.scoring.device import place
from monitor.scoring.models import load
from monitor.setting_values import Device, Precision
from monitor.stop import StoppedError
from monitor.storage.local_store import LocalStore
from tests.support.processes.product import in_a_process
from tests.support.world.models import CORPUS, make_model

LABELS: Final = ("faq", "returns", "order_tracking")
BATCHES: Final = 4  #: in an epoch; the last is not full
EPOCHS: Final = 3
STEPS: Final = BATCHES * EPOCHS
IDENTITY: Final = {"job": "3", "seed": "2025"}

_BATCH_SIZE: Final = 16
_ROWS: Final = 60
_NEVER: Final = 1e9


@dataclass(frozen=True, kw_only=True)
class Until:
    """When a process ends before it is done."""

    step: int | None = None  #: asked to stop after so many steps of the whole training
    question: int | None = None  #: asked to stop when it has looked up from its work so many times
    killed_at: int | None = None  #: killed after so many steps of the whole training


DONE: Final = Until()


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one process did."""

    steps: list[int]  #: that it took, by number
    questions: int  #: how often it looked up from its work
    weights: str  #: SHA-256 of the student's in the end
    log: Mapping[str, Any] | None  #: None if it was stopped


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Two models in a folder, and where checkpoints go."""

    folder: Path
    every_step: bool = False  #: a checkpoint before each step, and not only when stopped
    identity: Mapping[str, str] = field(default_factory=lambda: IDENTITY)
    device: Device = "cpu"
    precision: Precision = "float32"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "registry" / folder("3")


def make_lesson(
    folder: Path, *, every_step: bool = False, device: Device = "cpu", precision: Precision = "float32"
) -> Lesson:
    make_model(folder / "teacher", LABELS, seed=1, hidden=16)
    make_model(folder / "student", LABELS, seed=2, hidden=8)
    return Lesson(folder=folder, every_step=every_step, device=device, precision=precision)


def part(lesson: Lesson, until: Until = DONE) -> Part | None:
    """What a new process did; None if it was killed."""
    code = in_a_process(_take_part, lesson, until)
    if code == -signal.SIGKILL:
        return None
    assert code == 0
    return Part(**json.loads((lesson.folder / "part.json").read_text()))


def _take_part(lesson: Lesson, until: Until) -> None:
    torch.set_num_threads(1)
    placement = place(lesson.device, lesson.precision, section="redistill")
    teacher, student = (load(lesson.folder / name, placement) for name in ("teacher", "student"))
    steps: list[int] = []
    questions = 0

    def stopped() -> bool:
        nonlocal questions
        questions += 1
        return steps[-1:] == [until.step] or until.step == 0 or questions == until.question

    def progress(done: int, _steps: int, _loss: float) -> None:
        steps.append(done)
        if done == until.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    log = None
    try:
        training, validation = _rows()
        log = train(
            student,
            teacher,
            training,
            Schedule(epochs=EPOCHS, batch_size=_BATCH_SIZE, learning_rate=5e-3, seed=2025),
            alpha=0.7,
            temperature=3.0,
            stopped=stopped,
            progress=progress,
            validation=validation,
            checkpoints=_checkpoints(lesson),
        )
    except StoppedError:
        pass
    digest = hashlib.sha256()
    for tensor in student.network.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    done = Part(
        steps=steps, questions=questions, weights=digest.hexdigest(), log=None if log is None else asdict(log)
    )
    (lesson.folder / "part.json").write_text(json.dumps(asdict(done)))


def _checkpoints(lesson: Lesson) -> Checkpoints:
    return Checkpoints(
        LocalStore(lesson.checkpoints.parent),
        "3",
        identity=lesson.identity,
        every_seconds=0 if lesson.every_step else _NEVER,
        job_id=3,
        clock=lambda: 0.0,
    )


def _rows() -> tuple[TrainingSet, LabelledSet]:
    rng = np.random.default_rng(0)
    words = sorted(set(" ".join(CORPUS).split()))
    texts = tuple(" ".join(rng.choice(words, rng.integers(2, 12))) for _ in range(_ROWS))
    labels = rng.integers(len(LABELS), size=_ROWS)
    training = TrainingSet(texts=texts, labels=labels, labelled=rng.random(_ROWS) < 0.7)
    return training, LabelledSet(
        path=Path("validation.jsonl"), sha256="", texts=texts[:20], labels=labels[:20], lines=(*range(1, 21),)
    )
