"""What a person does about a teacher that cannot be believed."""

from typing import Final

from db.states import TeacherReason

_REPAIR: Final = "look at the log's texts, the model's files and its tokenizer, and repair what has changed"
_VOUCH: Final = 'for a new version that you vouch for set accept = "VERSION" in [teacher]'
_THEN: Final = "then run `redistill cycle --rejudge FROM TO`"
_ADVICE: Final = {
    TeacherReason.ACCURACY_LOW: (
        "look whether the true labels are right and named as the models' are ('label' in [traffic]), and "
        f"whether the log's texts are whole; if both are, retrain the teacher; {_THEN}"
    ),
    TeacherReason.CONFIDENCE_FALLEN: f"{_REPAIR}; {_VOUCH}; {_THEN}",
    TeacherReason.ENTROPY_RISEN: f"{_REPAIR}; {_VOUCH}; {_THEN}",
    TeacherReason.LABELS_MOVED: (
        f"{_REPAIR}; if the teacher is right, import true labels that show it with `redistill labels import "
        f"FILE`, or raise label_gap or label_shift in [teacher]; {_THEN}"
    ),
    TeacherReason.CONTRADICTS: f"put the teacher before it back; {_VOUCH}; {_THEN}",
}


def advice_on(reason: TeacherReason) -> str:
    """Return what a person does about a fault of a teacher; empty for a reason that is not a fault."""
    return _ADVICE.get(reason, "")
