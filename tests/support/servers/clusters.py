"""Ray clusters on this machine: nodes of one core each, which are processes and can be killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any, BinaryIO

import ray
from ray.cluster_utils import Cluster

from monitor.sources.stores.folder import Folder
from monitor.sources.stores.port import TrafficObject, TrafficUnavailableError
from monitor.stop import Stopped, never_stopped

_STORE_BYTES = 2**27
_NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": _STORE_BYTES,
    "include_dashboard": False,
    "include_log_monitor": False,
}


@contextmanager
def cluster(*, nodes: int) -> Iterator[Cluster]:
    """A cluster with a head that has no core for work, and so many nodes that have one.

    One that is slow to answer, on a busy machine, is not taken for dead; one that is dead refuses.
    """
    unwatched = {"no_monitor": True, "_system_config": {"health_check_timeout_ms": 120_000}}
    head = {**_NODE, "num_cpus": 0, **unwatched}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            started.add_node(**_NODE)
        started.wait_for_nodes()
        yield started
    finally:
        started.shutdown()  # type: ignore[no-untyped-call]


class Throttled(Folder):
    """A folder that can be listed and not read."""

    def open(self, each: TrafficObject, _stopped: Stopped = never_stopped, /) -> BinaryIO:
        raise TrafficUnavailableError(uri=each.name, problem="SlowDown")


class Slow(Folder):
    """A folder whose objects take their time to open, and which tells by a file what nodes read it."""

    def readers(self) -> set[str]:
        return {each.name for each in self._told().iterdir()}

    def open(self, each: TrafficObject, stopped: Stopped = never_stopped, /) -> BinaryIO:
        (self._told() / ray.get_runtime_context().get_node_id()).touch()
        sleep(0.3)
        return super().open(each, stopped)

    def _told(self) -> Path:
        told = Path(self.uri).with_name("readers")
        told.mkdir(exist_ok=True)
        return told
