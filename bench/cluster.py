"""Reading and scoring of a cycle by Ray clusters of one and of two nodes of one core each, on this machine.

Both clusters must give the same numbers as this process, and so must two nodes of which one is killed during
the cycle. The head node has no core for work. The models have random weights; the log has utterances of the
demo.

    make bench-cluster
    python bench/cluster.py --requests 1000 --rounds 1
"""

import argparse
import gzip
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import torch
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table
from scoring import SHAPES, build

from db.records import Measurement
from monitor.cluster import connected
from monitor.cores import keep_freed_memory
from monitor.measure import measure
from monitor.scoring.batches import Answers, Progress, answers_here, score
from monitor.scoring.models import Model, load
from monitor.scoring.on_ray import answers_of_cluster
from monitor.settings import FilesTraffic
from monitor.sources.objects import ObjectsSource
from monitor.sources.reading import ReadAll, read_all_here
from monitor.sources.reading_ray import read_all_by_cluster
from monitor.sources.stores.folder import Folder
from monitor.stop import never_stopped
from redistill.demo.utterances import generate

_NODE: Final = {"num_cpus": 1, "object_store_memory": 2**29, "include_dashboard": False}
_START: Final = datetime(2026, 3, 2, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_TEMPERATURE: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """The times and the result of one cycle."""

    reading: float  #: seconds
    scoring: float  #: seconds
    working: float  #: seconds of scoring after each model's first batch
    found: Measurement


@contextmanager
def cluster(nodes: int) -> Iterator[tuple[Cluster, list[Any]]]:
    started = Cluster(initialize_head=True, head_node_args={**_NODE, "num_cpus": 0})
    try:
        workers = [started.add_node(**_NODE) for _ in range(nodes)]
        started.wait_for_nodes()
        yield started, workers
    finally:
        started.shutdown()


def write_log(folder: Path, texts: Sequence[str], records: int, objects: int) -> None:
    for number in range(objects):
        rows = range(number, records, objects)
        lines = (
            json.dumps(
                {
                    "id": f"r-{row}",
                    "time": (_START + _HOUR * row / records).isoformat(),
                    "text": texts[row % len(texts)],
                }
            )
            for row in rows
        )
        (folder / f"{number:03}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 6))


def scored(model: Model, texts: Sequence[str], answers: Answers, heard: Progress) -> np.ndarray:
    return score(model, texts, tokens_per_batch=1_024, stopped=never_stopped, progress=heard, answers=answers)


def run(
    log: Path, models: Sequence[Model], k: int, *, read: ReadAll, answers: Answers, then: Progress
) -> Run:
    began = perf_counter()
    source = ObjectsSource(Folder(uri=log), FilesTraffic(uri=log), models[0].labels, read_all=read)
    sample = source.read_window(_START, _START + _HOUR, k=k, stopped=never_stopped)
    read_at = perf_counter()
    logits, working = [], 0.0
    for model in models:
        first: list[float] = []

        def heard(done: int, first: list[float] = first) -> None:
            first.append(perf_counter())
            then(done)

        logits.append(scored(model, [each.text for each in sample.requests], answers, heard))
        working += perf_counter() - first[0]
    found = measure(*logits, models[0].labels, temperature=_TEMPERATURE, strata=sample.strata)
    return Run(reading=read_at - began, scoring=perf_counter() - read_at, working=working, found=found)


def by_cluster(log: Path, models: Sequence[Model], k: int, *, nodes: int, kill: bool = False) -> Run:
    with cluster(nodes) as (started, workers):

        def then(done: int) -> None:
            if kill and len(workers) > 1 and done > k / 4:
                started.remove_node(workers.pop(), allow_graceful=False)

        address = started.address
        with connected(address):
            return run(
                log,
                models,
                k,
                read=read_all_by_cluster(address),
                answers=answers_of_cluster(address),
                then=then,
            )


def same(runs: Sequence[Run]) -> bool:
    return len({repr(each.found) for each in runs}) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    torch.set_num_threads(1)
    keep_freed_memory()
    rng = np.random.default_rng(2025)
    texts = list(dict.fromkeys(each.text for each in generate(60_000, shift=0.5, rng=rng)))
    words = sorted({word for text in texts for word in text.lower().split()})
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        log.mkdir()
        write_log(log, texts, wanted.records, 24)
        models = [load(build(Path(folder, shape.name), shape, words)) for shape in SHAPES]
        here = run(
            log,
            models,
            wanted.requests,
            read=read_all_here,
            answers=answers_here,
            then=lambda _done: None,
        )
        rounds = []
        for number in range(wanted.rounds):
            one = by_cluster(log, models, wanted.requests, nodes=1)
            two = by_cluster(log, models, wanted.requests, nodes=2)
            rounds.append((one, two))
            print(f"round {number + 1}: {one.scoring:.0f} s and {two.scoring:.0f} s of scoring", flush=True)
        killed = by_cluster(log, models, wanted.requests, nodes=2, kill=True)
    report(wanted.requests, wanted.records, here, rounds, killed)


def report(requests: int, records: int, here: Run, rounds: Sequence[tuple[Run, Run]], killed: Run) -> None:
    table = Table(title=f"{records:,} records in 24 objects, {requests:,} of them scored by both models")
    for heading in ("seconds of", "one node", "two nodes", "times as fast", "one of two killed"):
        table.add_column(heading, justify="left" if heading == "seconds of" else "right")
    for what, label in (
        ("reading", "reading"),
        ("scoring", "scoring"),
        ("working", "scoring after the first batch"),
    ):
        pairs = np.array([[getattr(one, what), getattr(two, what)] for one, two in rounds])
        one, two = np.median(pairs, axis=0)
        table.add_row(label, f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}", f"{getattr(killed, what):.1f}")
    Console(width=120).print(table)
    everyone = [here, killed, *(each for pair in rounds for each in pair)]
    print("the numbers of all cycles are", "identical to the last bit" if same(everyone) else "NOT identical")


if __name__ == "__main__":
    main()
