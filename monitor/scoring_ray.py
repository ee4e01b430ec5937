"""Scoring by a Ray cluster: each batch by one core of one of its nodes."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any, cast

import torch

from monitor.cluster import connected, cores_of
from monitor.cores import keep_freed_memory
from monitor.scoring import Answers, Batch, answer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from ray import ObjectRef

    from monitor.models import Model

_BLOCKS = 1_000  #: into which the batches are put at most


def answers_of_cluster(address: str) -> Answers:
    """Has batches answered by the cluster at `address`, which may lose and win nodes meanwhile.

    The logits are those that `answers_here` gives on such a processor: a batch is one thread's there, too.
    The model goes there through Ray's object store. Of the requests only token ids go.

    What the result raises besides: RayMissingError, ClusterUnavailableError, ClusterFailedError.
    """

    def answers(model: Model, batches: Sequence[Batch]) -> Generator[NDArray[np.float32]]:
        if not batches:
            return
        with connected(address) as ray:
            from ray import data  # noqa: PLC0415 - an extra

            logging.getLogger("ray.data").setLevel(logging.ERROR)
            context = data.DataContext.get_current()
            context.enable_progress_bars = False
            context.execution_options.preserve_order = True
            rows = [{"batch": pickle.dumps(batch)} for batch in batches]
            answered = data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS)).map(
                cast("Any", _Answerer),
                fn_constructor_args=((ray.put(model),),),
                num_cpus=1,
                compute=data.ActorPoolStrategy(min_size=1, max_size=cores_of(ray)),
            )
            for row in answered.iter_rows():
                yield row["logits"]

    return answers


class _Answerer:
    """Lives in a process of the cluster, with a copy of the model."""

    def __init__(self, model: tuple[ObjectRef[Model]]) -> None:
        import ray  # noqa: PLC0415 - an extra

        torch.set_num_threads(1)
        keep_freed_memory()
        self._model = ray.get(model[0])

    def __call__(self, row: dict[str, bytes]) -> dict[str, NDArray[np.float32]]:
        batch = pickle.loads(row["batch"])  # noqa: S301 - written above
        return {"logits": answer(self._model, batch)}
