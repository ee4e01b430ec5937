"""Objects read for a window by a Ray cluster, into one sample."""

from collections import deque
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import IO

from monitor.cluster import connected, cores_of
from monitor.sources.reading import Part, ReadAll, Task, dealt, merged
from monitor.sources.store import TrafficObject
from monitor.stop import Stopped, StoppedError, never_stopped

_PARTS_A_CORE = 4  #: so that a slow or lost node leaves little to wait for
_PART_BYTES = 2**28  #: compressed; at most about so much is read again when a node is lost
_LOOK_SECONDS = 0.2


def read_all_by_cluster(address: str) -> ReadAll:
    """Has the objects read by the cluster at `address`, each part of them by one core, and merged here.

    Every node must reach the objects by the same address. At most two parts a core are under way or wait to
    be merged, so that memory stays bounded however many objects there are.

    What the result raises besides: RayMissingError, ClusterUnavailableError, ClusterFailedError.
    """

    def read_all(task: Task, objects: Sequence[TrafficObject], stopped: Stopped, spill: IO[bytes]) -> Part:
        with connected(address) as ray:
            cores = cores_of(ray)
            n_parts = max(_PARTS_A_CORE * cores, sum(each.size for each in objects) // _PART_BYTES)
            parts = _parts(ray, task, dealt(objects, n_parts), stopped, at_once=2 * cores)
            return merged(task, parts, spill)

    return read_all


def _parts(
    ray: ModuleType, task: Task, runs: Sequence[Sequence[TrafficObject]], stopped: Stopped, *, at_once: int
) -> Iterator[Part]:
    read, shared = ray.remote(_read), ray.put(task)
    pending = deque[object]()
    for run in runs:
        if len(pending) == at_once:
            yield _get(ray, pending.popleft(), stopped)
        pending.append(read.remote(shared, run))
    while pending:
        yield _get(ray, pending.popleft(), stopped)


def _get(ray: ModuleType, part: object, stopped: Stopped) -> Part:
    while not ray.wait([part], timeout=_LOOK_SECONDS)[0]:
        if stopped():
            raise StoppedError
    found: Part = ray.get(part)
    return found


def _read(task: Task, objects: Sequence[TrafficObject]) -> Part:
    return task.read(objects, never_stopped)
