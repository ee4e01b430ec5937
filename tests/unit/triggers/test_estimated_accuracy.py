"""Which estimate of the student's accuracy is shown, and why one is withheld."""

from dataclasses import replace
from typing import Any, Final

import pytest

from db.states import AccuracyMethod, AccuracyReason, TeacherHealth, TeacherReason
from tests.support.records.factories import make_accuracy, make_interval
from triggers.estimated_accuracy import believed

CALIBRATED: Final = make_accuracy()
BY_CONFIDENCE, BY_LABELS = CALIBRATED.by_confidence, make_interval(0.85)
HEALTHY: Final = (TeacherHealth.HEALTHY, TeacherReason.WITHIN)
UNHEALTHY: Final = (TeacherHealth.UNHEALTHY, TeacherReason.LABELS_MOVED)
NOT_JUDGED: Final = (TeacherHealth.UNKNOWN, TeacherReason.NO_EVIDENCE)
FIRST: Final = (TeacherHealth.UNKNOWN, TeacherReason.NO_REFERENCE)
NEW: Final = (TeacherHealth.CHANGED, TeacherReason.NEW_VERSION)
UNCALIBRATED: Final = {"teacher_temperature": None, "by_confidence": None}
FEW: Final = {"n_labels": 40, "rectifier": -0.1}
MANY: Final = {"n_labels": 200, "rectifier": -0.1, "by_labels": BY_LABELS}


@pytest.mark.parametrize(
    ("fields", "teacher", "before", "reason"),
    [
        ({}, HEALTHY, False, AccuracyReason.TEACHER_CALIBRATED),
        ({}, FIRST, False, AccuracyReason.TEACHER_CALIBRATED),
        ({}, NEW, False, AccuracyReason.TEACHER_CALIBRATED),
        (FEW, HEALTHY, False, AccuracyReason.TEACHER_CALIBRATED),
        (UNCALIBRATED, HEALTHY, False, AccuracyReason.TEACHER_NOT_CALIBRATED),
        (UNCALIBRATED, HEALTHY, True, AccuracyReason.TEACHER_NOT_CALIBRATED),
        ({}, UNHEALTHY, False, AccuracyReason.TEACHER_UNHEALTHY),
        ({}, NOT_JUDGED, False, AccuracyReason.NOT_ENOUGH_EVIDENCE),
        ({}, HEALTHY, True, AccuracyReason.CONTRADICTED_BY_LABELS),
        ({**FEW, "contradicted": True}, HEALTHY, False, AccuracyReason.CONTRADICTED_BY_LABELS),
        ({**MANY, "contradicted": True}, HEALTHY, True, AccuracyReason.ENOUGH_LABELS),
        ({**MANY, "contradicted": False}, UNHEALTHY, False, AccuracyReason.ENOUGH_LABELS),
        ({**MANY, **UNCALIBRATED}, NOT_JUDGED, False, AccuracyReason.ENOUGH_LABELS),
    ],
)
def test_an_estimate_is_shown_only_where_it_can_be_believed(
    fields: dict[str, Any],
    teacher: tuple[TeacherHealth, TeacherReason],
    before: bool,  # noqa: FBT001 - a parameter
    reason: AccuracyReason,
) -> None:
    found = believed(replace(CALIBRATED, **fields), *teacher, contradicted_before=before)
    shown = {
        AccuracyReason.TEACHER_CALIBRATED: (AccuracyMethod.TEACHER_CONFIDENCE, BY_CONFIDENCE),
        AccuracyReason.ENOUGH_LABELS: (AccuracyMethod.PREDICTION_POWERED, BY_LABELS),
    }
    assert (found.reason, (found.method, found.accuracy)) == (reason, shown.get(reason, (None, None)))
