"""The choice of the estimate of the student's accuracy that can be believed."""

from db.records import AccuracyEstimates, EstimatedAccuracy
from db.states import AccuracyMethod, AccuracyReason, TeacherHealth, TeacherReason


def believed(
    found: AccuracyEstimates,
    health: TeacherHealth,
    reason: TeacherReason,
    *,
    contradicted_before: bool,
) -> EstimatedAccuracy:
    """Return the estimate that is shown, or the reason why none is.

    The prediction-powered estimate needs no good teacher. The one by the teacher's confidence needs a
    teacher that is calibrated, not unhealthy, and not contradicted by the labels of the cycle or by the
    newest labels before.

    Args:
        found: the estimates of the cycle.
        health: that of the teacher in the cycle.
        reason: that of the teacher's health.
        contradicted_before: whether the newest labels of earlier cycles contradict this teacher.
    """
    if found.by_labels is not None:
        return EstimatedAccuracy(
            reason=AccuracyReason.ENOUGH_LABELS,
            method=AccuracyMethod.PREDICTION_POWERED,
            accuracy=found.by_labels,
        )
    if reason is TeacherReason.NO_EVIDENCE:
        return EstimatedAccuracy(reason=AccuracyReason.NOT_ENOUGH_EVIDENCE)
    if found.by_confidence is None:
        return EstimatedAccuracy(reason=AccuracyReason.TEACHER_NOT_CALIBRATED)
    if health is TeacherHealth.UNHEALTHY:
        return EstimatedAccuracy(reason=AccuracyReason.TEACHER_UNHEALTHY)
    if found.contradicted or contradicted_before:
        return EstimatedAccuracy(reason=AccuracyReason.CONTRADICTED_BY_LABELS)
    return EstimatedAccuracy(
        reason=AccuracyReason.TEACHER_CALIBRATED,
        method=AccuracyMethod.TEACHER_CONFIDENCE,
        accuracy=found.by_confidence,
    )
