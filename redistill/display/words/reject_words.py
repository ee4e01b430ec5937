"""Advice on records that cannot be used, by their reason."""

from collections.abc import Mapping
from typing import Final

from db.states import RejectReason
from redistill.display import show

_NAMED = "name the field with {key!r} in [traffic]"
_OF_OBJECT = "let the service write whole objects, and fix or remove this one"

ADVICE: Final[Mapping[RejectReason, str]] = {
    RejectReason.NOT_UTF8: "write the log in UTF-8",
    RejectReason.NOT_JSON: (
        "write one JSON object per line, or set 'format' in [traffic]; "
        "`jq -c '.[]'` turns a JSON array into such lines"
    ),
    RejectReason.NOT_CAPTURE: "set 'format' in [traffic] to what the log is, or fix its encoding",
    RejectReason.NO_ID: _NAMED.format(key="id") + "; an id is a text, a whole number or a UUID",
    RejectReason.NO_TIME: _NAMED.format(key="time"),
    RejectReason.BAD_TIME: (
        "write times as 2026-11-24T10:00:03Z, with an offset, "
        "or in epoch seconds: milliseconds divided by 1,000"
    ),
    RejectReason.NO_TEXT: _NAMED.format(key="text"),
    RejectReason.TEXT_NOT_STRING: _NAMED.format(key="text") + ", one that holds text",
    RejectReason.TEXT_EMPTY: "let the service leave out requests without text, or raise max_reject_share",
    RejectReason.TEXT_TOO_LONG: "raise max_text_chars in [traffic] if such texts are requests",
    RejectReason.UNKNOWN_LABEL: _NAMED.format(key="student_label") + ": it has other labels than the models",
    RejectReason.BAD_LOGITS: _NAMED.format(key="student_logits") + ": one finite number for each label",
    RejectReason.TRUNCATED_OBJECT: _OF_OBJECT,
    RejectReason.UNREADABLE_OBJECT: (
        "write plain, gzip or zstandard files (tar, zip, bzip2 and xz are not read), set 'format' in "
        "[traffic] if it is Parquet, and fix or remove a damaged object"
    ),
    RejectReason.OVERSIZED_OBJECT: "write smaller objects, or raise max_object_bytes in [traffic]",
    RejectReason.REPEATED_ID: "set 'id' in [traffic] to a field that is different in each record",
    RejectReason.OUTSIDE_WINDOW: "nothing: such records belong to other windows",
    RejectReason.UNDATED_OBJECT: (
        "fix the records of these objects, see 'format' and 'time' in [traffic]; they count as unusable "
        "in the window in which the object was last modified"
    ),
    RejectReason.LATE_OBJECT: "raise 'late' in [traffic] or lateness in [monitor] if many objects are late",
}


def undated_objects(n: int) -> str:
    """Return the number of such objects in words, which may have had the records that a window lacks."""
    return f"{show.counted(n, 'object')} without a usable time, modified after the window"
