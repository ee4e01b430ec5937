"""The numbers of a cycle, from the logits of both models on the same requests."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.errors import RedistillError
from db.records import LabelMeasurement, Measurement, TeacherMeasurement
from monitor.divergence import confidence, entropy, js_divergence, kl_divergence, top1_agreement
from monitor.intervals import bootstrap_mean
from monitor.strata import Strata
from triggers.teacher.mix import mix_divergence
from triggers.wilson import score_interval


class LabelNamesError(RedistillError):
    """There are {names} label names for logits over {classes} labels: give one name per column."""


def measure(
    teacher_logits: ArrayLike,
    student_logits: ArrayLike,
    label_names: Sequence[str],
    *,
    temperature: float,
    strata: Strata | None = None,
) -> Measurement:
    """Measure the distance between teacher and student in a window, from a sample of its requests.

    Logits are (n, classes), one column per name. Without `strata` the sample is uniform; otherwise each
    request is weighted by what it represents. Agreement is Σ W k / n over the strata, exact and as a double,
    with Wilson's interval for the effective number of requests. KL is KL(p_teacher^T || p_student^T) at
    `temperature`, in nats, with the bootstrap interval of its mean. A percentile is the smallest value that
    the given share of the window does not exceed. `kl_t1` is the mean at T = 1, and `js` the mean
    Jensen-Shannon divergence at `temperature`, both in nats. Labels are the teacher's top-1 labels, in the
    order of `label_names`, without those that no request has. `teacher` describes the teacher alone (T = 1).
    Without requests, everything except the counts is NaN.

    Raises:
        LabelNamesError: the number of names differs from the number of columns.
        LogitsError: the shapes differ or are not (n, classes), or a value is not finite.
        TemperatureError: the temperature is not finite and above 0.

    Example:
        >>> teacher = [[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0]]
        >>> student = [[3.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 4.0]]
        >>> found = measure(teacher, student, ["faq", "checkout"], temperature=3.0)
        >>> (found.n, found.disagreements, found.agreement.estimate, round(found.kl.estimate, 4))
        (4, 1, 0.75, 0.0779)
        >>> [(label.label, label.n, label.agreement.estimate) for label in found.per_label]
        [('faq', 2, 0.5), ('checkout', 2, 1.0)]
    """
    agrees = top1_agreement(teacher_logits, student_logits)
    first = np.asarray(teacher_logits).argmax(axis=1)
    kl = kl_divergence(teacher_logits, student_logits, temperature)
    strata = Strata.one(agrees.size) if strata is None else strata
    weights = strata.weights
    p50, p95, p99 = _quantiles(kl, weights)
    share = strata.share(agrees) if agrees.size else None
    return Measurement(
        n=agrees.size,
        disagreements=int((~agrees).sum()),
        agreement=score_interval(math.nan if share is None else float(share), strata.n_effective),
        exact_agreement=share,
        kl=bootstrap_mean(kl, strata=strata),
        kl_p50=p50,
        kl_p95=p95,
        kl_p99=p99,
        kl_t1=_mean(kl_divergence(teacher_logits, student_logits, 1.0), weights),
        js=_mean(js_divergence(teacher_logits, student_logits, temperature), weights),
        per_label=_by_label(first, agrees, kl, strata, _checked_names(label_names, teacher_logits)),
        by_stratum=tuple(np.bincount(strata.of[~agrees], minlength=len(strata.sizes)).tolist()),
        teacher=_of_teacher(teacher_logits, student_logits, strata, label_names),
        kl_values=tuple(kl.tolist()),
        weights=tuple(weights.tolist()),
    )


def _of_teacher(
    teacher_logits: ArrayLike, student_logits: ArrayLike, strata: Strata, label_names: Sequence[str]
) -> TeacherMeasurement:
    confusion = _confusion(teacher_logits, student_logits, strata.weights, label_names)
    mixes: tuple[dict[str, float], ...] = (defaultdict(float), defaultdict(float))
    for pair, share in confusion.items():
        for mix, label in zip(mixes, pair, strict=True):
            mix[label] += share
    return TeacherMeasurement(
        confidence=bootstrap_mean(confidence(teacher_logits), strata=strata),
        entropy=bootstrap_mean(entropy(teacher_logits), strata=strata),
        n_effective=strata.n_effective,
        label_gap=mix_divergence(*mixes),
        confusion=confusion,
    )


def _confusion(
    teacher_logits: ArrayLike,
    student_logits: ArrayLike,
    weights: NDArray[np.float64],
    label_names: Sequence[str],
) -> dict[tuple[str, str], float]:
    """Return the share of the window for each pair of top-1 labels, the teacher's and the student's."""
    classes = len(label_names)
    pairs = np.asarray(teacher_logits).argmax(axis=1) * classes + np.asarray(student_logits).argmax(axis=1)
    found, at = np.unique(pairs, return_inverse=True)
    shares = np.bincount(at, weights=weights) / max(weights.size, 1)
    return {
        (label_names[pair // classes], label_names[pair % classes]): share
        for pair, share in zip(found.tolist(), shares.tolist(), strict=True)
    }


def _checked_names(label_names: Sequence[str], logits: ArrayLike) -> Sequence[str]:
    classes = np.shape(logits)[1]
    if len(label_names) != classes:
        raise LabelNamesError(names=len(label_names), classes=classes)
    return label_names


def _quantiles(kl: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float, float]:
    if kl.size == 0:
        return math.nan, math.nan, math.nan
    p50, p95, p99 = np.quantile(kl, [0.5, 0.95, 0.99], weights=weights, method="inverted_cdf")
    return float(p50), float(p95), float(p99)


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float((values * weights).mean()) if values.size else math.nan


def _by_label(
    first: NDArray[np.intp],
    agrees: NDArray[np.bool_],
    kl: NDArray[np.float64],
    strata: Strata,
    label_names: Sequence[str],
) -> tuple[LabelMeasurement, ...]:
    return tuple(
        _of_label(label_names[index], first == index, agrees, kl, strata)
        for index in np.unique(first).tolist()
    )


def _of_label(
    label: str,
    rows: NDArray[np.bool_],
    agrees: NDArray[np.bool_],
    kl: NDArray[np.float64],
    strata: Strata,
) -> LabelMeasurement:
    weights = strata.weights
    total = float(weights[rows].sum())
    return LabelMeasurement(
        label=label,
        n=int(rows.sum()),
        share=total / rows.size,
        agreement=score_interval(float(weights[rows & agrees].sum()) / total, strata.n_effective_of(rows)),
        kl=float((weights * kl)[rows].sum()) / total,
    )
