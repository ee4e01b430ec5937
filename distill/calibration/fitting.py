"""The fit of a model's calibration temperature to the rows of a labelled file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from db.records import TemperatureFit
from distill.evaluation.temperature import calibrate
from distill.training.dataset import DatasetUnreadableError, LabelledSet
from monitor.scoring.batches import Progress, score
from monitor.scoring.models import Model
from monitor.stop import Stopped


def fitted(
    model: Model,
    rows: LabelledSet,
    label_names: Sequence[str],
    *,
    tokens_per_batch: int,
    stopped: Stopped,
    progress: Progress,
) -> TemperatureFit:
    """Fit a model's temperature to rows that were read with `label_names`, its own labels in any order.

    Raises:
        ScoringError, StoppedError: as for `score`.
    """
    logits = score(model, rows.texts, tokens_per_batch=tokens_per_batch, stopped=stopped, progress=progress)
    columns = [model.labels.index(name) for name in label_names]
    return calibrate(logits[:, columns], rows.labels)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        DatasetUnreadableError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetUnreadableError(path=path, problem=error.strerror or error) from error
