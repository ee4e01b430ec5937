"""A student is its files: links, moved folders and files that were replaced lead to the right version."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db import versions
from db.connection.session import connect, reading, writing
from db.records import ModelVersion
from db.states import PromotionReason, Role
from db.tables import promotions
from monitor.scoring.models import fingerprint
from monitor.scoring.pair import Pair, PairSource
from monitor.storage.artifacts import Artifacts
from monitor.storage.student_places import ModelLostError, StudentPlaces
from tests.support.records.cycles import MONITOR, stored
from tests.support.records.factories import LABELS, START
from tests.support.world.installation import now
from tests.support.world.models import make_copy, make_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A teacher and three students."""
    folder = tmp_path_factory.mktemp("models")
    teacher = make_model(folder / "teacher", LABELS, seed=1)
    students = {name: make_copy(teacher, folder / name, noise=0.01, seed=ord(name)) for name in "abc"}
    return {"teacher": teacher, **students}


@dataclass(frozen=True, kw_only=True)
class Folder:
    """An installation with the students a and b in v1 and v2, and c as the candidate of a job."""

    engine: Engine
    path: Path
    models: Mapping[str, Path] = field(repr=False)

    def copied(self, name: str, place: str) -> Path:
        target = self.path / place
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(self.models[name], target))

    def link(self, name: str, target: str) -> None:
        (self.path / name).unlink(missing_ok=True)
        (self.path / name).symlink_to(target)

    def places(self, uri: str) -> StudentPlaces:
        registry = self.path / "registry"
        return StudentPlaces(artifacts=Artifacts(), registry=registry, configured=self.path / uri)

    def pair(self, uri: str) -> Pair:
        """The pair as a process finds it that is started now."""
        return self.source(uri).current(START)

    def source(self, uri: str) -> PairSource:
        return PairSource(self.engine, MONITOR, Artifacts(), self.places(uri), teacher=self.models["teacher"])

    def student(self, uri: str) -> str:
        """The name of the student that serves."""
        version = self.pair(uri).student.version
        return next(name for name, path in self.models.items() if fingerprint(path) == version)

    def recorded(self, name: str) -> ModelVersion:
        with reading(self.engine) as connection:
            found = versions.find(connection, MONITOR, Role.STUDENT, fingerprint(self.models[name]))
        assert found is not None
        return found

    def promote(self, name: str, uri: str, reason: PromotionReason, *, job_id: int | None = None) -> None:
        version = fingerprint(self.models[name])
        model = ModelVersion(monitor=MONITOR, version=version, role=Role.STUDENT, uri=uri)
        with writing(self.engine) as connection:
            versions.record(connection, replace(model, job_id=job_id), START)
            versions.promote(connection, model, reason, START)


@pytest.fixture
def folder(sqlite_url: str, tmp_path: Path, models: Mapping[str, Path]) -> Folder:
    engine = connect(sqlite_url, root=tmp_path)
    found = Folder(engine=engine, path=tmp_path, models=models)
    found.copied("a", "v1")
    found.copied("b", "v2")
    return found


@pytest.mark.parametrize("inner", ["", "/model"])
def test_a_link_that_leads_back_to_an_earlier_student_lets_it_serve_again(folder: Folder, inner: str) -> None:
    """Whether the folder itself is the link, or one above it."""
    if inner:
        for place in ("v1", "v2"):
            (folder.path / place).rename(folder.path / "draft")
            (folder.path / place).mkdir()
            (folder.path / "draft").rename(folder.path / f"{place}{inner}")
    served = []
    for target in ("v1", "v2", "v1", "v1", "v2"):
        folder.link("live", target)
        served.append(folder.student(f"live{inner}"))
    assert served == ["a", "b", "a", "a", "b"]
    assert [row["reason"] for row in stored(folder.engine, promotions)] == [
        "configured"
    ] * 5  # the teacher, and four changes
    assert folder.recorded("a").uri == str(folder.path / f"v1{inner}")
    assert folder.places(f"live{inner}").find(folder.recorded("a")) == folder.path / f"v1{inner}"


def test_files_that_are_replaced_in_place_and_put_back_serve_again(folder: Folder) -> None:
    served = [folder.student("v1")]
    for name in ("b", "a"):
        folder.copied(name, "v1")
        served.append(folder.student("v1"))
    assert served == ["a", "b", "a"]


def test_a_candidate_that_was_promoted_stays_though_the_configuration_names_the_one_before(
    folder: Folder,
) -> None:
    """Also if the configuration follows the registry's link, which may lag behind the database."""
    folder.link("live", "v1")
    assert folder.student("live") == "a"
    registered = folder.copied("c", f"registry/versions/{fingerprint(folder.models['c'])}")
    folder.promote("c", str(registered), PromotionReason.GATES_PASSED)
    assert [folder.student("live"), folder.student("v1")] == ["c", "c"]
    folder.link("live", str(registered))
    assert folder.student("live") == "c"
    folder.promote("a", "", PromotionReason.ROLLBACK)
    assert folder.student("live") == "a"


def test_a_folder_that_was_moved_is_found_where_the_configuration_says(folder: Folder) -> None:
    """By a cycle, and by a job, which starts from the version: its place is recorded anew."""
    folder.student("v1")
    (folder.path / "v1").rename(folder.path / "moved")
    places = folder.places("moved")
    assert places.find(folder.recorded("a")) == folder.path / "moved"
    assert folder.student("moved") == "a"
    assert folder.recorded("a").uri == str(folder.path / "moved")
    assert folder.student("v2") == "b"
    assert folder.places("v2").find(folder.recorded("a")) == folder.path / "moved"


def test_a_version_whose_files_were_replaced_is_lost_and_every_place_is_named(folder: Folder) -> None:
    folder.student("v1")
    folder.copied("b", "v1")
    lost, places = folder.recorded("a"), folder.places("v1")
    b = fingerprint(folder.models["b"])[:12]
    with pytest.raises(ModelLostError) as caught:
        places.find(lost)
    registered = folder.path / "registry/versions" / lost.version
    assert str(caught.value) == (
        f"The files of the student {lost.version[:12]} are in none of its places: {folder.path}/v1 "
        f"(version {b}), {registered} (no model). Put them back into one of these places, or run "
        "`redistill models promote VERSION` with a student whose files are there."
    )
    assert not places.may_be_found(lost)
    folder.copied("a", f"registry/versions/{lost.version}")
    assert places.find(lost) == registered
    assert places.may_be_found(lost)


def test_a_path_below_a_link_to_the_folder_is_recorded_relative_to_it(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An installation in such a folder can be moved like any other."""
    entrance = tmp_path_factory.mktemp("entrance") / "link"
    entrance.symlink_to(folder.path)
    engine = connect(folder.engine.url.render_as_string(), root=entrance)
    replace(folder, engine=engine, path=entrance).student("v1")
    with connect(folder.engine.url.render_as_string()).connect() as connection:
        found = connection.exec_driver_sql("SELECT uri FROM models WHERE role = 'student'").scalars().all()
    assert found == ["v1"]
    engine.dispose()


def test_a_clock_that_is_ahead_begins_no_students_service_tomorrow(folder: Folder) -> None:
    """A ladder of alpha would begin then, too."""
    folder.source("v1").current(now() + timedelta(days=1))
    assert {row["promoted_at"] <= now() for row in stored(folder.engine, promotions)} == {True}
