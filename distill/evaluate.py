"""The evaluation of a student on one data set, with the daemon's own metric functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db.records import Evaluation, Metric
from distill.evaluation.gates import LATENCY, LATENCY_RATIO, LATENCY_RATIO_MEDIAN
from distill.evaluation.label_metrics import label_metrics
from distill.evaluation.temperature import calibrated_logits
from distill.evaluation.traffic_labels import LabelledRequests, traffic_metrics
from distill.training.archived import KnownLogits
from monitor.divergence import js_divergence, kl_divergence
from monitor.intervals import bootstrap_mean
from monitor.measure import measure
from monitor.scoring.batches import Progress, score
from monitor.scoring.latency import latency_p95_ms, latency_pair
from monitor.scoring.models import Model, match_labels
from monitor.settings import MetricsSection
from monitor.stop import Stopped
from monitor.strata import Strata

#: The number of single texts that are timed for the latency.
_LATENCY_RUNS: Final = 300

Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """A data set with the teacher's answers, with which incumbent and candidate are both compared."""

    dataset: str  #: its name in the evaluations; the gates use `gates.TEST` and `gates.CONDEMNED`
    texts: tuple[str, ...]
    labels: NDArray[np.int64] | None  #: (n,) indices into the teacher's labels; None: unlabelled
    teacher: Model
    teacher_logits: Logits  #: (n, labels)
    strata: Strata | None  #: None: all texts have the same weight
    known: LabelledRequests | None = None  #: the texts of an archived sample whose true labels are known


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """The latency metrics of two students that were timed in turn."""

    candidate: tuple[Metric, Metric, Metric]  #: latency_p95_ms, latency_ratio, latency_ratio_median
    incumbent: tuple[Metric]  #: latency_p95_ms


def refer(
    dataset: str,
    teacher: Model,
    texts: Sequence[str],
    labels: NDArray[np.int64] | None,
    *,
    strata: Strata | None = None,
    known: LabelledRequests | None = None,
    known_logits: KnownLogits | None = None,
    tokens_per_batch: int,
    stopped: Stopped,
    progress: Progress,
) -> Reference:
    """Score a data set with the teacher, once for all students. There may be no texts.

    `known_logits` replace those that the teacher computes.

    Raises:
        ScoringError, StoppedError: as for `score`.
    """
    logits = score(teacher, texts, tokens_per_batch=tokens_per_batch, stopped=stopped, progress=progress)
    if known_logits is not None:
        logits[known_logits.rows] = known_logits.logits
    return Reference(
        dataset=dataset,
        texts=tuple(texts),
        labels=labels,
        teacher=teacher,
        teacher_logits=logits,
        strata=strata,
        known=known,
    )


def answers(
    student: Model, reference: Reference, *, tokens_per_batch: int, stopped: Stopped, progress: Progress
) -> Logits:
    """Return a student's logits (n, labels) on a data set, in the order of the teacher's labels.

    Raises:
        ModelError: the two models have different labels.
        ScoringError, StoppedError: as for `score`.
    """
    columns = match_labels(reference.teacher, student)
    return score(
        student, reference.texts, tokens_per_batch=tokens_per_batch, stopped=stopped, progress=progress
    )[:, columns]


def evaluation(
    logits: Logits, reference: Reference, settings: MetricsSection, *, temperature: float | None
) -> Evaluation:
    """Return all metrics of a student's answers on a data set, each with its 95% interval.

    agreement (higher is better) and kl, kl_t1 and js (nats, lower is better) are computed by the daemon's
    functions; kl and js are at `settings.temperature`. With labels, the metrics of `label_metrics` are added;
    the calibrated confidences among them are at the student's `temperature` or, if that is None, by halves:
    see `calibrated_logits`. With `known` labels of some texts, those of `traffic_metrics` are added. A metric
    of no rows is NaN.

    Raises:
        LabelsError: a configured label is not one of the teacher's.
    """
    metrics = _distance(reference, logits, settings.temperature)
    names = reference.teacher.labels
    if reference.labels is not None:
        calibrated = calibrated_logits(logits, reference.labels, reference.texts, temperature)
        metrics += label_metrics(logits, reference.labels, names, settings, calibrated=calibrated)
    if reference.known is not None:
        metrics += traffic_metrics(reference.teacher_logits, logits, reference.known, names, settings)
    return Evaluation(dataset=reference.dataset, metrics=metrics)


def evaluate(
    student: Model,
    reference: Reference,
    settings: MetricsSection,
    *,
    temperature: float | None,
    tokens_per_batch: int,
    stopped: Stopped,
    progress: Progress,
) -> Evaluation:
    """Return the `evaluation` of a student's `answers`, with the errors of both."""
    logits = answers(
        student, reference, tokens_per_batch=tokens_per_batch, stopped=stopped, progress=progress
    )
    return evaluation(logits, reference, settings, temperature=temperature)


def _distance(reference: Reference, logits: Logits, temperature: float) -> tuple[Metric, ...]:
    teacher_logits = reference.teacher_logits
    labels, strata = reference.teacher.labels, reference.strata
    measured = measure(teacher_logits, logits, labels, temperature=temperature, strata=strata)
    kl_t1 = bootstrap_mean(kl_divergence(teacher_logits, logits, 1.0), strata=strata)
    js = bootstrap_mean(js_divergence(teacher_logits, logits, temperature), strata=strata)
    return (
        Metric.of("agreement", measured.agreement, measured.n),
        Metric.of("kl", measured.kl, measured.n),
        Metric.of("kl_t1", kl_t1, measured.n),
        Metric.of("js", js, measured.n),
    )


def teacher_metrics(reference: Reference, settings: MetricsSection) -> tuple[Metric, ...]:
    """Return the teacher's metrics by the labels, from its known logits, and its latency."""
    labels = np.empty(0, dtype=np.int64) if reference.labels is None else reference.labels
    panel = label_metrics(reference.teacher_logits, labels, reference.teacher.labels, settings)
    return (*(metric for metric in panel if metric.n), latency(reference.teacher, reference.texts))


def latency(model: Model, texts: Sequence[str]) -> Metric:
    """Measure latency_p95_ms of a model on this machine; NaN without texts."""
    return Metric.of(LATENCY, latency_p95_ms(model, texts, runs=_LATENCY_RUNS), _LATENCY_RUNS)


def latencies(
    candidate: Model,
    incumbent: Model,
    texts: Sequence[str],
    *,
    rng: np.random.Generator,
    stopped: Stopped,
) -> Latencies:
    """Time two students in turn on this machine: see `latency_pair`. NaN without texts.

    Raises:
        StoppedError: `stopped`, which is asked before each text, returned True.
    """
    found = latency_pair(candidate, incumbent, texts, pairs=_LATENCY_RUNS, rng=rng, stopped=stopped)
    own, ratio, median, other = (
        Metric.of(name, interval, _LATENCY_RUNS)
        for name, interval in (
            (LATENCY, found.candidate),
            (LATENCY_RATIO, found.ratio),
            (LATENCY_RATIO_MEDIAN, found.median_ratio),
            (LATENCY, found.incumbent),
        )
    )
    return Latencies(candidate=(own, ratio, median), incumbent=(other,))
