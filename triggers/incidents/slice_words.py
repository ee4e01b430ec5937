"""The slices that disagree most, as values of a message and in words."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from db.records import Slice
from db.states import SliceKind

_SHOWN: Final = 3
#: A slice has moved if the corrected probability of as much growth by chance is at most this.
MOVED: Final = 0.05


def first_slices(found: Sequence[Slice]) -> list[dict[str, Any]]:
    """Return the first slices of the ranking as values of a message: at most three, and no words."""
    return [
        {
            "kind": each.kind,
            "name": each.name,
            "student_label": each.student_label,
            "part": each.part,
            "share": each.now.share,
            "rate": each.now.rate,
            "reference_share": each.reference and each.reference.share,
            "reference_rate": each.reference and each.reference.rate,
            "moved": None if each.q_moved is None else each.q_moved <= MOVED,
        }
        for each in [each for each in found if each.kind is not SliceKind.WORD][:_SHOWN]
    ]


def slice_in_words(numbers: Mapping[str, Any]) -> str:
    """Describe one of `first_slices` in one line.

    Example:
        >>> found = {"kind": "label", "name": "transfer", "student_label": None, "moved": True}
        >>> slice_in_words({**found, "part": 0.31, "share": 0.04, "reference_share": 0.01})
        'label transfer: 31% of the disagreements, 4.0% of the requests (1.0% in the reference); it moved'
    """
    before, moved = numbers["reference_share"], numbers["moved"]
    then = "" if before is None else f" ({before:.1%} in the reference)"
    news = {True: "; it moved", False: "; as in the reference"}.get(moved, "")
    return (
        f"{slice_name(numbers['kind'], numbers['name'], numbers['student_label'])}: "
        f"{numbers['part']:.0%} of the disagreements, {numbers['share']:.1%} of the requests{then}{news}"
    )


def slice_name(kind: str, name: str, student_label: str | None) -> str:
    """Return the name of a slice.

    Example:
        >>> slice_name("confusion", "transfer", "balance"), slice_name("word", "wire", None)
        ('transfer answered as balance', 'word wire')
    """
    if kind == "confusion":
        return f"{name} answered as {student_label}"
    return name if kind == "length" else f"{kind} {name}"
