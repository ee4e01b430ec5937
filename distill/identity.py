"""What tells one training from another."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version as library_version
from typing import Any

import torch
from numpy.typing import NDArray

from db.records import Job
from distill.job_data import JobData
from distill.settings import RedistillSection
from monitor.models import Model


def identity(
    job: Job, student: Model, teacher: Model, data: JobData, section: RedistillSection
) -> Mapping[str, str]:
    """All that a job's training depends on, by name: trainings of one identity end with the same weights,
    bit by bit, and with the same log.

    The last bits also depend on the libraries, the number of threads and the instructions of the
    processor.
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
        "torch": torch.__version__,
        **{name: library_version(name) for name in ("transformers", "tokenizers")},
        "threads": str(torch.get_num_threads()),
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def _digest(data: JobData) -> str:
    """SHA-256 of the rows themselves: redaction and erasures change them without changing the files."""
    training, validation = data.training, data.validation
    rows = [training.texts, _listed(training.labels), _listed(training.labelled)]
    if validation is not None:
        rows += [validation.texts, _listed(validation.labels)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _listed(column: NDArray[Any]) -> list[int]:
    return [int(each) for each in column]
