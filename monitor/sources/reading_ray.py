"""Reading the objects of a window by a Ray cluster, into one sample."""

from collections.abc import Sequence
from typing import IO

from monitor.cluster import connected, cores_of, results_in_order
from monitor.sources.reading import Part, ReadAll, Task, merge_parts, split_by_size
from monitor.sources.stores.port import TrafficObject
from monitor.stop import Stopped, never_stopped

_PARTS_A_CORE = 4  #: so that a slow or lost node causes little waiting
_PART_BYTES = 2**28  #: compressed; about the most that is read again when a node is lost


def read_all_by_cluster(address: str) -> ReadAll:
    """Return a function that reads objects on the cluster at `address`, one core per part, and merges here.

    Every node must reach the objects at the same address. At most two parts per core are being read or wait
    to be merged, so memory is bounded for any number of objects.

    The function can also raise RayMissingError, ClusterUnavailableError and ClusterFailedError.
    """

    def read_all(task: Task, objects: Sequence[TrafficObject], stopped: Stopped, spill: IO[bytes]) -> Part:
        if not objects:
            return task.read((), stopped, spill)
        with connected(address) as ray:
            cores = cores_of(ray)
            n_parts = max(_PARTS_A_CORE * cores, sum(each.size for each in objects) // _PART_BYTES)
            shared, read = ray.put(task), ray.remote(_read)
            asked = (lambda run=run: read.remote(shared, run) for run in split_by_size(objects, n_parts))
            return merge_parts(task, results_in_order(ray, asked, stopped, at_once=2 * cores), spill)

    return read_all


def _read(task: Task, objects: Sequence[TrafficObject]) -> Part:
    return task.read(objects, never_stopped)
