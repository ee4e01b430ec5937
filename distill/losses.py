"""The distillation loss, alpha · T² · KL(p_teacher^T || p_student^T) + (1 - alpha) · CE.

Logits are (rows, classes). The factor T² keeps the KL term's gradients on the scale of the CE term's when
T changes.

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
    if not (math.isfinite(temperature) and temperature > 0):
        raise TemperatureError(temperature=temperature)
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
    weight = float(alpha)
    if not 0 <= weight <= 1:
        raise AlphaError(alpha=alpha)
    terms = distillation_terms(
        student_logits, teacher_logits, labels, temperature=temperature, label_mask=label_mask
    )
    return weight * temperature**2 * terms.kl + (1 - weight) * terms.ce


def _cross_entropy(student_logits: Tensor, labels: Tensor, label_mask: Tensor | None) -> Tensor:
    if label_mask is not None:
        student_logits, labels = student_logits[label_mask], labels[label_mask]
    if labels.numel() == 0:
        return student_logits.sum()  # a sum over no rows: 0, with a gradient of 0
    if labels.min() < 0 or labels.max() >= student_logits.shape[1]:
        raise BatchError(problem=f"a label is not in 0 … {student_logits.shape[1] - 1}")
    return functional.cross_entropy(student_logits, labels)


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
