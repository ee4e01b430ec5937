"""The objective of a distillation, batch by batch, with a log of its parts."""

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

from distill.losses import distillation_terms, job_loss, job_terms
from distill.training.archived import KnownLogits
from distill.training.batches import TokenRows
from distill.training.dataset import TrainingSet
from monitor.scoring.models import Model, match_labels


@dataclass(frozen=True, kw_only=True)
class StepLog:
    """The parts of one batch's loss, before the step."""

    loss: float  #: see `job_loss`
    kl: float  #: mean over all rows of KL(p_teacher^T || p_student^T), nats, without weights and T² factor
    ce: float  #: mean cross-entropy of the labelled rows, nats, without weights; 0 without any
    n_labelled: int  #: rows with a label
    kl_gradient_share: float  #: share in [0, 1] of the KL term in both terms' gradient norms at the logits
    kl_gradient_share_weights: float | None  #: the same over the student's weights; None: not measured


class Distillation:
    """The `job_loss` of batches of a training set, in the order of the teacher's labels.

    The teacher computes its soft labels online, except for rows whose logits are known. Each model reads the
    texts through its own tokenizer. Both are on one device. The loss is computed in float32, whatever the
    precision of the models.

    Raises:
        ModelError: the two models have different labels.
    """

    def __init__(
        self, student: Model, teacher: Model, data: TrainingSet, *, alpha: float | Decimal, temperature: float
    ) -> None:
        self._student, self._teacher = student, teacher
        device = student.placement.device
        self._columns = torch.from_numpy(match_labels(teacher, student)).to(device)
        self._student_rows = TokenRows(student, data.texts)
        self._teacher_rows = TokenRows(teacher, data.texts)
        self._labels = torch.from_numpy(data.labels).to(device)
        weights = data.labelled if data.label_weights is None else data.label_weights
        self._label_weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self._known = None if data.known_logits is None else _KnownLogits(data.known_logits, data, device)
        self._alpha, self._temperature = float(alpha), temperature
        self.logs: list[StepLog] = []  #: of each batch so far; the reader may clear them
        self.over_weights = False  #: whether to measure the gradients over the weights, two backward passes

    @property
    def lengths(self) -> Tensor:
        """(n,) numbers of tokens in the student's rows."""
        return self._student_rows.lengths

    def loss(self, rows: Tensor) -> Tensor:
        """Return the loss of these rows, a scalar that carries the gradient to the student's weights.

        Raises:
            AlphaError, TemperatureError: out of range.
        """
        with torch.inference_mode():
            teacher_logits = self._soft_labels(rows)
        student_logits = self._student.logits(self._student_rows.padded(rows))[:, self._columns]
        loss = job_loss(
            student_logits,
            teacher_logits,
            self._labels[rows],
            alpha=self._alpha,
            temperature=self._temperature,
            label_weights=self._label_weights[rows],
        )
        self.logs.append(self._log(rows, student_logits, teacher_logits, loss))
        return loss

    def _soft_labels(self, rows: Tensor) -> Tensor:
        """Return the teacher's logits of these rows; it is asked about those that are not known."""
        if self._known is None:
            return self._teacher.logits(self._teacher_rows.padded(rows))
        found, unknown = self._known.of(rows)
        if unknown.any():
            found[unknown] = self._teacher.logits(self._teacher_rows.padded(rows[unknown.cpu()]))
        return found

    def _log(self, rows: Tensor, student_logits: Tensor, teacher_logits: Tensor, loss: Tensor) -> StepLog:
        logits = student_logits.detach().requires_grad_()
        labels, label_weights = self._labels[rows], self._label_weights[rows]
        terms = distillation_terms(
            logits.detach(),
            teacher_logits,
            labels,
            temperature=self._temperature,
            label_mask=label_weights > 0,
        )
        weighted = job_terms(
            logits,
            teacher_logits,
            labels,
            alpha=self._alpha,
            temperature=self._temperature,
            label_weights=label_weights,
        )
        (kl,) = torch.autograd.grad(self._temperature**2 * weighted.kl, logits)
        (ce,) = torch.autograd.grad(weighted.ce, logits)
        return StepLog(
            loss=loss.item(),
            kl=terms.kl.item(),
            ce=terms.ce.item(),
            n_labelled=int((label_weights > 0).sum()),
            kl_gradient_share=_share(float(kl.norm()), float(ce.norm())),
            kl_gradient_share_weights=self._share_of_weights(student_logits, kl, ce),
        )

    def _share_of_weights(self, student_logits: Tensor, kl: Tensor, ce: Tensor) -> float | None:
        """Return the KL term's share over the weights, from the gradients (rows, classes) at the logits."""
        if not self.over_weights:
            return None
        weights = [weight for weight in self._student.network.parameters() if weight.requires_grad]

        def norm(gradient: Tensor) -> float:
            found = torch.autograd.grad(
                student_logits, weights, gradient, retain_graph=True, allow_unused=True
            )
            return math.sqrt(sum(float(each.norm()) ** 2 for each in found if each is not None))

        return _share(norm(kl), norm(ce))


def _share(kl_norm: float, ce_norm: float) -> float:
    return kl_norm / max(kl_norm + ce_norm, math.ulp(0.0))


class _KnownLogits:
    """Known logits of the teacher, by row."""

    def __init__(self, known: KnownLogits, data: TrainingSet, device: torch.device) -> None:
        place = torch.full((len(data.texts),), -1)
        place[torch.from_numpy(known.rows)] = torch.arange(len(known.rows))
        self._place = place.to(device)  # of each row of the data in the known logits; -1: not known
        self._logits = torch.from_numpy(known.logits).to(device)

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (rows, classes), and which rows are not known, (rows,)."""
        place = self._place[rows]
        return self._logits[place.clamp(min=0)], place < 0
