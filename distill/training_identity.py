"""The identity of a training: everything that its weights depend on."""

import ast
import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Final

import torch
from numpy.typing import NDArray

from db.records import Job
from distill import losses
from distill.job_data import JobData
from distill.settings import RedistillSection
from distill.training import adamw, batches, loop, objective, start, train
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training.schedule import Schedule
from monitor.scoring import first_token, model, models, placement
from monitor.scoring.model import Model
from monitor.scoring.placement import ON_CPU, Placement

#: The modules whose code is the start of a training or a step of it.
_STEP: Final = (
    *(adamw, batches, loop, losses, objective, start, train),
    *(first_token, model, models, placement),
)

#: The digest of today's step → the digest of the earlier step that computes the same bits, so that trainings
#: which the earlier step began are resumed. `tests/unit/distill/test_training_identity.py` says what to do
#: when a step changes.
_SAME_BITS_AS: Final[Mapping[str, str]] = {
    "50c838f801e7b1d3f620a77b0f13ee5e4c3ed55e7e0c9634d989f8bf48ef7172": (
        "50c838f801e7b1d3f620a77b0f13ee5e4c3ed55e7e0c9634d989f8bf48ef7172"
    ),
}


def identity(
    job: Job, student: Model, teacher: Model, data: JobData, section: RedistillSection
) -> Mapping[str, str]:
    """Return everything that a job's training depends on, by name.

    Trainings with the same identity end with the same weights, bit by bit, and with the same log. The last
    bits also depend on the code of a step (see `statements_of`), the libraries, the number of threads and the
    instruction set of the processor.
    """
    return {
        "monitor": job.monitor,
        "job": str(job.job_id),
        **identity_of_training(
            student,
            teacher,
            data.training,
            data.validation,
            section.schedule,
            alpha=job.alpha_to,
            temperature=job.temperature,
        ),
    }


def identity_of_training(
    student: Model,
    teacher: Model,
    training: TrainingSet,
    validation: LabelledSet | None,
    schedule: Schedule,
    *,
    alpha: Decimal,
    temperature: float,
) -> Mapping[str, str]:
    """Return everything that the weights and the log of a training depend on, by name."""
    return {
        "student": student.version,
        "teacher": teacher.version,
        "data": _digest(training, validation),
        "alpha": str(alpha),
        "temperature": repr(temperature),
        "epochs": str(schedule.epochs),
        "batch_size": str(schedule.batch_size),
        "learning_rate": repr(schedule.learning_rate),
        "seed": str(schedule.seed),
        "code": _code(),
        "torch": torch.__version__,
        **{name: library_version(name) for name in ("transformers", "tokenizers")},
        "threads": str(torch.get_num_threads()),
        "processor": torch.backends.cpu.get_cpu_capability(),
        **identity_of_place(student.placement),
    }


def identity_of_place(place: Placement) -> Mapping[str, str]:
    """Return device and precision by name; nothing for the CPU and float32, as in versions without them."""
    if place == ON_CPU:
        return {}
    found = {"device": place.device.type, "precision": place.precision}
    if place.is_cuda:
        gpu = torch.cuda.get_device_name(place.device)
        found |= {"cuda": str(torch.version.cuda), "gpu": gpu}
    return found


def _code() -> str:
    """Return the digest of the earliest step that computes the same bits as today's."""
    today = digest_of_step()
    return _SAME_BITS_AS.get(today, today)


def digest_of_step() -> str:
    """Return the SHA-256 of the statements of all modules of a step; the modules' names do not matter."""
    statements = sorted(statements_of(Path(str(module.__file__)).read_text("utf-8")) for module in _STEP)
    return hashlib.sha256("\n".join(statements).encode()).hexdigest()


def statements_of(source: str) -> str:
    """Return the syntax tree of a module as text, without the parts that no computation depends on.

    Comments, layout, docstrings and imports are left out: rewording or moving a module does not change a
    step. The texts of `ast.dump` and `ast.unparse` depend on the version of Python; this one does not.
    """
    return _text(_WithoutProse().visit(ast.parse(source)))


class _WithoutProse(ast.NodeTransformer):
    """Removes docstrings and imports."""

    def visit_Import(self, _node: ast.Import) -> None:
        """Remove the import."""

    def visit_ImportFrom(self, _node: ast.ImportFrom) -> None:
        """Remove the import."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Remove a string that stands alone: a docstring."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def _text(node: object) -> str:
    """Return a node as text, without its empty fields, as these differ between versions of Python."""
    if isinstance(node, ast.AST):
        present = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(f'{name}={_text(value)}' for name, value in present)})"
    if isinstance(node, list):
        return f"[{', '.join(_text(each) for each in node)}]"
    return ascii(node)


def _digest(training: TrainingSet, validation: LabelledSet | None) -> str:
    """Return the SHA-256 of the rows; redaction and erasures change them without changing the files."""
    rows: list[object] = [training.texts, _listed(training.labels), _listed(training.labelled)]
    if training.label_weights is not None:
        rows.append(training.label_weights.tolist())
    if training.known_logits is not None:
        known = training.known_logits
        rows += [known.rows.tolist(), hashlib.sha256(known.logits.tobytes()).hexdigest()]
    if validation is not None:
        rows += [validation.texts, _listed(validation.labels)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _listed(column: NDArray[Any]) -> list[int]:
    return [int(each) for each in column]
