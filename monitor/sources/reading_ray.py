"""Objects read for a window by a Ray cluster, into one sample."""

from collections.abc import Sequence
from typing import IO

from monitor.cluster import connected, cores_of, results_in_order
from monitor.sources.reading import Part, ReadAll, Task, merge_parts, split_by_size
from monitor.sources.stores.port import TrafficObject
from monitor.stop import Stopped, never_stopped

_PARTS_A_CORE = 4  #: so that a slow or lost node leaves little to wait for
_PART_BYTES = 2**28  #: compressed; at most about so much is read again when a node is lost


def read_all_by_cluster(address: str) -> ReadAll:
    """Has the objects read by the cluster at `address`, each part of them by one core, and merged here.

    Every node must reach the objects by the same address. At most two parts a core are under way or wait to
    be merged, so that memory stays bounded however many objects there are.

    What the result raises besides: RayMissingError, ClusterUnavailableError, ClusterFailedError.
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
