"""The record of one epoch of a training."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainedEpoch:
    """One epoch of a job's training: means over its steps, and the validation after it."""

    epoch: int  #: counted from 1
    n_steps: int
    n_labelled: int  #: rows with a label, of all its batches
    learning_rate: float  #: of its last step
    loss: float
    kl: float  #: nats, at T, without the T² factor
    ce: float  #: nats
    kl_gradient_share: float  #: share in [0, 1] of the KL term in both terms' gradient norms at the logits
    kl_gradient_share_weights: float | None  #: the same over the weights; None if no step measured it
    gradient_norm: float  #: of all weights, before it is clipped
    clipped_share: float  #: share in [0, 1] of the steps whose gradient was clipped
    validation_accuracy: float | None  #: None without a validation set
    validation_agreement: float | None
