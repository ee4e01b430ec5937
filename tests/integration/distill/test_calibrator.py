"""Workers calibrate the student that serves, by themselves and in time."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from sqlalchemy import Engine, update
from structlog.testing import capture_logs

from db import calibrations, leases, queue, versions
from db.connection.session import connect, writing
from db.errors import LeaseLostError
from db.records import Calibration, ModelVersion
from db.states import CalibrationReason, PromotionReason, Role
from db.tables import calibrations as table
from db.tables import models
from distill.calibrator import LEASE_SECONDS, Calibrator
from distill.evaluation.temperature import calibrate
from distill.settings import RedistillSection
from distill.training.dataset import read_labelled
from distill.worker import Worker
from monitor.scoring.models import load
from monitor.stop import StoppedError, never_stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.student_places import StudentPlaces
from redistill.display.progress import show_nothing
from tests.support.processes.product import in_a_process
from tests.support.processes.races import in_threads
from tests.support.processes.workers import Office
from tests.support.records.cycles import MONITOR, make_audience, stored, taken
from tests.support.records.factories import START
from tests.support.world.models import CORPUS, answers, make_model
from triggers.transports.sql import SqlTransport

LABELS: Final = ("faq", "returns", "order_tracking")
MONTH: Final = timedelta(days=31)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A student in service since START, and the labelled file that it is calibrated on."""

    engine: Engine
    folder: Path

    @property
    def student(self) -> ModelVersion:
        directory = self.folder / "student"
        return ModelVersion(
            monitor=MONITOR, version=load(directory).version, role=Role.STUDENT, uri=str(directory)
        )

    @property
    def validation(self) -> Path:
        return self.folder / "validation.jsonl"

    def calibrator(self, engine: Engine | None = None, **section: Any) -> Calibrator:  # noqa: ANN401 - of [redistill]
        return Calibrator(
            engine=engine or self.engine,
            monitor=MONITOR,
            section=RedistillSection(**{"validation": self.validation, **section}),
            artifacts=Artifacts(),
            places=StudentPlaces(artifacts=Artifacts(), registry=self.folder, configured=self.folder),
            tokens_per_batch=1_024,
            show=show_nothing,
        )

    def due(self, now: datetime, **section: Any) -> Calibration | None:  # noqa: ANN401 - as above
        return self.calibrator(**section).calibrate_due(leases.new_owner(), never_stopped, now)

    def worker(self, **section: Any) -> Worker:  # noqa: ANN401 - as above
        """It finds no job, and would not know what to do with one."""
        office = Office(engine=self.engine, transport=SqlTransport())
        return Worker(self.engine, make_audience(), office.attempt, self.calibrator(**section))  # type: ignore[arg-type]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        return [*stored(self.engine, table)]


def write_rows(path: Path, n: int, labels: tuple[str, ...] = LABELS) -> None:
    rng = np.random.default_rng(3)
    words = sorted(set(" ".join(CORPUS).split()))
    rows = [
        {"text": " ".join(rng.choice(words, 5)), "label": str(rng.choice(labels, p=[0.6, 0.3, 0.1]))}
        for _ in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    make_model(folder / "student", LABELS, seed=2, hidden=8)
    write_rows(folder / "validation.jsonl", 200)
    write_rows(folder / "test.jsonl", 120)
    return folder


@pytest.fixture
def shop(engine: Engine, directory: Path) -> Shop:
    made = Shop(engine=engine, folder=directory)
    with writing(engine) as connection:
        versions.record(connection, made.student, START)
        versions.promote(connection, made.student, PromotionReason.CONFIGURED, START)
    return made


def test_a_new_student_is_calibrated_at_once_and_again_before_it_is_overdue(shop: Shop) -> None:
    first = shop.due(START)
    assert first is not None
    assert shop.due(START + 0.89 * MONTH) is None
    assert shop.due(START + 0.9 * MONTH) == first
    assert [(row["calibrated_at"], row["reason"]) for row in shop.rows] == [
        (START, "due"),
        (START + 0.9 * MONTH, "due"),
    ]


def test_what_is_stored_is_the_fit_to_the_model_s_answers(shop: Shop) -> None:
    found = shop.due(START)
    assert found is not None
    model, rows = load(shop.folder / "student"), read_labelled(shop.validation, LABELS)
    wanted = calibrate(answers(model, rows.texts), rows.labels)
    (row,) = shop.rows
    assert found == Calibration(
        version=model.version, dataset="validation", sha256=rows.sha256, fit=found.fit
    )
    assert row["n"] == 200
    assert row["temperature"] > 1, "a model that was never trained is too sure"
    for name, value in vars(found.fit).items():
        assert value == pytest.approx(getattr(wanted, name), rel=1e-4, abs=1e-6), name
        assert row[name] == value, name
    assert row["nll_after"] < row["nll_before"]
    assert (row["version"], row["dataset"], row["sha256"]) == (model.version, "validation", rows.sha256)


def test_rows_that_were_read_with_the_labels_in_another_order_give_the_same(shop: Shop) -> None:
    model, calibrator = load(shop.folder / "student"), shop.calibrator()
    orders = (LABELS, LABELS[::-1])
    one, other = (
        calibrator.fit(model, read_labelled(shop.validation, order), order, never_stopped).fit
        for order in orders
    )
    assert one.temperature == pytest.approx(other.temperature, rel=1e-9)
    assert one.nll_before == pytest.approx(other.nll_before, rel=1e-9)


def test_without_a_validation_file_it_is_the_test_file(shop: Shop) -> None:
    found = shop.due(START, validation=None, test=shop.folder / "test.jsonl")
    assert found is not None
    assert (found.dataset, found.fit.n) == ("test", 120)


@pytest.mark.parametrize(
    "section", [{"calibrate_every": "off"}, {"validation": None}], ids=["off", "no labelled file"]
)
def test_where_it_is_off_nothing_is_calibrated(shop: Shop, section: dict[str, Any]) -> None:
    assert shop.due(START + MONTH, **section) is None
    assert shop.rows == []


def test_before_the_first_student_there_is_nothing_to_calibrate(engine: Engine, directory: Path) -> None:
    assert Shop(engine=engine, folder=directory).due(START) is None


def test_of_several_workers_one_does_it(shop: Shop) -> None:
    found = in_threads(4, lambda _: shop.due(START))
    assert len([each for each in found if each is not None]) == 1
    assert len(shop.rows) == 1


def test_a_worker_that_has_lost_its_turn_writes_nothing(shop: Shop) -> None:
    """It was away while another took it over."""

    def away(_what: str, _done: int, _total: int) -> None:
        with writing(shop.engine) as connection:
            leases.revoke(connection, f"calibration:{MONITOR}")

    slow = replace(shop.calibrator(), show=away)
    with pytest.raises(LeaseLostError):
        slow.calibrate_due("slow", never_stopped, START)
    assert shop.rows == []


def test_one_that_is_asked_to_stop_gives_its_turn_back(shop: Shop) -> None:
    with pytest.raises(StoppedError):
        shop.calibrator().calibrate_due("asked", lambda: True, START)
    assert shop.rows == []
    assert shop.due(START) is not None


def killed_while_calibrating(url: str, folder: Path) -> None:
    """What a process does: it dies when its first batch is scored."""
    engine = connect(url)
    calibrator = Shop(engine=engine, folder=folder).calibrator()
    deadly = replace(calibrator, show=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    deadly.calibrate_due("deadly", never_stopped, START)


def test_a_worker_that_is_killed_in_between_leaves_nothing_half(shop: Shop) -> None:
    """Once its lease has run out the next one does it."""
    url = shop.engine.url.render_as_string(hide_password=False)
    assert in_a_process(killed_while_calibrating, url, shop.folder) == -signal.SIGKILL
    assert shop.rows == []
    assert shop.due(START) is None, "the dead one still holds its lease"
    with writing(shop.engine) as connection:
        assert leases.is_held(connection, f"calibration:{MONITOR}")
        leases.revoke(connection, f"calibration:{MONITOR}")
    assert shop.due(START) is not None
    assert len(shop.rows) == 1


def test_the_lease_of_the_dead_is_short() -> None:
    assert LEASE_SECONDS <= 60


def test_a_worker_without_a_job_calibrates_once(shop: Shop) -> None:
    worker = shop.worker()
    with capture_logs() as entries:
        assert not worker.run_once(never_stopped)
        assert not worker.run_once(never_stopped)
    (row,) = shop.rows
    assert [entry for entry in entries if "calibrat" in entry["event"]] == [
        {
            "event": "student calibrated",
            "log_level": "info",
            "monitor": MONITOR,
            "version": row["version"],
            "temperature": row["temperature"],
        }
    ]


def test_a_job_comes_first(shop: Shop) -> None:
    """And its candidate is calibrated with it, whatever becomes of it."""
    office = Office(engine=shop.engine, transport=SqlTransport())
    job_id = office.order()
    worker = shop.worker()
    assert worker.run_once(never_stopped)
    (row,) = shop.rows
    assert (row["version"], row["reason"], row["job_id"]) == (f"candidate-{job_id}", "job", job_id)
    assert not worker.run_once(never_stopped)
    assert [each["reason"] for each in shop.rows] == ["job", "due"]


def test_a_job_that_was_called_off_meanwhile_leaves_no_calibration(shop: Shop) -> None:
    office = Office(engine=shop.engine, transport=SqlTransport())
    job_id = office.order()
    work = office.attempt.work

    def called_off(job: Any, stopped: Any) -> Any:  # noqa: ANN401 - as `work`
        with writing(shop.engine) as connection:
            queue.cancel(connection, job_id, START)
        return work(job, stopped)

    office.attempt.work = called_off
    worker = Worker(shop.engine, make_audience(), office.attempt, shop.calibrator())  # type: ignore[arg-type]
    worker.run_once(never_stopped)
    assert shop.rows == []


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ({"validation": "no file"}, "The labelled file .* cannot be read"),
        ({"uri": "no model"}, r"nothing \(no model\)"),
    ],
)
def test_a_calibration_that_fails_is_logged_and_holds_up_no_job(
    shop: Shop, breakage: dict[str, str], message: str
) -> None:
    """It is not tried again at once."""
    section = {"validation": shop.folder / "nothing.jsonl"} if "validation" in breakage else {}
    if "uri" in breakage:
        with writing(shop.engine) as connection:
            connection.execute(update(models).values(uri=str(shop.folder / "nothing")))
    worker = shop.worker(**section)
    with capture_logs() as entries:
        for _ in range(3):
            assert not worker.run_once(never_stopped)
    (entry,) = [entry for entry in entries if entry["event"] == "calibration failed"]
    assert (entry["log_level"], entry["expected"], entry["exc_info"]) == ("error", True, False)
    assert shop.rows == []
    with pytest.raises(Exception, match=message):
        shop.due(START, **section)
    Office(engine=shop.engine, transport=SqlTransport()).order()
    assert worker.run_once(never_stopped)


def test_a_student_whose_files_were_changed_in_place_is_not_calibrated(shop: Shop) -> None:
    with writing(shop.engine) as connection:
        connection.execute(update(models).values(uri=str(shop.folder / "other")))
    make_model(shop.folder / "other", LABELS, seed=9, hidden=8)
    with pytest.raises(Exception, match=r"other \(version [0-9a-f]{12}\)"):
        shop.due(START)
    assert shop.rows == []


def test_a_calibration_of_a_version_is_its_newest(shop: Shop) -> None:
    found = shop.due(START)
    assert found is not None
    later = replace(found, fit=replace(found.fit, temperature=2.5))
    with writing(shop.engine) as connection:
        calibrations.add(connection, MONITOR, later, CalibrationReason.MANUAL, START + MONTH)
        student = calibrations.serving_student(connection, MONITOR)
    assert student is not None
    assert (student.since, student.calibrated_at, student.temperature) == (START, START + MONTH, 2.5)
    assert taken(shop.engine, f"calibration:{MONITOR}"), "nobody holds it any more"
