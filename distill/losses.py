"""The distillation loss, alpha · T² · KL(p_teacher^T || p_student^T) + (1 - alpha) · CE.

Logits are (rows, classes). The factor T² keeps the KL term's gradients on the scale of the CE term's when
T changes. `distillation_loss` is the formula for a batch with labels. Trainings minimise `job_loss`, the same
formula row by row, in which a row without a label keeps the KL term with weight 1.

Source: Hinton, Vinyals, Dean 2015, arXiv 1503.02531, section 2.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

import torch
from torch import Tensor
from torch.nn import functional

from db.errors import RedistillError
from monitor.divergence import TemperatureError


class AlphaError(RedistillError):
    """alpha is {alpha!r}: give the weight of the KL term, a number in [0, 1]."""


class BatchError(RedistillError):
    """This batch has no loss: {problem}."""


@dataclass(frozen=True, kw_only=True)
class DistillationTerms:
    """The two terms before they are weighted; scalars in nats, both >= 0 up to rounding."""

    kl: Tensor  #: summed over classes, mean over all rows, without the T² factor
    ce: Tensor  #: at T = 1, mean over the labelled rows; 0 if there are none


def distillation_terms(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    label_mask: Tensor | None = None,
) -> DistillationTerms:
    """Return the KL and the cross-entropy term of one batch, each a scalar that carries its gradient.

    Args:
        student_logits: (rows, classes); only they receive a gradient.
        teacher_logits: (rows, classes), treated as constants.
        labels: (rows,) class indices. The value in a row without a label is ignored.
        temperature: of the KL term, for both models.
        label_mask: (rows,) bool, true where a human label exists; None: everywhere. The other
            rows are left out of the CE term, whose sum is divided by the number of labelled rows,
            so the CE of a batch has the same weight whether few or many of its rows are labelled.

    Raises:
        BatchError: shapes differ, there are no rows, or the label of a labelled row is not a class.
        TemperatureError: the temperature is not finite or not above 0.

    Example:
        >>> student, teacher = torch.zeros(3, 4), torch.zeros(3, 4)
        >>> labels, mask = torch.tensor([2, 0, 0]), torch.tensor([True, True, False])
        >>> terms = distillation_terms(student, teacher, labels, temperature=3.0, label_mask=mask)
        >>> (round(terms.kl.item(), 4), round(terms.ce.item(), 4))
        (0.0, 1.3863)
    """
    _check_shapes(student_logits, teacher_logits, labels, label_mask)
    _checked_temperature(temperature)
    return DistillationTerms(
        kl=functional.kl_div(
            functional.log_softmax(student_logits / temperature, dim=1),
            functional.log_softmax(teacher_logits.detach() / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        ),
        ce=_cross_entropy(student_logits, labels, label_mask),
    )


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Decimal,
    temperature: float,
    label_mask: Tensor | None = None,
) -> Tensor:
    """Return the loss of one batch, alpha · T² · KL + (1 - alpha) · CE, a scalar; lower is better.

    `alpha` in [0, 1] is the weight of the KL term: a lower alpha gives more weight to the hard
    labels. (Some libraries define alpha the other way round.) The terms, arguments and errors are those of
    `distillation_terms`.

    Raises:
        AlphaError: alpha is not in [0, 1].

    Example:
        >>> student = torch.tensor([[0.1] + [0.0] * 9])
        >>> teacher = torch.tensor([[6.4, 1.2, -1.5] + [-2.0] * 7])
        >>> label = torch.tensor([0])
        >>> loss = distillation_loss(student, teacher, label, alpha=0.7, temperature=3.0)
        >>> round(loss.item(), 3)
        5.47
    """
    weight = _checked_alpha(alpha)
    terms = distillation_terms(
        student_logits, teacher_logits, labels, temperature=temperature, label_mask=label_mask
    )
    return weight * temperature**2 * terms.kl + (1 - weight) * terms.ce


@dataclass(frozen=True, kw_only=True)
class JobTerms:
    """The two weighted terms of `job_loss`; scalars in nats, both >= 0 up to rounding."""

    kl: Tensor  #: Σ (1 - (1 - alpha) · w) · KL / rows, without the T² factor
    ce: Tensor  #: Σ (1 - alpha) · w · CE / rows; 0 without labels


def job_terms(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Decimal,
    temperature: float,
    label_weights: Tensor,
) -> JobTerms:
    """Return the weighted KL and cross-entropy terms of one batch, each a scalar that carries its gradient.

    Args:
        student_logits: (rows, classes); only they receive a gradient.
        teacher_logits: (rows, classes), treated as constants.
        labels: (rows,) class indices. The value in a row without a label is ignored.
        alpha: in [0, 1]; the weight of the teacher in a row whose label has the weight 1.
        temperature: of the KL term, for both models.
        label_weights: (rows,) in [0, 1], the weight w of each row's label; 0 in rows without a label.

    Both sums are divided by the number of all rows of the batch. So the CE of a labelled row has the weight
    (1 - alpha) · w, its KL the weight 1 - (1 - alpha) · w, whatever share of the batch is labelled, and
    the KL of a row without a label has the weight 1 at every alpha.

    Raises:
        BatchError: shapes differ, there are no rows, the label of a labelled row is not a class, or a weight
            is not in [0, 1].
        AlphaError: alpha is not in [0, 1].
        TemperatureError: the temperature is not finite or not above 0.

    Example:
        >>> student, teacher = torch.zeros(4, 2), torch.zeros(4, 2)
        >>> labels, weights = torch.tensor([1, 0, 0, 0]), torch.tensor([1.0, 0.5, 0.0, 0.0])
        >>> terms = job_terms(student, teacher, labels, alpha=0.6, temperature=3.0, label_weights=weights)
        >>> round(terms.ce.item(), 4)  # ln 2 · 0.4 · (1 + 0.5) / 4
        0.104
    """
    labelled = label_weights > 0
    _check_shapes(student_logits, teacher_logits, labels, labelled)
    _check_labels(labels[labelled], student_logits.shape[1])
    if not (label_weights.min() >= 0 and label_weights.max() <= 1):
        raise BatchError(problem="a weight of a label is not in [0, 1]")
    hard = (1 - _checked_alpha(alpha)) * label_weights
    kl = functional.kl_div(
        functional.log_softmax(student_logits / _checked_temperature(temperature), dim=1),
        functional.log_softmax(teacher_logits.detach() / temperature, dim=1),
        reduction="none",
        log_target=True,
    ).sum(dim=1)
    ce = functional.cross_entropy(student_logits, labels.where(labelled, 0), reduction="none")
    return JobTerms(kl=((1 - hard) * kl).mean(), ce=(hard * ce).mean())


def job_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Decimal,
    temperature: float,
    label_weights: Tensor,
) -> Tensor:
    """Return the loss of one batch of a training, T² · KL + CE of `job_terms`, a scalar; lower is better.

    It is the `distillation_loss` of the batch if every row has a label of weight 1. Arguments and errors are
    those of `job_terms`.

    Example:
        >>> student = torch.tensor([[0.1] + [0.0] * 9])
        >>> teacher = torch.tensor([[6.4, 1.2, -1.5] + [-2.0] * 7])
        >>> weighted = {"alpha": 0.7, "temperature": 3.0, "label_weights": torch.ones(1)}
        >>> round(job_loss(student, teacher, torch.tensor([0]), **weighted).item(), 3)
        5.47
    """
    terms = job_terms(
        student_logits,
        teacher_logits,
        labels,
        alpha=alpha,
        temperature=temperature,
        label_weights=label_weights,
    )
    return temperature**2 * terms.kl + terms.ce


def _cross_entropy(student_logits: Tensor, labels: Tensor, label_mask: Tensor | None) -> Tensor:
    if label_mask is not None:
        student_logits, labels = student_logits[label_mask], labels[label_mask]
    if labels.numel() == 0:
        return student_logits.sum()  # a sum over no rows: 0, with a gradient of 0
    _check_labels(labels, student_logits.shape[1])
    return functional.cross_entropy(student_logits, labels)


def _check_labels(labels: Tensor, classes: int) -> None:
    if labels.numel() and (labels.min() < 0 or labels.max() >= classes):
        raise BatchError(problem=f"a label is not in 0 … {classes - 1}")


def _checked_alpha(alpha: float | Decimal) -> float:
    weight = float(alpha)
    if not 0 <= weight <= 1:
        raise AlphaError(alpha=alpha)
    return weight


def _checked_temperature(temperature: float) -> float:
    if not (math.isfinite(temperature) and temperature > 0):
        raise TemperatureError(temperature=temperature)
    return temperature


def _check_shapes(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, label_mask: Tensor | None
) -> None:
    shape, rows = tuple(student_logits.shape), tuple(student_logits.shape[:1])
    if len(shape) != 2 or 0 in shape:  # noqa: PLR2004 - rows and classes
        raise BatchError(problem=f"the student's logits have the shape {shape}")
    if teacher_logits.shape != student_logits.shape:
        problem = f"the student's logits are {shape}, the teacher's {tuple(teacher_logits.shape)}"
        raise BatchError(problem=problem)
    if labels.shape != rows or (label_mask is not None and label_mask.shape != rows):
        raise BatchError(problem="labels and label_mask need one value for each row of the logits")
    if label_mask is not None and label_mask.dtype != torch.bool:
        raise BatchError(problem=f"label_mask is {label_mask.dtype}, not bool")
