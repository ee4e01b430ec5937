"""Divergences of the student's distribution over the labels from the teacher's, per request.

Logits are (n, classes), one row per request, with the same labels in the same order for teacher and student;
results are (n,) float64. All values are computed in float64 from the log-softmax, so they are finite for any
finite logits. n = 0 gives empty results.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.errors import RedistillError

#: Replaces any lower log-probability, so that sums stay finite where float64 would overflow.
_LOWEST = -1e300


class LogitsError(RedistillError):
    """The {model} logits cannot be used: {problem}. Give one finite row per request, (n, classes),
    over the same labels for both models.
    """


class TemperatureError(RedistillError):
    """The temperature must be a finite number above 0, not {temperature!r}."""


def log_softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return log-probabilities in nats, (n, classes), of logits divided by `temperature`.

    Raises:
        LogitsError: not two-dimensional, no classes, or a value that is not finite.
        TemperatureError: a temperature that is not finite and above 0.

    Example:
        >>> log_softmax([[0.0, 0.0, 0.0, 0.0]]).round(6).tolist()
        [[-1.386294, -1.386294, -1.386294, -1.386294]]
    """
    return _log_softmax(_checked("given", logits), temperature)


def kl_divergence(
    teacher_logits: ArrayLike, student_logits: ArrayLike, temperature: float = 3.0
) -> NDArray[np.float64]:
    """Return KL(p_teacher^T || p_student^T) per request, in nats, summed over classes, without a T² factor.

    Values are in [0, inf), and 0 if the logits are equal up to a constant. Rounding can make the sum of such
    a row slightly negative; it is then returned as 0.

    Raises:
        LogitsError: shapes differ or are not (n, classes), or a value is not finite.
        TemperatureError: a temperature that is not finite and above 0.

    Source: Hinton, Vinyals, Dean 2015, arXiv 1503.02531, for the softened distributions.

    Example:
        >>> teacher = [[6.4, 1.2, -1.5] + [-2.0] * 7]
        >>> student = [[0.1] + [0.0] * 9]
        >>> kl_divergence(teacher, student).round(4).tolist()
        [0.7629]
    """
    teacher, student = _log_pair(teacher_logits, student_logits, temperature)
    return np.maximum(_relative_entropy(teacher, student), 0.0)


def js_divergence(
    teacher_logits: ArrayLike, student_logits: ArrayLike, temperature: float = 3.0
) -> NDArray[np.float64]:
    """Return the Jensen-Shannon divergence of the two softened distributions per request, in nats.

    It is ½ KL(p || m) + ½ KL(q || m) with m = (p + q) / 2: symmetric, in [0, ln 2], and ln 2 if no label has
    a positive probability in both. Errors as for `kl_divergence`.

    Source: Lin 1991, "Divergence measures based on the Shannon entropy".

    Example:
        >>> js_divergence([[9.0, -9.0]], [[-9.0, 9.0]], temperature=0.5).round(4).tolist()
        [0.6931]
    """
    teacher, student = _log_pair(teacher_logits, student_logits, temperature)
    mixture = np.logaddexp(teacher, student) - math.log(2)
    both = _relative_entropy(teacher, mixture) + _relative_entropy(student, mixture)
    return np.clip(both / 2, 0.0, math.log(2))


def confidence(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the largest probability of a label at T = 1 per request, in [1 / classes, 1].

    Errors as for `log_softmax`.

    Example:
        >>> confidence([[0.0, 0.0], [9.0, 0.0]]).round(4).tolist()
        [0.5, 0.9999]
    """
    return np.asarray(np.exp(log_softmax(logits).max(axis=1)))


def entropy(logits: ArrayLike) -> NDArray[np.float64]:
    """Return Σ p ln (1 / p) over the labels at T = 1 per request, in nats, in [0, ln classes].

    It is 0 if one label has probability 1, and ln classes if all are equally probable. Errors as for
    `log_softmax`.

    Source: Shannon 1948, "A Mathematical Theory of Communication".

    Example:
        >>> entropy([[0.0, 0.0], [9.0, 0.0]]).round(4).tolist()
        [0.6931, 0.0012]
    """
    log_p = log_softmax(logits)
    return np.asarray(-(np.exp(log_p) * log_p).sum(axis=1))


def top1_agreement(teacher_logits: ArrayLike, student_logits: ArrayLike) -> NDArray[np.bool_]:
    """Return whether both models have the same top-1 label, per request.

    Of labels that tie for the top, the one with the lowest index counts, for both models.

    Raises:
        LogitsError: shapes differ or are not (n, classes), or a value is not finite.

    Example:
        >>> top1_agreement([[2.0, 1.0], [0.0, 0.0]], [[5.0, 4.0], [0.0, 1.0]]).tolist()
        [True, False]
    """
    teacher, student = _checked_pair(teacher_logits, student_logits)
    return np.asarray(teacher.argmax(axis=1) == student.argmax(axis=1))


def _log_pair(
    teacher_logits: ArrayLike, student_logits: ArrayLike, temperature: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    teacher, student = _checked_pair(teacher_logits, student_logits)
    return _log_softmax(teacher, temperature), _log_softmax(student, temperature)


def _checked_pair(
    teacher_logits: ArrayLike, student_logits: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    teacher, student = _checked("teacher's", teacher_logits), _checked("student's", student_logits)
    if teacher.shape != student.shape:
        problem = f"their shape is {student.shape}, the teacher's is {teacher.shape}"
        raise LogitsError(model="student's", problem=problem)
    return teacher, student


def _checked(model: str, logits: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:  # noqa: PLR2004 - rows and classes
        raise LogitsError(model=model, problem=f"their shape is {values.shape}")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise LogitsError(model=model, problem=f"row {int(bad.argmax())} is not finite")
    return values


def _log_softmax(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    if not (math.isfinite(temperature) and temperature > 0):
        raise TemperatureError(temperature=temperature)
    with np.errstate(over="ignore"):
        below_top = (logits - logits.max(axis=1, keepdims=True)) / temperature
    below_top = np.maximum(below_top, _LOWEST)
    return np.asarray(below_top - np.log(np.exp(below_top).sum(axis=1, keepdims=True)))


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((np.exp(p) * (p - q)).sum(axis=1))
