"""The distillation loss against torch's own parts, finite differences and hand-computed numbers."""

import math
from decimal import Decimal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from distill.losses import (
    AlphaError,
    BatchError,
    distillation_loss,
    distillation_terms,
    job_loss,
    job_terms,
)
from monitor.divergence import TemperatureError, kl_divergence

ALPHAS = [0.0, 1e-9, 0.3, 0.7, 1.0]
TEMPERATURES = [1.0, 3.0, 10.0]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Student's and teacher's logits and labels of 8 rows over 5 classes."""
    generator = torch.Generator().manual_seed(2025)
    student, teacher = torch.randn(2, 8, 5, generator=generator, dtype=torch.float64) * 3
    return student, teacher, torch.randint(0, 5, (8,), generator=generator)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_loss_is_its_formula(
    batch: tuple[Tensor, Tensor, Tensor], alpha: float, temperature: float
) -> None:
    """Computed row by row, from softmaxes, with the teacher's entropy in the KL."""
    student, teacher, labels = batch
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    kl = (p * (p.log() - q.log())).sum(1).mean()
    ce = -student.softmax(1)[torch.arange(8), labels].log().mean()
    expected = alpha * temperature**2 * kl + (1 - alpha) * ce
    found = distillation_loss(student, teacher, labels, alpha=alpha, temperature=temperature)
    torch.testing.assert_close(found, expected)


def test_the_terms_are_torchs_own(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """kl_div with `batchmean` (not `mean`, which divides by the classes, too) and cross_entropy."""
    student, teacher, labels = batch
    terms = distillation_terms(student, teacher, labels, temperature=3.0)
    log_q, p = (student / 3).log_softmax(1), (teacher / 3).softmax(1)
    torch.testing.assert_close(terms.kl, functional.kl_div(log_q, p, reduction="batchmean"))
    torch.testing.assert_close(terms.ce, functional.cross_entropy(student, labels))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_kl_term_is_the_kl_that_the_monitor_measures(
    batch: tuple[Tensor, Tensor, Tensor], temperature: float
) -> None:
    """Same direction, temperature and reduction: what is trained is what is watched."""
    student, teacher, labels = batch
    terms = distillation_terms(student, teacher, labels, temperature=temperature)
    measured = kl_divergence(teacher.numpy(), student.numpy(), temperature).mean()
    assert terms.kl.item() == pytest.approx(measured, rel=1e-12)


def test_equal_logits_have_no_kl(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """A "KL" without the teacher's entropy would be positive here."""
    student, _, labels = batch
    assert distillation_terms(student, student + 7, labels, temperature=3.0).kl.item() < 1e-12


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradients_equal_finite_differences(
    batch: tuple[Tensor, Tensor, Tensor], alpha: float, temperature: float
) -> None:
    student, teacher, labels = batch
    mask = torch.arange(8) % 2 == 0

    def loss(logits: Tensor) -> Tensor:
        return distillation_loss(
            logits, teacher, labels, alpha=alpha, temperature=temperature, label_mask=mask
        )

    assert torch.autograd.gradcheck(loss, student.requires_grad_())


def test_the_temperature_factor_keeps_the_kl_gradient_in_scale(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    """At high T the gradient tends to that of ½ · mean squared difference of centred logits / C."""
    student, teacher, labels = batch
    student.requires_grad_()
    distillation_loss(student, teacher, labels, alpha=1.0, temperature=1e4).backward()
    centred = [x - x.mean(1, keepdim=True) for x in (student.detach(), teacher)]
    torch.testing.assert_close(student.grad, (centred[0] - centred[1]) / (8 * 5), rtol=1e-3, atol=1e-5)


def test_no_gradient_flows_to_the_teacher(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = batch
    student.requires_grad_()
    teacher.requires_grad_()
    distillation_loss(student, teacher, labels, alpha=0.7, temperature=3.0).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_unlabelled_rows_are_left_out_of_the_ce_alone(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    """The CE is the mean over the labelled rows, the KL the mean over all."""
    student, teacher, labels = batch
    mask = torch.tensor([True, False, False, True, False, False, True, False])
    terms = distillation_terms(student, teacher, labels, temperature=3.0, label_mask=mask)
    unmasked = distillation_terms(student, teacher, labels, temperature=3.0)
    torch.testing.assert_close(terms.ce, functional.cross_entropy(student[mask], labels[mask]))
    torch.testing.assert_close(terms.kl, unmasked.kl)


@pytest.mark.parametrize("placeholder", [-100, -1, 4, 99])
def test_what_stands_for_a_missing_label_is_not_looked_at(
    batch: tuple[Tensor, Tensor, Tensor], placeholder: int
) -> None:
    student, teacher, labels = batch
    mask = torch.arange(8) < 3
    found, expected = (
        distillation_loss(student, teacher, given, alpha=0.2, temperature=3.0, label_mask=mask)
        for given in (torch.where(mask, labels, placeholder), labels)
    )
    torch.testing.assert_close(found, expected)


def test_a_batch_without_labels_has_a_ce_of_zero(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """Value and gradient: with alpha 0 such a batch teaches nothing, and never NaN."""
    student, teacher, labels = batch
    student.requires_grad_()
    none = torch.zeros(8, dtype=torch.bool)
    terms = distillation_terms(student, teacher, labels, temperature=3.0, label_mask=none)
    assert terms.ce.item() == 0
    terms.ce.backward()
    assert student.grad is not None
    assert student.grad.abs().max() == 0


def test_a_decimal_alpha_is_its_float(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = batch
    found, expected = (
        distillation_loss(student, teacher, labels, alpha=alpha, temperature=3.0)
        for alpha in (Decimal("0.6"), 0.6)
    )
    assert found.item() == expected.item()


def test_extreme_logits_give_a_finite_loss_and_gradient() -> None:
    """A teacher and a student that are sure of different labels, in float32."""
    student = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = distillation_loss(
        student, torch.tensor([[-1e4, 1e4]]), torch.tensor([1]), alpha=0.7, temperature=3.0
    )
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan, Decimal("1.01"), Decimal("NaN")])
def test_alpha_outside_zero_to_one_is_refused(
    batch: tuple[Tensor, Tensor, Tensor], alpha: float | Decimal
) -> None:
    with pytest.raises(AlphaError, match=r"\[0, 1\]"):
        distillation_loss(*batch, alpha=alpha, temperature=3.0)


@pytest.mark.parametrize("temperature", [0.0, -3.0, math.inf, math.nan])
def test_a_temperature_must_be_positive_and_finite(
    batch: tuple[Tensor, Tensor, Tensor], temperature: float
) -> None:
    with pytest.raises(TemperatureError):
        distillation_loss(*batch, alpha=0.7, temperature=temperature)


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "mask", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2).long(), None, r"\(2, 3\).*\(2, 4\)"),
        (torch.zeros(3), torch.zeros(3), torch.zeros(3).long(), None, r"shape \(3,\)"),
        (torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0).long(), None, r"shape \(0, 3\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1).long(), None, "one value for each"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 3]), None, "not in 0 … 2"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, -100]), None, "not in 0 … 2"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 1]), torch.ones(2), "not bool"),
    ],
)
def test_a_malformed_batch_is_refused(
    student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor | None, message: str
) -> None:
    with pytest.raises(BatchError, match=message):
        distillation_loss(student, teacher, labels, alpha=0.7, temperature=3.0, label_mask=mask)


#: No label, a label that counts half, and full ones; 3 of 8 rows have none.
WEIGHTS = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 0.25, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_loss_of_a_job_is_its_formula_row_by_row(
    batch: tuple[Tensor, Tensor, Tensor], alpha: float, temperature: float
) -> None:
    """Summed in plain Python, and divided by all eight rows."""
    student, teacher, labels = batch
    expected = 0.0
    for row in range(8):
        p = [math.exp(x / temperature) for x in teacher[row].tolist()]
        q = [math.exp(x / temperature) for x in student[row].tolist()]
        kl = sum(x / sum(p) * math.log(x / sum(p) * sum(q) / y) for x, y in zip(p, q, strict=True))
        hard = (1 - alpha) * WEIGHTS[row].item()
        at_one = [math.exp(x) for x in student[row].tolist()]
        ce = -math.log(at_one[int(labels[row])] / sum(at_one))
        expected += ((1 - hard) * temperature**2 * kl + hard * ce) / 8
    found = job_loss(student, teacher, labels, alpha=alpha, temperature=temperature, label_weights=WEIGHTS)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_where_every_row_has_a_label_the_loss_of_a_job_is_that_of_the_contract(
    batch: tuple[Tensor, Tensor, Tensor], alpha: float
) -> None:
    ones = torch.ones(8, dtype=torch.float64)
    found = job_loss(*batch, alpha=alpha, temperature=3.0, label_weights=ones)
    torch.testing.assert_close(
        found, distillation_loss(*batch, alpha=alpha, temperature=3.0), rtol=1e-14, atol=0
    )


@pytest.mark.parametrize("n_labelled", [1, 3, 8])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.6])
def test_alpha_means_the_same_whatever_share_of_the_batch_is_labelled(
    batch: tuple[Tensor, Tensor, Tensor], n_labelled: int, alpha: float
) -> None:
    """The gradient of a labelled row in closed form, alpha · T · (q - p) + (1 - alpha) · (q₁ - y)."""
    student, teacher, labels = batch
    student.requires_grad_()
    weights = (torch.arange(8) < n_labelled).double()
    job_loss(student, teacher, labels, alpha=alpha, temperature=3.0, label_weights=weights).backward()
    one_hot = functional.one_hot(labels, 5)
    towards_teacher = 3 * ((student / 3).softmax(1) - (teacher / 3).softmax(1))
    towards_label = student.softmax(1) - one_hot
    labelled = alpha * towards_teacher + (1 - alpha) * towards_label
    expected = torch.where(weights[:, None] > 0, labelled, towards_teacher) / 8
    assert student.grad is not None
    torch.testing.assert_close(student.grad, expected.detach())


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_gradients_of_a_job_equal_finite_differences(
    batch: tuple[Tensor, Tensor, Tensor], alpha: float
) -> None:
    student, teacher, labels = batch

    def loss(logits: Tensor) -> Tensor:
        return job_loss(logits, teacher, labels, alpha=alpha, temperature=3.0, label_weights=WEIGHTS)

    assert torch.autograd.gradcheck(loss, student.requires_grad_())


def test_rows_without_a_label_keep_the_teacher_at_alpha_zero(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    none = torch.zeros(8, dtype=torch.float64)
    terms = job_terms(*batch, alpha=0.0, temperature=3.0, label_weights=none)
    torch.testing.assert_close(terms.kl, distillation_terms(*batch, temperature=3.0).kl)
    assert terms.ce.item() == 0


@pytest.mark.parametrize("placeholder", [-100, -1, 4, 99])
def test_a_job_ignores_the_value_in_a_row_without_a_label(
    batch: tuple[Tensor, Tensor, Tensor], placeholder: int
) -> None:
    student, teacher, labels = batch
    found, expected = (
        job_loss(student, teacher, given, alpha=0.2, temperature=3.0, label_weights=WEIGHTS)
        for given in (torch.where(WEIGHTS > 0, labels, placeholder), labels)
    )
    assert found.item() == expected.item()


@pytest.mark.parametrize("weight", [-0.1, 1.5, math.nan])
def test_the_weight_of_a_label_is_a_share(batch: tuple[Tensor, Tensor, Tensor], weight: float) -> None:
    with pytest.raises(BatchError, match="weight"):
        job_loss(
            *batch, alpha=0.7, temperature=3.0, label_weights=torch.full((8,), weight, dtype=torch.float64)
        )


def test_a_job_refuses_what_the_contract_s_loss_refuses(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    ones = torch.ones(8, dtype=torch.float64)
    student, teacher, labels = batch
    with pytest.raises(AlphaError):
        job_loss(student, teacher, labels, alpha=1.1, temperature=3.0, label_weights=ones)
    with pytest.raises(TemperatureError):
        job_loss(student, teacher, labels, alpha=0.7, temperature=0.0, label_weights=ones)
    with pytest.raises(BatchError, match=r"not in 0 … 4"):
        job_loss(student, teacher, labels + 5, alpha=0.7, temperature=3.0, label_weights=ones)
    with pytest.raises(BatchError, match="one value for each"):
        job_loss(student, teacher, labels, alpha=0.7, temperature=3.0, label_weights=ones[:7])
