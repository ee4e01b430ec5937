"""The labelled requests of an archived sample, as `economics` counts them."""

from dataclasses import replace

import numpy as np
import pytest

from db.cycles.labels import request_hash
from monitor.settings import MetricsSection
from monitor.sources.request import Request
from redistill.economics.outcomes import RIGHT
from redistill.economics.paired_rows import measured
from redistill.labelled_pairs import of_sample
from tests.support.records.samples import make_sample
from triggers.teacher.correctness import OUT_OF_SCOPE


def test_disagreements_that_are_labelled_more_often_do_not_count_more() -> None:
    """All disagreements and a fifth of the agreements have a label: the counts are those of all requests."""
    sample = make_sample(2_000)
    teacher, student = (each.argmax(axis=1) for each in (sample.teacher_logits, sample.student_logits))
    truth = np.where(np.arange(2_000) % 4 == 0, 1 - teacher, teacher)
    labelled = (teacher != student) | (np.arange(2_000) % 5 == 0)
    late = {
        request_hash(request.id): sample.labels[truth[row]]
        for row, request in enumerate(sample.requests)
        if labelled[row]
    }
    rows = of_sample(sample, late)
    found = measured(rows, MetricsSection(), np.random.default_rng(0))[RIGHT]
    assert found.rows == labelled.sum()
    assert found.extra.estimate == pytest.approx(
        10_000 * ((student == truth).mean() - (teacher == truth).mean())
    )
    assert found.teacher.estimate == pytest.approx(10_000 * (teacher == truth).mean(), rel=0.05)


def test_a_label_of_neither_model_is_out_of_scope() -> None:
    sample = make_sample(3)
    first, *others = sample.requests
    labelled = Request(id=first.id, time=first.time, text=first.text, label="refund")
    rows = of_sample(replace(sample, requests=(labelled, *others)), {})
    assert rows.truth.tolist() == [OUT_OF_SCOPE]
    assert (list(rows.texts), rows.labels) == ([first.text], sample.labels)
