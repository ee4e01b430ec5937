"""The temperature of the student in service, beside the registry's link: serving code reads both."""

from typing import Final

import orjson

from db.errors import RedistillError
from db.records import ServingStudent
from monitor.storage.store import ArtifactWriteError
from monitor.storage.student_places import StudentPlaces

SCHEMA: Final = "redistill.calibration/1"


class CalibrationUndeliveredError(RedistillError):
    """{location} cannot be written: {problem}. Free space or fix the permissions there; a worker then writes
    it at its next turn. Until then it is not of the student in service, or has an earlier temperature.
    """


def file_name(link: str) -> str:
    """Return the name of the file of a link: calibration.json, and for other links than `current` their own.

    Example:
        >>> file_name("current"), file_name("search")
        ('calibration.json', 'calibration-search.json')
    """
    return "calibration.json" if link == "current" else f"calibration-{link}.json"


def deliver(student: ServingStudent | None, places: StudentPlaces, link: str) -> bool:
    """Write the temperature of the student in service to the registry; return whether that changed the file.

    Nothing is written while the link leads to another version: the file is of the version that is served.
    The temperature of a student that was never calibrated is 1, as if it were not divided by.

    Raises:
        ArtifactReadError: the registry cannot be read now.
        CalibrationUndeliveredError: it cannot be written.
    """
    if student is None or places.linked_version(link) != student.model.version:
        return False
    store, name = places.artifacts.store(places.registry), file_name(link)
    content = _json(student)
    if store.read(name) == content:
        return False
    try:
        store.publish(name, content)
    except ArtifactWriteError as error:
        raise CalibrationUndeliveredError(
            location=store.location(name), problem=error.fields["problem"]
        ) from error
    return True


def _json(student: ServingStudent) -> bytes:
    held = student.calibration
    content = {
        "schema": SCHEMA,
        "version": student.model.version,
        "temperature": held.temperature if held else 1.0,
        "source": held and held.source,
        "n": held and held.n,
        "rows_until": held and held.rows_until,
        "calibrated_at": held and held.calibrated_at,
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
