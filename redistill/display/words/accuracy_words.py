"""The student's estimated accuracy in words, with the condition under which it holds."""

from typing import Final

from db.states import AccuracyMethod, AccuracyReason
from redistill.display import show
from redistill.display.show import Row

_CONDITIONS: Final = {
    AccuracyMethod.TEACHER_CONFIDENCE: "from its calibrated teacher's confidence, if that can be believed",
    AccuracyMethod.PREDICTION_POWERED: "from {labels} and its teacher, if requests are labelled at random",
}
_WITHHELD: Final = {
    AccuracyReason.NOT_ENOUGH_EVIDENCE: "the last cycle has too few requests, or too many rejects",
    AccuracyReason.TEACHER_NOT_CALIBRATED: "no worker has calibrated the teacher yet, which takes "
    "'validation' or 'test' in [redistill]",
    AccuracyReason.TEACHER_UNHEALTHY: "the teacher is unhealthy",
    AccuracyReason.CONTRADICTED_BY_LABELS: "the newest labels contradict the teacher's confidence",
}


def estimated(row: Row) -> str:
    """Return the estimate of a row of `accuracy_history`, or the reason why there is none."""
    if row["estimated_accuracy_method"] is None:
        return f"not estimated: {_WITHHELD[AccuracyReason(str(row['estimated_accuracy_reason']))]}"
    n = row["n_labels"] if isinstance(row["n_labels"], int) else 0
    condition = _CONDITIONS[AccuracyMethod(str(row["estimated_accuracy_method"]))]
    condition = condition.format(labels=show.counted(n, "true label"))
    return f"{show.estimate(row, 'estimated_accuracy')} of the student, {condition}"
