"""The remedies for an unhealthy teacher."""

from typing import Final

from db.states import TeacherReason

_REPAIR: Final = "check the log's texts, the model's files and the tokenizer, and fix what has changed"
_VOUCH: Final = 'to accept a new version that you vouch for, set accept = "VERSION" in [teacher]'
_THEN: Final = "then run `redistill cycle --rejudge FROM TO`"
_ADVICE: Final = {
    TeacherReason.ACCURACY_LOW: (
        "check that the true labels are correct and use the models' names ('label' in [traffic]), and that "
        f"the log's texts are complete; if they are, retrain the teacher; {_THEN}"
    ),
    TeacherReason.CONFIDENCE_FALLEN: f"{_REPAIR}; {_VOUCH}; {_THEN}",
    TeacherReason.ENTROPY_RISEN: f"{_REPAIR}; {_VOUCH}; {_THEN}",
    TeacherReason.LABELS_MOVED: (
        f"{_REPAIR}; if the teacher is right, confirm it with true labels (`redistill labels import FILE`) "
        f"or raise label_gap or label_shift in [teacher]; {_THEN}"
    ),
    TeacherReason.CONTRADICTS: f"restore the previous teacher; {_VOUCH}; {_THEN}",
}


def advice_on(reason: TeacherReason) -> str:
    """Return the remedy for a teacher's fault; empty for a reason that is not a fault."""
    return _ADVICE.get(reason, "")
