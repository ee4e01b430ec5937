"""Workers calibrate the student that serves, by themselves and in time."""

import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update
from structlog.testing import capture_logs

from db import calibrations, leases, queue
from db.connection.session import connect, writing
from db.errors import LeaseLostError
from db.records import Calibration
from db.states import CalibrationReason, CalibrationSource
from db.tables import calibrations as table
from db.tables import models
from distill.calibration.lease import LEASE_SECONDS
from distill.evaluation.temperature import calibrate
from distill.training.dataset import read_labelled
from distill.worker import Worker
from monitor.scoring.models import load
from monitor.stop import StoppedError, never_stopped
from tests.support.processes.product import in_a_process
from tests.support.processes.races import in_threads
from tests.support.processes.workers import Office
from tests.support.records.cycles import MONITOR, UNCALIBRATED, make_audience, taken
from tests.support.records.factories import START
from tests.support.world.models import answers, make_model
from tests.support.world.shop import LABELS, MONTH, Shop, write_rows
from triggers.transports.sql import SqlTransport


def test_a_new_student_is_calibrated_at_once_and_again_on_a_new_file_before_it_is_overdue(
    shop: Shop, tmp_path: Path
) -> None:
    """The same file gives the same temperature: it is not read again and again."""
    first = shop.due(START)
    assert first is not None
    renewed = tmp_path / "renewed.jsonl"
    write_rows(renewed, 150)
    assert shop.due(START + 0.89 * MONTH, validation=renewed) is None
    late = START + 0.9 * MONTH
    assert shop.due(late) is None
    second = shop.due(late, validation=renewed)
    assert second is not None
    assert shop.due(late + timedelta(days=1), validation=renewed) is None
    assert [(row["calibrated_at"], row["rows_until"], row["n"], row["reason"]) for row in shop.rows] == [
        (START, START, 200, "due"),
        (late, late, 150, "due"),
    ]


def test_a_file_is_as_old_as_its_first_use_in_the_monitor(shop: Shop) -> None:
    """Whatever student it is used for."""
    assert shop.due(START) is not None
    found = shop.calibrator().calibrate(shop.student, never_stopped, START + MONTH)
    with writing(shop.engine) as connection:
        other = replace(found, version="another")
        calibrations.add(connection, MONITOR, other, CalibrationReason.JOB, START + MONTH)
        calibrations.add(connection, "elsewhere", other, CalibrationReason.JOB, START + MONTH)
        ages = [calibrations.in_force(connection, each, "another") for each in (MONITOR, "elsewhere")]
    assert [each and each.rows_until for each in ages] == [START, START + MONTH]


def test_a_row_of_an_earlier_version_is_of_a_file(shop: Shop) -> None:
    assert shop.due(START) is not None
    with writing(shop.engine) as connection:
        connection.execute(update(table).values(source=None, rows_until=None))
        found = calibrations.in_force(connection, MONITOR, shop.student.version)
    assert found is not None
    assert (found.source, found.rows_until) == (CalibrationSource.FILE, START)


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
    "section", [{"policy": UNCALIBRATED}, {"validation": None}], ids=["off", "no labelled file"]
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
    assert student.calibration is not None
    assert (student.since, student.calibration.calibrated_at) == (START, START + MONTH)
    assert student.calibration.temperature == 2.5
    assert taken(shop.engine, f"calibration:{MONITOR}"), "nobody holds it any more"
