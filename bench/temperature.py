"""Would a temperature that adapts help? Fixed ones, and four that change by row or by step, in the same jobs.

Each cell is a job on the demo's drifted service (bench/worlds.py): alpha 0.6, no true labels of traffic. The
loss is alpha · mean(T² · KL at T) + (1 - alpha) · CE on labelled rows, with the T of each row.

    make bench-temperature
    PYTHONPATH=. python bench/temperature.py --seeds 1
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

import torch
from alpha import measured
from torch import Tensor
from torch.nn import functional
from worlds import World, demo

from distill.training.batches import TokenRows
from distill.training.loop import NoRecorder, minimise
from monitor.scoring.models import Model, load, match_labels
from monitor.stop import never_stopped

_ALPHA: Final = 0.6
_BASE: Final = 3.0
_HOTTEST: Final = 5.0

#: The teacher's logits (rows, classes) and the share of the training that is done → T, (rows, 1).
Scheme = Callable[[Tensor, float], Tensor]


def fixed(temperature: float, logits: Tensor, _done: float) -> Tensor:
    """Return the same T for all rows."""
    return torch.full((len(logits), 1), temperature)


def unsure_softer(logits: Tensor, _done: float) -> Tensor:
    """Return a higher T where the teacher is less sure: 0.5 to 1.5 times the base, by its entropy."""
    return _BASE * (0.5 + _entropy(logits))


def sure_softer(logits: Tensor, _done: float) -> Tensor:
    """Return a higher T where the teacher is more sure."""
    return _BASE * (1.5 - _entropy(logits))


def annealed(logits: Tensor, done: float) -> Tensor:
    """Return a T that falls to 1 along the training (Jafari et al. 2021, arXiv 2104.07163)."""
    return torch.full((len(logits), 1), _HOTTEST - (_HOTTEST - 1) * done)


def standardised(logits: Tensor, _done: float) -> Tensor:
    """Return the standard deviation of each row's logits (Sun et al. 2024, arXiv 2403.01427)."""
    return logits.std(dim=1, keepdim=True).clamp(min=1e-3)


SCHEMES: Final[Mapping[str, Scheme]] = {
    **{f"T = {value:g}": partial(fixed, value) for value in (1.0, 2.0, 3.0, 5.0, 10.0)},
    "softer where the teacher is unsure": unsure_softer,
    "softer where the teacher is sure": sure_softer,
    "from 5 to 1 along the training": annealed,
    "standardised logits": standardised,
}


def candidate(world: World, teacher: Model, scheme: Scheme, seed: int) -> Model:
    """Return the student that a job with this scheme makes."""
    student, data = load(world.student), world.training(0, seed)
    columns = torch.from_numpy(match_labels(teacher, student))
    own, theirs = TokenRows(student, data.texts), TokenRows(teacher, data.texts)
    labels, labelled = torch.from_numpy(data.labels), torch.from_numpy(data.labelled)
    schedule = replace(world.schedule, seed=seed)
    steps, step = schedule.epochs * math.ceil(len(labels) / schedule.batch_size), 0

    def loss(rows: Tensor) -> Tensor:
        nonlocal step
        with torch.inference_mode():
            wanted = teacher.logits(theirs.padded(rows))
        wanted, found = wanted.clone(), student.logits(own.padded(rows))[:, columns]
        done, step = step / steps, step + 1
        temperature = scheme(wanted, done)
        # the only scheme in which each model has its own T
        of_student = scheme(found.detach(), done) if scheme is standardised else temperature
        kl = functional.kl_div(
            (found / of_student).log_softmax(1),
            (wanted / temperature).log_softmax(1),
            reduction="none",
            log_target=True,
        ).sum(1)
        ce = functional.cross_entropy(found, labels[rows], reduction="none") * labelled[rows]
        weight = torch.where(labelled[rows], _ALPHA, 1.0)
        return (weight * temperature.squeeze(1) ** 2 * kl + (1 - _ALPHA) * ce).mean()

    minimise(
        student.network,
        loss,
        own.lengths,
        schedule,
        stopped=never_stopped,
        progress=lambda *_: None,
        recorder=NoRecorder(),
        checkpoints=None,
    )
    return student


def _entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each row at T = 1, as a share of that of equal probabilities, (rows, 1)."""
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1, keepdim=True) / math.log(logits.shape[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings for each row (%(default)s)")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        world = demo(Path(folder), seed=2025)
        teacher = load(world.teachers["good"])
        print("| temperature | new-world agreement | new-world accuracy | test accuracy |")
        print("|---|---|---|---|")
        for name, scheme in SCHEMES.items():
            seeds = range(2025, 2025 + wanted.seeds)
            found = [measured(candidate(world, teacher, scheme, seed), teacher, world)[2:] for seed in seeds]
            cells = (_cell(values) for values in zip(*found, strict=True))
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _cell(values: tuple[float, ...]) -> str:
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{fmean(values):.4f}{spread}"


if __name__ == "__main__":
    main()
