"""What labels say about lowering alpha, with the numbers, and never more than they bear."""

import json

import pytest

from db.records import Correctness
from db.states import LabelFinding
from triggers.teacher.correctness import split
from triggers.teacher.label_evidence import label_evidence, percent

#: True label, and what teacher and student answer.
ROWS = {
    "teacher": (0, 0, 1),
    "student": (1, 0, 1),
    "neither": (2, 0, 1),
    "unknown": (-1, 0, 1),
    "agreed": (0, 0, 0),
}


def cycle(**counts: int) -> Correctness:
    """So many labelled requests of each kind."""
    rows = [ROWS[kind] for kind, n in counts.items() for _ in range(n)]
    truth, teacher, student = ([row[column] for row in rows] for column in range(3))
    return split(truth, teacher, student, [1.0] * len(rows))


@pytest.mark.parametrize(
    ("counts", "finding"),
    [
        ({"teacher": 275, "neither": 10}, LabelFinding.TEACHER_CAN_TEACH),
        ({"teacher": 30, "student": 9, "neither": 7}, LabelFinding.TEACHER_CAN_TEACH),
        ({"teacher": 25, "student": 9, "neither": 7}, LabelFinding.UNDECIDED),
        ({"teacher": 10, "student": 10, "neither": 60}, LabelFinding.LABELS_NEEDED),
        ({"teacher": 6, "student": 24}, LabelFinding.LABELS_NEEDED),
        ({"teacher": 6, "student": 24, "neither": 90}, LabelFinding.LABELS_NEEDED),
        ({"teacher": 3, "student": 2, "neither": 1}, LabelFinding.UNDECIDED),
        ({"teacher": 20, "student": 20}, LabelFinding.UNDECIDED),
        ({"unknown": 90}, LabelFinding.UNDECIDED),
        ({"teacher": 5, "student": 5, "unknown": 90}, LabelFinding.UNDECIDED),
        ({"teacher": 1, "agreed": 900}, LabelFinding.UNDECIDED),
        ({"agreed": 40}, LabelFinding.UNDECIDED),
        ({}, LabelFinding.UNDECIDED),
    ],
)
def test_the_finding_is_what_the_interval_bears(counts: dict[str, int], finding: LabelFinding) -> None:
    """Labels that the models do not know cannot teach the student anything, so they decide nothing."""
    assert label_evidence([cycle(**counts)]).finding is finding


def test_cycles_are_taken_together() -> None:
    one = cycle(teacher=5, student=1)
    alone, together = label_evidence([one]), label_evidence([one] * 5)
    assert (alone.finding, together.finding) == (LabelFinding.UNDECIDED, LabelFinding.TEACHER_CAN_TEACH)
    assert (together.n_cycles, together.correctness.n_disagreements) == (5, 30)


@pytest.mark.parametrize(
    ("counts", "asks"),
    [
        ({"neither": 40, "agreed": 60}, True),
        ({"neither": 40, "agreed": 59}, False),
        ({"teacher": 40, "agreed": 200}, False),
        ({"teacher": 20, "student": 20, "agreed": 200}, False),
    ],
)
def test_a_lower_alpha_is_asked_for_with_enough_labels_that_are_needed(
    counts: dict[str, int], *, asks: bool
) -> None:
    assert label_evidence([cycle(**counts)]).asks_for_lower_alpha is asks


SAYS = {
    "teacher can teach": "The teacher can teach this, so a lower alpha does not help: where the two "
    "disagree, the teacher is right in 68% [53, 80]; of 46 labelled disagreements the teacher is right "
    "in 65% [51, 77], the student in 20% [11, 33], neither in 15% [8, 28] (the models do not have the "
    "true label of 2).",
    "labels needed": "True labels are needed, and only with them a lower alpha helps: where the two "
    "disagree, the teacher is right in 15% [7, 29] only; of 40 labelled disagreements the teacher is "
    "right in 15% [7, 29], the student in 15% [7, 29], neither in 70% [55, 82].",
    "teacher at fault": "Low agreement does no harm here, and the teacher may be at fault: where one of"
    " the two is right, it is the student in 80% [63, 90]; of 30 labelled disagreements the teacher is "
    "right in 20% [10, 37], the student in 80% [63, 90], neither in 0% [0, 11].",
    "undecided": "The labels do not show yet whether a lower alpha can help: of 1 labelled disagreement"
    " the teacher is right in 100% [21, 100], the student in 0% [0, 79], neither in 0% [0, 79].",
    "nothing known": "A lower alpha cannot help yet: no true label is known where the models disagree, "
    "and without one a request is learned from the teacher alone. `redistill labels import FILE` "
    "imports labels.",
}
COUNTS = {
    "teacher can teach": {"teacher": 30, "student": 9, "neither": 5, "unknown": 2},
    "labels needed": {"teacher": 6, "student": 6, "neither": 28},
    "teacher at fault": {"teacher": 6, "student": 24},
    "undecided": {"teacher": 1},
    "nothing known": {"agreed": 40},
}


@pytest.mark.parametrize("case", SAYS)
def test_it_is_said_in_words_with_the_numbers(case: str) -> None:
    assert label_evidence([cycle(**COUNTS[case])]).says == SAYS[case]


def test_as_json_it_says_all_of_it() -> None:
    found = label_evidence([cycle(teacher=1, agreed=1)])
    read = json.loads(found.text)
    assert (read["finding"], read["n_cycles"], read["says"]) == ("undecided", 1, found.says)
    assert read["correctness"]["teacher_right"]["estimate"] == 1
    assert read["correctness"]["n_labelled"] == 2


def test_what_is_not_known_has_no_percentage() -> None:
    assert percent(label_evidence([cycle(unknown=3)]).student_of_decided) == "-"
    assert percent(label_evidence([]).teacher_of_known) == "-"
