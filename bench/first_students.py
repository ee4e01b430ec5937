"""Is a first student better by self-distillation or by a teacher assistant? On the demo's models and rows.

Each student has one layer of width 64 and starts from the same random weights. The assistant has two of the
teacher's three layers. All learn from the labelled train set, of usual traffic only; `new` is the traffic of
the drift, which none has seen. Accuracy is by true labels, agreement with the large teacher.

    make bench-first-students
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification
from worlds import World, demo, logits

from distill.first_student.recipe import Recipe, distilled
from distill.training.dataset import training_set
from monitor.scoring.models import Model, load, match_labels
from monitor.stop import never_stopped
from redistill.demo.pretrain import ALPHA, TEMPERATURE

_ASSISTANT_LAYERS: Final = 2


def made(
    world: World, teacher: Model, seed: int, *, alpha: Decimal = ALPHA, layers: int | None = None
) -> Model:
    """Return a student of the teacher; `layers`: it starts as so many layers of the large teacher."""
    init = world.student.with_name("untrained") if layers is None else world.teachers["good"]
    schedule = replace(world.schedule, seed=seed)
    recipe = Recipe(init=init, layers=layers, alpha=alpha, temperature=TEMPERATURE, schedule=schedule)
    rows = training_set(world.train, (), world.test)
    return distilled(recipe, teacher, rows, stopped=never_stopped, progress=lambda *_: None).student


def of_labels(world: World, large: Model, seed: int) -> Model:
    return made(world, large, seed, alpha=Decimal(0))


def of_teacher(world: World, large: Model, seed: int) -> Model:
    return made(world, large, seed)


def of_itself(world: World, large: Model, seed: int) -> Model:
    return made(world, made(world, large, seed), seed)


def of_assistant(world: World, large: Model, seed: int) -> Model:
    return made(world, made(world, large, seed, layers=_ASSISTANT_LAYERS), seed)


RECIPES: Final[dict[str, Callable[[World, Model, int], Model]]] = {
    "labels alone (alpha 0)": of_labels,
    "the large teacher": of_teacher,
    "a student of the same size (self-distillation)": of_itself,
    "an assistant of two layers": of_assistant,
}


def measured(student: Model, large: Model, world: World) -> tuple[float, float, float]:
    """Return the accuracy and the agreement on the test rows, and the accuracy on new traffic."""
    columns = match_labels(large, student)

    def labels(model: Model, texts: tuple[str, ...]) -> np.ndarray:
        found = logits(model, texts)
        return (found if model is large else found[:, columns]).argmax(axis=1)

    own, new = labels(student, world.test.texts), labels(student, world.new_world.texts)
    return (
        float(np.mean(own == world.test.labels)),
        float(np.mean(own == labels(large, world.test.texts))),
        float(np.mean(new == world.new_world.labels)),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="students for each row (%(default)s)")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        world = demo(Path(folder), seed=2025)
        large = load(world.teachers["good"])
        _write_untrained(world.student)
        print("| taught by | test accuracy | test agreement | accuracy on new traffic |")
        print("|---|---|---|---|")
        for name, recipe in RECIPES.items():
            seeds = range(2025, 2025 + wanted.seeds)
            found = [measured(recipe(world, large, seed), large, world) for seed in seeds]
            print(f"| {name} | " + " | ".join(map(_cell, zip(*found, strict=True))) + " |", flush=True)


def _write_untrained(student: Path) -> None:
    """Write the network of the student as it began, to the folder `untrained` beside it."""
    folder = student.with_name("untrained")
    shutil.copytree(student, folder)
    torch.manual_seed(2025)
    BertForSequenceClassification(BertConfig.from_pretrained(folder)).save_pretrained(folder)


def _cell(values: tuple[float, ...]) -> str:
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{fmean(values):.4f}{spread}"


if __name__ == "__main__":
    main()
