"""Archived requests as rows of a training: their true labels, and what those weigh."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.cycles.labels import request_hash
from distill.training.archived import ArchivedRow, archived_rows, traffic_labels
from distill.training.dataset import LabelledSet, TrainingSet, training_set
from monitor.archive.sample import ScoredSample
from monitor.strata import Strata
from tests.support.records.samples import make_sample
from triggers.teacher.correctness import OUT_OF_SCOPE

#: In another order than in the sample.
NAMES = ("promotion", "faq")


def labelled(*texts: str) -> LabelledSet:
    return LabelledSet(
        path=Path("rows.jsonl"),
        sha256="",
        texts=texts,
        labels=np.ones(len(texts), dtype=np.int64),
        lines=tuple(range(1, len(texts) + 1)),
    )


def logged(*labels: str | None) -> ScoredSample:
    sample = make_sample(len(labels))
    requests = zip(sample.requests, labels, strict=True)
    return replace(sample, requests=tuple(each._replace(label=label) for each, label in requests))


def made(rows: Sequence[ArchivedRow], source: str = "random", n_train: int = 2) -> TrainingSet:
    train = labelled(*(f"train {number}" for number in range(n_train)))
    return training_set(train, rows, labelled("in the test set"), label_source=source)  # type: ignore[arg-type]


def test_a_label_of_the_log_or_a_later_one_is_the_index_of_its_name() -> None:
    sample = logged("faq", "promotion", None, "faq", "refund")
    late = {request_hash(sample.requests[row].id): name for row, name in [(2, "promotion"), (3, None)]}
    found = [row.label for row in archived_rows(sample, NAMES, late)]
    assert found == [1, 0, 0, OUT_OF_SCOPE, OUT_OF_SCOPE]


def test_a_later_label_takes_precedence_over_that_of_the_log() -> None:
    sample = logged("faq")
    late = {request_hash(sample.requests[0].id): "promotion"}
    assert [row.label for row in archived_rows(sample, NAMES, late)] == [0]


def test_labels_that_are_ignored_are_not_read() -> None:
    assert {row.label for row in archived_rows(logged("faq", "refund"), NAMES, None)} == {None}


def test_a_row_has_its_weight_in_the_window() -> None:
    sample = replace(make_sample(3), strata=Strata(sizes=(80, 20), of=np.array([0, 1, 1])))
    found = [row.weight for row in archived_rows(sample, NAMES, None)]
    assert found == pytest.approx([2.4, 0.3, 0.3])


def test_a_known_label_makes_a_labelled_row_and_one_out_of_scope_leaves_both_terms() -> None:
    data = made(
        [
            ArchivedRow("a", label=0),
            ArchivedRow("b"),
            ArchivedRow("c", label=OUT_OF_SCOPE),
            ArchivedRow("d", label=1),
        ]
    )
    assert data.texts == ("train 0", "train 1", "a", "b", "d")
    assert data.labels.tolist() == [1, 1, 0, 0, 1]
    assert data.labelled.tolist() == [True, True, True, False, True]
    assert data.label_weights is not None
    assert data.label_weights.tolist() == [1, 1, 1, 0, 1]
    assert (data.traffic_labels.n, data.traffic_labels.n_out_of_scope) == (2, 1)


def test_a_label_behind_the_fence_does_not_count() -> None:
    data = made([ArchivedRow("In the  test set", label=0), ArchivedRow("b", label=0)])
    assert (data.texts[2:], data.traffic_labels.n, data.n_fenced) == (("b",), 1, 1)


def test_selected_labels_count_in_the_cross_entropy_at_most_their_share_in_the_traffic() -> None:
    """2 complaints of 20 requests beside 9 labelled rows: they would be 2 of 11, and count as 1 of 10."""
    rows = [ArchivedRow("angry", label=0)] * 2 + [ArchivedRow("hello")] * 18
    data = made(rows, "selected", n_train=9)
    assert data.label_weights is not None
    assert data.label_weights[9:11].tolist() == [0.5, 0.5]
    assert data.label_weights.sum() == 10
    assert (data.traffic_labels.source, data.traffic_labels.weight) == ("selected", 0.5)


def test_selected_labels_of_a_stratum_that_was_sampled_more_count_its_share_in_the_traffic() -> None:
    rows = [ArchivedRow("angry", label=0, weight=0.25)] * 4 + [ArchivedRow("hello", weight=1.5)] * 6
    assert traffic_labels(rows, rows, n_train=9, source="selected").weight == pytest.approx(1 / 9 * 9 / 4)


@given(
    n_labelled=st.integers(0, 30),
    n_other=st.integers(0, 300),
    n_train=st.integers(1, 300),
    weight=st.floats(0.1, 5),
)
def test_the_cap_is_met_exactly_or_not_needed(
    n_labelled: int, n_other: int, n_train: int, weight: float
) -> None:
    rows = [ArchivedRow("x", label=0, weight=weight)] * n_labelled + [ArchivedRow("y")] * n_other
    found = traffic_labels(rows, rows, n_train, "selected").weight
    assert 0 < found <= 1
    if n_labelled and n_other:
        in_loss = found * n_labelled / (found * n_labelled + n_train)
        in_traffic = weight * n_labelled / (weight * n_labelled + n_other)
        assert in_loss <= in_traffic + 1e-12
        assert found == 1 or in_loss == pytest.approx(in_traffic)
    assert traffic_labels(rows, rows, n_train, "random").weight == 1
