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
        ({"teacher": 25, "student": 9, "neither": 7}, LabelFinding.CAN_HELP),
        ({"teacher": 10, "student": 10, "neither": 60}, LabelFinding.CAN_HELP),
        ({"teacher": 6, "student": 24}, LabelFinding.TEACHER_AT_FAULT),
        ({"teacher": 6, "student": 24, "neither": 90}, LabelFinding.TEACHER_AT_FAULT),
        ({"teacher": 3, "student": 2, "neither": 1}, LabelFinding.UNDECIDED),
        ({"teacher": 20, "student": 20}, LabelFinding.UNDECIDED),
        ({"unknown": 90}, LabelFinding.UNDECIDED),
        ({"teacher": 5, "student": 5, "unknown": 90}, LabelFinding.UNDECIDED),
        ({"teacher": 1, "agreed": 900}, LabelFinding.UNDECIDED),
    ],
)
def test_the_finding_is_what_the_intervals_bear(counts: dict[str, int], finding: LabelFinding) -> None:
    """Labels that the models do not know cannot teach the student anything, so they help nothing."""
    found = label_evidence([cycle(**counts)])
    assert found is not None
    assert found.finding is finding


def test_cycles_are_taken_together() -> None:
    one = cycle(teacher=5, student=2)
    alone, together = label_evidence([one]), label_evidence([one] * 5)
    assert alone is not None
    assert together is not None
    assert (alone.finding, together.finding) == (LabelFinding.UNDECIDED, LabelFinding.CAN_HELP)
    assert (together.n_cycles, together.correctness.n_disagreements) == (5, 35)


COUNTS = {
    LabelFinding.CAN_HELP: {"teacher": 25, "student": 9, "neither": 5, "unknown": 2},
    LabelFinding.TEACHER_AT_FAULT: {"teacher": 6, "student": 24},
    LabelFinding.UNDECIDED: {"teacher": 1},
}
SAYS = {
    LabelFinding.CAN_HELP: "Lowering alpha can help: where the two disagree, labels correct the student in "
    "77% [62, 87]; of 41 labelled disagreements the teacher is right in 61% [46, 74], the student in "
    "22% [12, 37], neither in 17% [9, 31] (the models do not have the true label of 2).",
    LabelFinding.TEACHER_AT_FAULT: "Low agreement does no harm here, and the teacher may be at fault: where "
    "one of the two is right, it is the student in 80% [63, 90]; of 30 labelled disagreements the teacher is "
    "right in 20% [10, 37], the student in 80% [63, 90], neither in 0% [0, 11].",
    LabelFinding.UNDECIDED: "The labels do not show yet whether lowering alpha can help: of 1 labelled "
    "disagreement the teacher is right in 100% [21, 100], the student in 0% [0, 79], neither in 0% [0, 79].",
}


@pytest.mark.parametrize("finding", LabelFinding)
def test_it_is_said_in_words_with_the_numbers(finding: LabelFinding) -> None:
    found = label_evidence([cycle(**COUNTS[finding])])
    assert found is not None
    assert (found.finding, found.says) == (finding, SAYS[finding])


def test_as_json_it_says_all_of_it() -> None:
    found = label_evidence([cycle(teacher=1, agreed=1)])
    assert found is not None
    read = json.loads(found.text)
    assert (read["finding"], read["n_cycles"], read["says"]) == ("undecided", 1, found.says)
    assert read["correctness"]["teacher_right"]["estimate"] == 1
    assert read["correctness"]["n_labelled"] == 2


@pytest.mark.parametrize("cycles", [[], [cycle()], [cycle(agreed=40)]], ids=["none", "empty", "agreed"])
def test_without_a_labelled_disagreement_there_is_no_evidence(cycles: list[Correctness]) -> None:
    assert label_evidence(cycles) is None


def test_what_is_not_known_has_no_percentage() -> None:
    found = label_evidence([cycle(unknown=3)])
    assert found is not None
    assert percent(found.student_of_decided) == "-"
