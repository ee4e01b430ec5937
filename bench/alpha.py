"""The effect of a lower alpha on a re-distillation, with and without true labels, by two teachers.

Each cell is a job as the worker runs it: it starts from the drifted student, and trains on the labelled file
and on the archived requests of a service whose requests have drifted by 30%. Rows are means over seeds.

    make bench-alpha
    PYTHONPATH=. python bench/alpha.py --seeds 1 --alphas 0.9 0.6 0.3
    PYTHONPATH=.:examples/clinc150 python bench/alpha.py --clinc150 FOLDER --seeds 1 --alphas 0.9 0.6 0.3
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

import numpy as np
import torch
from worlds import Rows, World, demo, logits

from distill.training.train import train
from monitor.scoring.models import Model, load, match_labels
from monitor.stop import never_stopped

_ALPHAS: Final = ("1", "0.9", "0.7", "0.6", "0.5", "0.3", "0.1", "0")
_TEACHERS: Final = ("good", "poor")
_LABELLED: Final[tuple[int | None, ...]] = (0, 300, None)
_TEMPERATURE: Final = 3.0
_COLUMNS: Final = (
    "teacher (right in the new world)",
    "labels",
    "alpha",
    "condemned agreement",
    "condemned accuracy",
    "new-world agreement",
    "new-world accuracy",
    "test accuracy",
)


def measured(student: Model, teacher: Model, world: World) -> list[float]:
    """Return the columns of one student, but for the first three."""

    def shares(rows: Rows) -> tuple[float, float]:
        theirs = logits(teacher, rows.texts).argmax(axis=1)
        own = logits(student, rows.texts)[:, match_labels(teacher, student)].argmax(axis=1)
        return float(np.mean(own == theirs)), float(np.mean(own == rows.labels))

    test = Rows(texts=world.test.texts, labels=world.test.labels)
    return [*shares(world.condemned), *shares(world.new_world), shares(test)[1]]


def candidate(world: World, teacher: Model, alpha: str, n_labelled: int | None, seed: int) -> Model:
    """Return the student that a job with this alpha makes."""
    student = load(world.student)
    train(
        student,
        teacher,
        world.training(n_labelled, seed),
        replace(world.schedule, seed=seed),
        alpha=Decimal(alpha),
        temperature=_TEMPERATURE,
        stopped=never_stopped,
        progress=lambda *_: None,
    )
    return student


def rows(
    world: World, teachers: Sequence[str], alphas: Sequence[str], seeds: Sequence[int]
) -> Iterator[list[str]]:
    """Yield the rows of the table, teacher by teacher."""
    for name in teachers:
        teacher = load(world.teachers[name])
        right = np.mean(logits(teacher, world.new_world.texts).argmax(axis=1) == world.new_world.labels)
        before = measured(load(world.student), teacher, world)
        yield [f"{name} ({right:.3f})", "-", "before", *(f"{value:.3f}" for value in before)]
        for n_labelled in _LABELLED:
            for alpha in alphas:
                print(f"{name} teacher, labels {n_labelled}, alpha {alpha}", file=sys.stderr)
                found = [
                    measured(candidate(world, teacher, alpha, n_labelled, seed), teacher, world)
                    for seed in seeds
                ]
                labels = "all" if n_labelled is None else str(n_labelled)
                yield ["", labels, alpha, *map(_cell, zip(*found, strict=True))]


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alphas", nargs="+", default=_ALPHAS, help="(%(default)s)")
    parser.add_argument("--teachers", nargs="+", choices=_TEACHERS, default=_TEACHERS, help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings for each row (%(default)s)")
    parser.add_argument("--clinc150", type=Path, help="the folder of CLINC150's data_full.json")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if wanted.clinc150:
            from clinc150_world import clinc150

            world = clinc150(Path(folder), wanted.clinc150)
        else:
            world = demo(Path(folder), seed=2025)
        print(_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), sep="\n")
        for row in rows(world, wanted.teachers, wanted.alphas, range(2025, 2025 + wanted.seeds)):
            print(_line(row), flush=True)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
