"""Scoring by a Ray cluster: each batch by one core of one node."""

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

_BATCHES_A_CORE = 4  #: running or waiting to be collected, at most


def answers_of_cluster(address: str) -> Answers:
    """Return a function that scores batches on the cluster at `address`, which may lose and gain nodes.

    The logits are those of `answers_here` on a processor of that kind, since one thread scores a batch there,
    too. The model is sent through Ray's object store. Of the requests, only token ids are sent.

    The function can also raise RayMissingError, ClusterUnavailableError and ClusterFailedError.
    """

    def answers(model: Model, batches: Sequence[Batch], stopped: Stopped) -> Generator[NDArray[np.float32]]:
        if not batches:
            return
        with connected(address) as ray:
            shared = (ray.put(model),)  # in a tuple, it is not fetched again for each batch
            ask = ray.remote(_answer)
            asked = (lambda batch=batch: ask.remote(shared, model.version, batch) for batch in batches)
            yield from results_in_order(ray, asked, stopped, at_once=_BATCHES_A_CORE * cores_of(ray))

    return answers


# --- in the processes of the cluster ---

_models: dict[str, Model] = {}  #: the model that was used last


def _answer(shared: tuple[ObjectRef[Model]], version: str, batch: Batch) -> NDArray[np.float32]:
    if version not in _models:
        import ray  # noqa: PLC0415 - an extra

        torch.set_num_threads(1)
        keep_freed_memory()
        _models.clear()
        _models[version] = ray.get(shared[0])
    return answer(_models[version], batch)
