"""The cost of a checkpoint, compared with a training step.

The student has the size of TinyBERT (14.4 million parameters), the teacher that of DistilBERT (67 million);
both have random weights. A batch has 64 short requests.

    make bench-checkpoint
    python bench/checkpoint.py --steps 5 --threads 2 --folder /mnt/registry
"""

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
import structlog
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from distill.losses import distillation_loss
from distill.settings import RedistillSection
from distill.training.adamw import Descent
from distill.training.checkpoint import LARGEST_SHARE, Checkpoint, Checkpoints
from monitor.storage.local_store import LocalStore

_BATCH: Final = 64
_TOKENS: Final = 16
_LABELS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs in seconds, each the median of several rounds, and the size of a checkpoint."""

    step: float
    saving: float
    loading: float
    n_bytes: int


def network(*, hidden: int, layers: int, intermediate: int) -> BertForSequenceClassification:
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=intermediate,
        num_labels=_LABELS,
    )
    return BertForSequenceClassification(config)


def measured(folder: Path, steps: int) -> Costs:
    student = network(hidden=312, layers=4, intermediate=1_200)
    teacher = network(hidden=768, layers=6, intermediate=3_072).eval()
    rng = np.random.default_rng(2025)
    rows = [torch.from_numpy(rng.integers(1_000, 30_000, (_BATCH, _TOKENS))) for _ in range(steps + 1)]
    labels = torch.from_numpy(rng.integers(_LABELS, size=_BATCH))
    descent = Descent(student, learning_rate=5e-5, steps=10 * steps)

    def loss(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            wanted = teacher(input_ids=batch).logits
        return distillation_loss(student(input_ids=batch).logits, wanted, labels, alpha=0.6, temperature=3.0)

    student.train()
    descent.step(loss(rows[0]))
    stepping = [seconds(lambda batch=batch: descent.step(loss(batch))) for batch in rows[1:]]  # type: ignore[misc]
    checkpoints = Checkpoints(
        LocalStore(folder), "1", identity={"bench": "checkpoint"}, every_seconds=60, job_id=1
    )

    def save(number: int) -> None:
        checkpoints.save(
            Checkpoint(step=number, steps=10 * steps, epochs=0, tensors=descent.tensors(), log="{}")
        )

    saving = [seconds(lambda number=number: save(number)) for number in range(steps)]  # type: ignore[misc]
    (path,) = folder.rglob("*.safetensors")
    loading = [seconds(checkpoints.load) for _ in range(steps)]
    return Costs(
        step=median(stepping), saving=median(saving), loading=median(loading), n_bytes=path.stat().st_size
    )


def seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="a folder on the disk of the registry")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        costs = measured(Path(folder), options.steps)
    every = RedistillSection().checkpoint_every.total_seconds()
    wait = max(every, costs.saving / LARGEST_SHARE - costs.saving)
    table = Table("", "", box=None)
    table.add_row("a step", f"{costs.step:.2f} s")
    table.add_row("a checkpoint", f"{costs.n_bytes / 1e6:.0f} MB")
    table.add_row("saving a checkpoint", f"{costs.saving:.2f} s, {costs.saving / costs.step:.1f} steps")
    table.add_row("resuming from it", f"{costs.loading:.2f} s")
    table.add_row("saved every", f"{wait:.0f} s")
    table.add_row("share of the training time", f"{costs.saving / (costs.saving + wait):.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()
