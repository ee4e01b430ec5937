"""Correctness of both models by the known true labels of sampled requests, and the student's accuracy."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from db.accuracy.teacher_calibrations import TeacherCalibration
from db.cycles.labels import request_hash
from db.records import AccuracyEstimates, Correctness, LateLabel
from monitor.archive.sample import ScoredSample
from monitor.labels.estimated_accuracy import estimate
from triggers.teacher.correctness import OUT_OF_SCOPE, split

#: Labels that arrived after the cycle, by request hash; None: a label that the models do not know.
Late = Mapping[str, str | None]


def correctness_of(sample: ScoredSample, late: Late) -> Correctness | None:
    """Return the correctness by late labels, else by those of the log; None if there are neither."""
    true = _true_labels(sample, late)
    if not true:
        return None
    rows = list(true)
    return split(
        list(true.values()),
        sample.teacher_logits[rows].argmax(axis=1),
        sample.student_logits[rows].argmax(axis=1),
        sample.strata.weights[rows],
    )


def accuracy_of(
    sample: ScoredSample, late: Late, *, calibration: TeacherCalibration | None, labels_are_random: bool
) -> AccuracyEstimates:
    """Return the estimates of the student's accuracy, with the labels of `correctness_of`.

    `calibration` is the teacher's, if it has one; `labels_are_random` is that of
    `monitor.labels.estimated_accuracy.estimate`.
    """
    _, texts = np.unique([request.text for request in sample.requests], return_inverse=True)
    return estimate(
        sample.teacher_logits,
        sample.student_logits,
        replace(sample.strata, clusters=texts),
        temperature=calibration.temperature if calibration else None,
        calibration_rows=calibration.n if calibration else 0,
        truth=_true_labels(sample, late),
        labels_are_random=labels_are_random,
    )


def late_labels(sample: ScoredSample, late: Late, wanted: Collection[str]) -> list[LateLabel]:
    """Return the late labels of the requests with the wanted hashes, as they are stored."""
    weights = sample.strata.weights
    return [
        LateLabel(
            request_hash=known_as,
            label=late[known_as],
            teacher_label=sample.labels[int(sample.teacher_logits[row].argmax())],
            student_label=sample.labels[int(sample.student_logits[row].argmax())],
            weight=float(weights[row]),
        )
        for row, known_as in enumerate(hashes(sample))
        if known_as in wanted
    ]


def hashes(sample: ScoredSample) -> list[str]:
    """Return the hashes by which SQL identifies the requests of the sample, in their order."""
    return [request_hash(request.id) for request in sample.requests]


def known_labels(sample: ScoredSample, late: Late) -> dict[int, str | None]:
    """Return the true label of each row that has one, the late one if there are two.

    None, or a label that is not one of the sample's, is a label that the models do not know.
    """
    known: dict[int, str | None] = {
        row: request.label for row, request in enumerate(sample.requests) if request.label is not None
    }
    if late:
        known |= {row: late[each] for row, each in enumerate(hashes(sample)) if each in late}
    return known


def _true_labels(sample: ScoredSample, late: Late) -> dict[int, int]:
    """Return the index of the true label of each row that has one."""
    number = {label: index for index, label in enumerate(sample.labels)}
    return {
        row: OUT_OF_SCOPE if label is None else number.get(label, OUT_OF_SCOPE)
        for row, label in known_labels(sample, late).items()
    }
