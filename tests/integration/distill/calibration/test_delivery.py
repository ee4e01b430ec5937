"""The temperature beside the registry's link, in a folder and in S3."""

import errno
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from db.records import CalibrationInForce, ModelVersion, ServingStudent
from db.states import CalibrationSource, Role
from distill.calibration.delivery import CalibrationUndeliveredError, deliver
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location
from monitor.storage.store import Store
from monitor.storage.student_places import StudentPlaces
from tests.support.records.factories import START
from tests.support.servers.buckets import empty_bucket

HELD = CalibrationInForce(
    temperature=1.41,
    source=CalibrationSource.TEACHER,
    n=9_000,
    sha256="00",
    rows_until=START,
    calibrated_at=START + timedelta(hours=1),
)


@pytest.fixture(params=["folder", "s3"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StudentPlaces]:
    artifacts = Artifacts(cache=tmp_path / "cache")

    def at(registry: Location) -> StudentPlaces:
        return StudentPlaces(artifacts=artifacts, registry=registry, configured=tmp_path / "student")

    if request.param == "folder":
        yield at(tmp_path / "registry")
        return
    with empty_bucket(request.getfixturevalue("s3_url")) as bucket:
        yield at(f"s3://{bucket.name}/registry")


def store_of(places: StudentPlaces) -> Store:
    return places.artifacts.store(places.registry)


def point(places: StudentPlaces, version: str, link: str = "current") -> None:
    store = store_of(places)
    store.create(f"versions/{version}/config.json", b"{}")
    store.point(link, store.location(f"versions/{version}"))


def student(version: str, held: CalibrationInForce | None = HELD) -> ServingStudent:
    model = ModelVersion(monitor="mangaassist", version=version, role=Role.STUDENT, uri="anywhere")
    return ServingStudent(model=model, since=START, calibration=held)


def delivered(places: StudentPlaces, name: str = "calibration.json") -> dict[str, Any] | None:
    content = store_of(places).read(name)
    return None if content is None else orjson.loads(content)


def test_the_file_has_the_temperature_of_the_student_that_the_link_leads_to(places: StudentPlaces) -> None:
    point(places, "one")
    assert deliver(student("one"), places, "current")
    assert delivered(places) == {
        "schema": "redistill.calibration/1",
        "version": "one",
        "temperature": 1.41,
        "source": "teacher",
        "n": 9_000,
        "rows_until": "2026-11-24T10:00:00Z",
        "calibrated_at": "2026-11-24T11:00:00Z",
    }
    assert not deliver(student("one"), places, "current"), "nothing has changed"


def test_a_student_that_never_was_calibrated_has_the_temperature_1(places: StudentPlaces) -> None:
    point(places, "one")
    deliver(student("one"), places, "current")
    point(places, "two")
    assert deliver(student("two", None), places, "current")
    found = delivered(places)
    assert found is not None
    assert (found["version"], found["temperature"], found["source"], found["n"]) == ("two", 1.0, None, None)


def test_nothing_is_written_while_the_link_leads_elsewhere(places: StudentPlaces) -> None:
    assert not deliver(student("one"), places, "current")
    point(places, "another")
    assert not deliver(student("one"), places, "current")
    assert not deliver(None, places, "current")
    assert delivered(places) is None


def test_each_link_of_a_shared_registry_has_its_own_file(places: StudentPlaces) -> None:
    point(places, "one")
    point(places, "two", "search")
    assert deliver(student("one"), places, "current")
    assert deliver(student("two", None), places, "search")
    ours, theirs = delivered(places), delivered(places, "calibration-search.json")
    assert (ours and ours["version"], theirs and theirs["version"]) == ("one", "two")


def test_a_registry_that_cannot_be_written_is_told(
    places: StudentPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, or S3 does not answer."""
    point(places, "one")
    if isinstance(places.registry, Path):
        monkeypatch.setattr(Path, "write_bytes", _refused)
    else:
        store_of(places)._client.meta.events.register("before-call.s3.PutObject", _refused)  # type: ignore[attr-defined]
    with pytest.raises(CalibrationUndeliveredError, match="Free space or fix the permissions there"):
        deliver(student("one"), places, "current")


def _refused(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
