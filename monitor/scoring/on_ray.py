"""Scoring by a Ray cluster: each batch by one core of one of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from monitor.cluster import connected, cores_of, results_in_order
from monitor.cores import keep_freed_memory
from monitor.scoring.batches import Answers, Batch, answer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from ray import ObjectRef

    from monitor.scoring.models import Model
    from monitor.stop import Stopped

_BATCHES_A_CORE = 4  #: under way or waiting to be taken, at most


def answers_of_cluster(address: str) -> Answers:
    """Has batches answered by the cluster at `address`, which may lose and win nodes meanwhile.

    The logits are those that `answers_here` gives on such a processor: a batch is one thread's there, too.
    The model goes there through Ray's object store. Of the requests only token ids go.

    What the result raises besides: RayMissingError, ClusterUnavailableError, ClusterFailedError.
    """

    def answers(model: Model, batches: Sequence[Batch], stopped: Stopped) -> Generator[NDArray[np.float32]]:
        if not batches:
            return
        with connected(address) as ray:
            shared = (ray.put(model),)  # in a tuple it is not fetched for each batch anew
            ask = ray.remote(_answer)
            asked = (lambda batch=batch: ask.remote(shared, model.version, batch) for batch in batches)
            yield from results_in_order(ray, asked, stopped, at_once=_BATCHES_A_CORE * cores_of(ray))

    return answers


# --- in the processes of the cluster ---

_models: dict[str, Model] = {}  #: the one that was last asked for


def _answer(shared: tuple[ObjectRef[Model]], version: str, batch: Batch) -> NDArray[np.float32]:
    if version not in _models:
        import ray  # noqa: PLC0415 - an extra

        torch.set_num_threads(1)
        keep_freed_memory()
        _models.clear()
        _models[version] = ray.get(shared[0])
    return answer(_models[version], batch)
