"""The identity of a training: what its weights depend on."""

import ast
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Final

import torch
from numpy.typing import NDArray

from db.records import Job
from distill import losses
from distill.job_data import JobData
from distill.settings import RedistillSection
from distill.training import adamw, batches, loop, objective, train
from monitor.scoring import first_token, models
from monitor.scoring.models import Model

#: Whose code a step is: another version of this program may take other ones.
_STEP: Final = (adamw, batches, loop, losses, objective, train, first_token, models)


def identity(
    job: Job, student: Model, teacher: Model, data: JobData, section: RedistillSection
) -> Mapping[str, str]:
    """Return all that a job's training depends on, by name.

    Trainings of one identity end with the same weights, bit by bit, and with the same log. The last bits also
    depend on the code of a step (its statements, see `statements_of`), the libraries, the number of threads
    and the instructions of the processor.
    """
    return {
        "monitor": job.monitor,
        "job": str(job.job_id),
        "student": student.version,
        "teacher": teacher.version,
        "data": _digest(data),
        "alpha": str(job.alpha_to),
        "temperature": repr(job.temperature),
        "epochs": str(section.epochs),
        "batch_size": str(section.batch_size),
        "learning_rate": repr(section.learning_rate),
        "seed": str(section.seed),
        "code": _code(),
        "torch": torch.__version__,
        **{name: library_version(name) for name in ("transformers", "tokenizers")},
        "threads": str(torch.get_num_threads()),
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def _code() -> str:
    """The SHA-256 of the statements of all modules of a step, whatever the modules are called."""
    statements = sorted(statements_of(Path(str(module.__file__)).read_text("utf-8")) for module in _STEP)
    return hashlib.sha256("\n".join(statements).encode()).hexdigest()


def statements_of(source: str) -> str:
    """Return the syntax tree of a module as text, without what a computation does not depend on.

    Left out are comments, layout, docstrings and imports: rewording or moving a module is no other step.
    """
    tree = _Bare().visit(ast.parse(source))
    return ast.dump(tree)


class _Bare(ast.NodeTransformer):
    """Removes docstrings and imports."""

    def visit_Import(self, _node: ast.Import) -> None:
        """Drop it."""

    def visit_ImportFrom(self, _node: ast.ImportFrom) -> None:
        """Drop it."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Drop a string that stands alone: a docstring."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def _digest(data: JobData) -> str:
    """SHA-256 of the rows themselves: redaction and erasures change them without changing the files."""
    training, validation = data.training, data.validation
    rows = [training.texts, _listed(training.labels), _listed(training.labelled)]
    if validation is not None:
        rows += [validation.texts, _listed(validation.labels)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _listed(column: NDArray[Any]) -> list[int]:
    return [int(each) for each in column]
