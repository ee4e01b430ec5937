"""Cycles on a Ray cluster: the same numbers as on this machine, also when a node is lost meanwhile."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
import torch
from ray.cluster_utils import Cluster

from monitor.cluster import ClusterUnavailableError
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load
from monitor.scoring.on_ray import answers_of_cluster
from monitor.settings import FilesTraffic
from monitor.sources.port import LabelStrata
from monitor.sources.reading import Task
from monitor.sources.reading_ray import read_all_by_cluster
from monitor.sources.stores.folder import Folder
from monitor.sources.stores.port import TrafficUnavailableError
from monitor.sources.stores.window import Window
from monitor.stop import StoppedError, never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.servers.clusters import Slow, Throttled, cluster
from tests.support.world.installation import hours, make_site
from tests.support.world.models import make_model
from tests.support.world.reruns import measured, rerun
from tests.support.world.tiny_world import LABELS, World, utterances

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
WINDOW = Window(start=TEN, end=TEN + timedelta(hours=1))


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with cluster(nodes=2) as started:
        yield started


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    yield load(make_model(tmp_path / "model", LABELS, seed=1))
    torch.set_num_threads(1)


def asked(model: Model, n: int, **chosen: Any) -> np.ndarray:  # noqa: ANN401 - any argument of `score`
    texts = [each.text for each in utterances(n, new=0.2, rng=np.random.default_rng(1))]
    options: dict[str, Any] = {"stopped": never_stopped, "progress": lambda _done: None, **chosen}
    return score(model, texts, tokens_per_batch=64, **options)


def reading_task(folder: Path) -> Task:
    for number in range(12):
        times = (TEN + timedelta(seconds=20 * row) for row in range(200))
        rows = ({"id": f"{number}-{row % 150}", "time": time.isoformat(), "text": "t" if row % 13 else ""}
                for row, time in enumerate(times))  # fmt: skip
        (folder / f"{number:02}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = FilesTraffic(uri=folder)
    return Task(
        store=Folder(uri=folder), section=section, labels=(), window=WINDOW, k=100, strata=LabelStrata((), 0)
    )


def test_a_cycle_on_a_cluster_stores_what_one_on_this_machine_stores(
    world: World, tmp_path: Path, two_nodes: Cluster
) -> None:
    site = make_site(tmp_path / "site", world, hours(healthy=1, drifted=0), url="sqlite:///unused.db")
    found = []
    for scoring in ({"engine": "local"}, {"engine": "ray", "address": two_nodes.address}):
        with rerun(site, tmp_path / scoring["engine"], scoring=scoring) as (settings, engine):
            assembly.slot_runner(settings, engine, show_nothing).run(site.slots[:1], never_stopped)
            found.append(measured(engine))
    assert found[0] == found[1]
    assert [row["n_scored"] > 100 for row in found[0].values()] == [True]


def test_objects_read_by_a_cluster_give_the_same_sample(tmp_path: Path, two_nodes: Cluster) -> None:
    task = reading_task(tmp_path)
    objects = task.store.list(WINDOW)
    with TemporaryFile() as one, TemporaryFile() as other:
        alone = task.read(objects, never_stopped, one)
        together = read_all_by_cluster(two_nodes.address)(task, objects, never_stopped, other)
        assert together.bottom.draw() == alone.bottom.draw()
        assert together.reads == alone.reads


ASKED_TO_STOP = """
import os, signal, sys, threading, time
from monitor.cluster import connected

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append("SIGTERM"))

def work():
    with connected(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(4)
    os.kill(os.getpid(), signal.SIGTERM)

if sys.argv[2] == "main":
    work()
else:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(asked)
"""


@pytest.mark.parametrize("thread", ["main", "another"])
def test_sigterm_goes_on_to_mean_what_the_process_chose(thread: str, two_nodes: Cluster) -> None:
    """Ray ends a process 3 seconds after one, while it is connected, and at once afterwards."""
    command = [sys.executable, "-c", ASKED_TO_STOP, two_nodes.address, thread]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout) == (0, "['SIGTERM', 'SIGTERM']\n"), found.stderr


def test_a_cluster_without_a_core_for_work_is_none(tmp_path: Path) -> None:
    with cluster(nodes=0) as head, TemporaryFile() as spill:
        task = reading_task(tmp_path)
        with pytest.raises(ClusterUnavailableError, match="it has no core for work"):
            read_all_by_cluster(head.address)(task, task.store.list(WINDOW), never_stopped, spill)
        assert read_all_by_cluster(head.address)(task, [], never_stopped, spill).reads == ()


def test_what_fails_in_a_cluster_says_here_what_it_said_there(tmp_path: Path, two_nodes: Cluster) -> None:
    task = reading_task(tmp_path)
    throttled = replace(task, store=Throttled(uri=tmp_path))
    with TemporaryFile() as spill, pytest.raises(TrafficUnavailableError) as raised:
        read_all_by_cluster(two_nodes.address)(throttled, task.store.list(WINDOW), never_stopped, spill)
    assert str(raised.value) == str(TrafficUnavailableError(uri="00.jsonl", problem="SlowDown"))


def test_work_on_a_cluster_stops_on_request(tmp_path: Path, model: Model, two_nodes: Cluster) -> None:
    task = reading_task(tmp_path)
    with TemporaryFile() as spill, pytest.raises(StoppedError):
        read_all_by_cluster(two_nodes.address)(task, task.store.list(WINDOW), lambda: True, spill)
    with pytest.raises(StoppedError):
        asked(model, 100, answers=answers_of_cluster(two_nodes.address), stopped=lambda: True)


def test_without_a_cluster_it_is_said_what_to_do(model: Model) -> None:
    with pytest.raises(ClusterUnavailableError, match=r"192.0.2.1:6379 .* fix 'address' in \[scoring\]"):
        asked(model, 10, answers=answers_of_cluster("192.0.2.1:6379"))


@pytest.mark.slow
def test_a_node_that_is_lost_while_it_reads_changes_nothing(tmp_path: Path) -> None:
    """SIGKILL for all its processes, when it has begun to read an object."""
    log = tmp_path / "log"
    log.mkdir()
    task = reading_task(log)
    objects = task.store.list(WINDOW)
    with TemporaryFile() as spill:
        alone = task.read(objects, never_stopped, spill)
    with cluster(nodes=1) as started, TemporaryFile() as spill:
        nodes = [started.add_node(num_cpus=1, object_store_memory=2**27)]
        slow = Slow(uri=log)

        def stopped() -> bool:
            if nodes and nodes[0].node_id in slow.readers():
                started.remove_node(nodes.pop(), allow_graceful=False)
            return False

        together = read_all_by_cluster(started.address)(replace(task, store=slow), objects, stopped, spill)
        assert not nodes
        assert together.bottom.draw() == alone.bottom.draw()
        assert together.reads == alone.reads


@pytest.mark.slow
def test_a_node_that_is_lost_while_it_scores_changes_nothing(world: World) -> None:
    """SIGKILL for all its processes, when some batches are answered and most are not."""
    teacher = load(world.teacher)
    with cluster(nodes=1) as started:
        lost = started.add_node(num_cpus=1, object_store_memory=2**27)
        heard: list[int] = []

        def hear(done: int) -> None:
            if not heard:
                started.remove_node(lost, allow_graceful=False)
            heard.append(done)

        answers = answers_of_cluster(started.address)
        found = asked(teacher, 2_000, answers=answers, progress=hear)
    np.testing.assert_array_equal(found, asked(teacher, 2_000))
