"""The log of a training, step by step, and its file beside the candidate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from db.records import TrainedEpoch
from monitor.storage.zstandard import zstd

if TYPE_CHECKING:  # they load torch, which a reader of the log does not need
    from distill.training.adamw import TakenStep
    from distill.training.objective import StepLog

#: The file in the directory of a version.
STEPS_FILE: Final = "training.jsonl.zst"


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """One step: the parts of its loss, before it, and its gradient."""

    step: int  #: counted from 1
    epoch: int  #: counted from 1
    learning_rate: float
    loss: float
    kl: float  #: nats, at T, without the T² factor
    ce: float  #: nats
    n_labelled: int  #: rows of the batch with a label
    kl_gradient_share: float  #: share in [0, 1] of the KL term in both terms' gradient norms at the logits
    kl_gradient_share_weights: float | None  #: the same over the weights, every 50 steps
    gradient_norm: float  #: of all weights, before it is clipped
    clipped: bool


_NAMES: Final = tuple(field.name for field in fields(TrainingStep))


def logged(taken: "TakenStep", parts: "StepLog", *, epoch: int) -> TrainingStep:
    """Return the log of a step."""
    return TrainingStep(epoch=epoch, **vars(parts), **vars(taken))


def dumped(steps: Iterable[TrainingStep]) -> list[list[object]]:
    """Return steps as lists of values, for a checkpoint."""
    return [[getattr(step, name) for name in _NAMES] for step in steps]


def restored(dump: Iterable[Sequence[object]]) -> list[TrainingStep]:
    """Return the steps of a checkpoint. Raises msgspec.ValidationError."""
    return [msgspec.convert(dict(zip(_NAMES, each, strict=True)), type=TrainingStep) for each in dump]


def packed(steps: Iterable[TrainingStep]) -> bytes:
    """Return the content of `STEPS_FILE`: one JSON object per step, compressed with zstandard."""
    return zstd.compress(b"".join(orjson.dumps(step) + b"\n" for step in steps))


def unpacked(content: bytes) -> list[TrainingStep]:
    """Return the steps of such a file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        lines = zstd.decompress(content).splitlines()
        return [msgspec.json.decode(line, type=TrainingStep) for line in lines]
    except (zstd.ZstdError, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error


def summarised(
    steps: Sequence[TrainingStep], *, accuracy: float | None, agreement: float | None
) -> TrainedEpoch:
    """Return the epoch of these steps, with the validation after it."""
    over_weights = [
        step.kl_gradient_share_weights for step in steps if step.kl_gradient_share_weights is not None
    ]
    return TrainedEpoch(
        epoch=steps[-1].epoch,
        n_steps=len(steps),
        n_labelled=sum(step.n_labelled for step in steps),
        learning_rate=steps[-1].learning_rate,
        loss=fmean(step.loss for step in steps),
        kl=fmean(step.kl for step in steps),
        ce=fmean(step.ce for step in steps),
        kl_gradient_share=fmean(step.kl_gradient_share for step in steps),
        kl_gradient_share_weights=fmean(over_weights) if over_weights else None,
        gradient_norm=fmean(step.gradient_norm for step in steps),
        clipped_share=fmean(step.clipped for step in steps),
        validation_accuracy=accuracy,
        validation_agreement=agreement,
    )
