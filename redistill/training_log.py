"""The log of a job's training, as `redistill jobs show JOB --training` prints it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from sqlalchemy import Connection, select

from db.views import view
from distill.training.steps import STEPS_FILE, TrainingStep, unpacked
from monitor.storage.store import ArtifactReadError
from redistill.artifacts import artifacts
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.show import Column, Row

_COLUMNS: Final = (
    Column(title="epoch", align="right"),
    Column(title="steps", align="right"),
    Column(title="learning rate", align="right", spare=2),
    Column(title="loss", align="right"),
    Column(title="KL (nats)", align="right"),
    Column(title="CE (nats)", align="right"),
    Column(title="labelled rows", align="right", spare=3),
    Column(title="KL's share: logits", align="right"),
    Column(title="weights", align="right"),
    Column(title="gradient norm", align="right", spare=1),
    Column(title="clipped", align="right", spare=1),
    Column(title="validation accuracy", align="right"),
    Column(title="agreement", align="right"),
)
_LINES: Final = ("loss", "kl", "ce", "kl_gradient_share", "gradient_norm", "learning_rate")
_WIDTH: Final = 60
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = ".:-=+*#@"


@dataclass(frozen=True, kw_only=True)
class JobTraining:
    """The training of a job: its epochs from SQL, its steps from the registry."""

    epochs: tuple[Row, ...]
    steps: tuple[TrainingStep, ...]
    missing: str  #: why there are no steps; empty if there are


def training_of(connection: Connection, settings: Settings, job_id: int, candidate: object) -> JobTraining:
    """Return the training of a job; what was not stored, or cannot be read, is left out."""
    source = view("training_history")
    query = select(source).where(source.c.job_id == job_id).order_by(source.c.epoch)
    epochs = tuple(dict(row) for row in connection.execute(query).mappings())
    steps, missing = _steps(settings, candidate)
    return JobTraining(epochs=epochs, steps=steps, missing=missing)


def print_training(found: JobTraining) -> None:
    """Print a table of the epochs, and a line per quantity that shows its course over the steps."""
    show.say("")
    if found.epochs:
        show.listing(_COLUMNS, [_cells(epoch) for epoch in found.epochs])
    else:
        show.say(
            "No epochs are stored: the job has not ended, or an earlier version of redistill trained it."
        )
    show.say("")
    if found.missing:
        show.say(found.missing)
        return
    show.say(f"{show.counted(len(found.steps), 'step')}, from the lowest to the highest value of each:")
    ramp = _ramp()
    lines = ((name, [float(getattr(step, name)) for step in found.steps]) for name in _LINES)
    show.facts([(name, course(values, ramp), _range(values)) for name, values in lines])


def course(values: Sequence[float], ramp: str, width: int = _WIDTH) -> str:
    """Return the course of values as characters, each the mean of an equal share of them.

    The first character of the ramp stands for the lowest mean, the last one for the highest.

    Example:
        >>> course([1, 1, 2, 2, 9, 9], ".:-=", width=3)
        '..='
    """
    n = min(width, len(values))
    means = [fmean(values[index * len(values) // n : (index + 1) * len(values) // n]) for index in range(n)]
    low, high = min(means), max(means)
    scale = (len(ramp) - 1) / (high - low) if high > low else 0.0
    return "".join(ramp[int((mean - low) * scale)] for mean in means)


def _steps(settings: Settings, candidate: object) -> tuple[tuple[TrainingStep, ...], str]:
    if candidate is None:
        return (), "No steps are stored: the job has no candidate."
    store = artifacts(settings).store(settings.redistill.registry)
    key = f"versions/{candidate}/{STEPS_FILE}"
    try:
        content = store.read(key)
        steps = () if content is None else tuple(unpacked(content))
    except (ArtifactReadError, ValueError) as error:
        return (), f"The steps cannot be read: {error}"
    return steps, "" if steps else f"The steps are not there: {store.location(key)} does not exist."


def _ramp() -> str:
    try:
        _BLOCKS.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return _ASCII
    return _BLOCKS


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _cells(epoch: Row) -> list[show.Cell]:
    shares = (epoch["kl_gradient_share"], epoch["kl_gradient_share_weights"])
    return [
        show.word(epoch["epoch"]),
        show.count(epoch["n_steps"]),
        show.decimal(epoch["learning_rate"]),
        *(show.number(epoch[name]) for name in ("loss", "kl", "ce")),
        show.count(epoch["n_labelled"]),
        *(show.number(share, decimals=2) for share in shares),
        show.number(epoch["gradient_norm"], decimals=2),
        show.number(epoch["clipped_share"], decimals=2),
        show.number(epoch["validation_accuracy"]),
        show.number(epoch["validation_agreement"]),
    ]
