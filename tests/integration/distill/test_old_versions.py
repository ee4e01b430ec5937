"""The files of old students go from the registry, those that are needed stay, and the rows of all."""

import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, update
from structlog.testing import capture_logs

from db import registries, versions
from db.connection.session import connect, writing
from db.records import ModelVersion
from db.states import PromotionReason, Role
from db.tables import incidents, jobs, models
from db.versions import FilesBeingDeletedError
from distill.old_versions import OldVersions
from distill.worker import Worker
from monitor.stop import never_stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location
from monitor.storage.store import Store
from monitor.storage.student_places import ModelLostError
from redistill.configuration.settings import load
from redistill.serving import FilesDeletedError, put_in_service
from tests.support.processes.races import in_threads
from tests.support.processes.workers import FakeAttempt, without_labels
from tests.support.records.cycles import MONITOR, make_audience, stored
from tests.support.records.factories import START, make_new_job
from tests.support.servers.buckets import empty_bucket

DAY = timedelta(days=1)
LATER = START + 100 * DAY


@dataclass(kw_only=True)
class Registry:
    """A registry with the versions that jobs of a monitor have made, one a day."""

    engine: Engine
    store: Store
    keep: int | None = 2
    configured: tuple[Location, ...] = ()
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def make(
        self, version: str, *, decision: str = "rejected", student: str = "deployed", monitor: str = MONITOR
    ) -> int:
        """A version that a job made; the job's number."""
        self.put(version)
        at = START + next(self._numbers) * DAY
        job = {
            **vars(make_new_job(monitor)),
            "student_version": student,
            "soft_labels": "online",
            "status": "rejected" if decision == "rejected" else "succeeded",
            "attempt": 1,
            "enqueued_at": at,
            "candidate_version": version,
            "decision": decision,
        }
        with writing(self.engine) as connection:
            job_id = connection.execute(insert(jobs).values(job).returning(jobs.c.id)).scalar_one()
            versions.record(connection, self.model(version, job_id=job_id, monitor=monitor), at)
            if decision == "promoted":
                promoted = self.model(version, monitor=monitor)
                versions.promote(connection, promoted, PromotionReason.GATES_PASSED, at)
        return int(job_id)

    def model(self, version: str, *, job_id: int | None = None, monitor: str = MONITOR) -> ModelVersion:
        uri = self.store.location(f"versions/{version}")
        return ModelVersion(monitor=monitor, version=version, role=Role.STUDENT, uri=uri, job_id=job_id)

    def put(self, version: str) -> None:
        staged = self.store.staging / f".tmp-{version}"
        staged.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "manifest.json"):
            (staged / name).write_text("{}")
        self.store.put_directory(f"versions/{version}", staged, last="manifest.json")

    def old(self) -> OldVersions:
        return OldVersions(
            engine=self.engine, monitor=MONITOR, store=self.store, keep=self.keep, configured=self.configured
        )

    def delete(self) -> Sequence[str]:
        return self.old().delete(LATER)

    @property
    def there(self) -> set[str]:
        return set(self.store.names("versions"))

    @property
    def marked(self) -> set[str]:
        return {row["version"] for row in stored(self.engine, models) if row["files_deleted_at"] == LATER}


@pytest.fixture(params=[("local", "sqlite"), ("local", "postgres"), ("s3", "postgres")], ids="-".join)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    place, database = request.param
    engine = request.getfixturevalue(f"{database}_engine")
    artifacts = Artifacts(cache=tmp_path / "cache")
    if place == "local":
        yield Registry(engine=engine, store=artifacts.store(tmp_path / "registry"))
        return
    with empty_bucket(request.getfixturevalue("s3_url")) as bucket:
        yield Registry(engine=engine, store=artifacts.store(f"s3://{bucket.name}/registry"))


def test_the_newest_stay_and_the_rows_of_all(registry: Registry) -> None:
    for version in "abcde":
        registry.make(version)
    assert registry.delete() == ["a", "b", "c"]
    assert (registry.there, registry.marked) == ({"d", "e"}, {"a", "b", "c"})
    assert len(stored(registry.engine, models)) == 5
    assert registry.delete() == []


def test_all_stay_if_no_number_is_given(registry: Registry) -> None:
    for version in "abc":
        registry.make(version)
    registry.keep = None
    assert (registry.delete(), registry.there) == ([], {"a", "b", "c"})


def test_what_is_needed_stays(registry: Registry) -> None:
    """In service, to roll back to, held, or named by an incident, a link, the configuration or a monitor."""
    registry.keep = 1
    registry.make("previous", decision="promoted")
    registry.make("current", decision="promoted")
    registry.make("held", decision="held")
    of_incident = registry.make("candidate", student="incumbent")
    for version in ("incumbent", "linked", "configured", "shared", "old", "newest"):
        registry.make(version)
    registry.store.point("current-other", registry.store.location("versions/linked"))
    registry.configured = (registry.store.location("versions/configured"),)
    values = {"monitor": MONITOR, "kind": "drift", "severity": "error", "state": "firing", "summary": "drift"}
    with writing(registry.engine) as connection:
        connection.execute(insert(incidents).values(**values, opened_at=START, job_id=of_incident))
        versions.record(connection, registry.model("shared", monitor="another"), START)
    assert registry.delete() == ["old"]
    assert registry.there == {
        *("previous", "current", "held", "candidate", "incumbent", "linked", "configured", "shared", "newest")
    }
    with writing(registry.engine) as connection:
        connection.execute(update(incidents).values(state="resolved"))
    assert registry.delete() == ["candidate", "incumbent"]


def test_while_a_job_is_open_nothing_goes(registry: Registry) -> None:
    for version in "abc":
        registry.make(version)
    with writing(registry.engine) as connection:
        connection.execute(update(jobs).where(jobs.c.candidate_version == "c").values(status="running"))
    assert (registry.delete(), registry.there) == ([], {"a", "b", "c"})


@pytest.mark.parametrize("is_half_removed", [False, True])
def test_what_a_killed_worker_has_begun_is_ended(registry: Registry, *, is_half_removed: bool) -> None:
    for version in "abc":
        registry.make(version)
    with writing(registry.engine) as connection:
        assert registries.begin_deletion(connection, MONITOR, "a", LATER)
    if is_half_removed:
        registry.store.remove("versions/a/manifest.json")
    registry.keep = None  # changed meanwhile
    assert registry.delete() == ["a"]
    assert (registry.there, registry.marked) == ({"b", "c"}, {"a"})


def test_two_workers_at_once_delete_what_one_does(registry: Registry) -> None:
    for version in "abcdef":
        registry.make(version)
    url = registry.engine.url.render_as_string(hide_password=False)

    def work(_number: int) -> None:
        own = replace(registry, engine=connect(url))
        own.delete()
        own.engine.dispose()

    in_threads(2, work)
    assert (registry.there, registry.marked) == ({"e", "f"}, {"a", "b", "c", "d"})


def test_a_version_whose_deletion_has_begun_cannot_be_promoted(registry: Registry) -> None:
    for version in "abc":
        registry.make(version)
    with writing(registry.engine) as connection:
        assert registries.begin_deletion(connection, MONITOR, "a", LATER)
    with (
        pytest.raises(
            FilesBeingDeletedError, match=r"student a are being deleted .* promote another version"
        ),
        writing(registry.engine) as connection,
    ):
        versions.promote(connection, registry.model("a"), PromotionReason.MANUAL, LATER)


def test_a_version_that_is_made_again_is_there_again(registry: Registry) -> None:
    """The same training gives the same version."""
    for version in "abc":
        registry.make(version)
    assert registry.delete() == ["a"]
    registry.make("a")
    assert (registry.there, registry.marked) == ({"a", "b", "c"}, set())


# --- the commands and the worker -------------------------------------------------------------------------

CONFIG = f"""
[monitor]
name = "{MONITOR}"
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
keep_versions = 2
"""


def test_a_promotion_says_that_the_files_were_deleted_and_what_to_do(
    tmp_path: Path, sqlite_engine: Engine
) -> None:
    (tmp_path / "redistill.toml").write_text(CONFIG)
    settings = load(tmp_path / "redistill.toml")
    registry = Registry(engine=sqlite_engine, store=Artifacts().store(tmp_path / "registry"))
    for version in "abcd":
        registry.make(version)
    assert registry.delete() == ["a", "b"]
    shutil.rmtree(tmp_path / "registry" / "versions" / "c")
    model = replace(registry.model("a"), job_id=1)
    with pytest.raises(FilesDeletedError, match=r"a were deleted on 2027-03-04 \(keep_versions .* restore"):
        put_in_service(settings, model, PromotionReason.MANUAL)
    with pytest.raises(ModelLostError):
        put_in_service(settings, replace(registry.model("c"), job_id=1), PromotionReason.MANUAL)
    registry.put("a")  # from a backup
    with writing(sqlite_engine) as connection:
        versions.promote(connection, model, PromotionReason.MANUAL, LATER)
    assert registry.marked == {"b"}


def test_a_worker_looks_now_and_then(sqlite_engine: Engine) -> None:
    class Deleting(FakeAttempt):
        looked = 0

        def delete_old_versions(self, now: Any) -> tuple[str, ...]:  # noqa: ANN401 - as in FakeAttempt
            del now
            self.looked += 1
            return ("a" * 64,)

    attempt, audience = Deleting(), make_audience()
    worker = Worker(sqlite_engine, audience, attempt, without_labels(sqlite_engine, audience.monitor))  # type: ignore[arg-type]
    with capture_logs() as logs:
        for _ in range(3):
            worker._tend_from = 0.0
            worker.run_once(never_stopped)
    assert attempt.looked == 1
    (line,) = logs
    assert (line["event"], line["n"], line["versions"]) == ("old versions deleted", 1, ["a" * 12])
