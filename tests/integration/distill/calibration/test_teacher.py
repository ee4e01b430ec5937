"""The teacher in service is calibrated once, on the labelled file, before a student needs its temperature."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from db import leases
from db.accuracy import teacher_calibrations
from db.connection.session import reading, writing
from db.errors import LeaseLostError
from db.records import TemperatureFit
from db.tables import teacher_calibrations as table
from distill.calibration.teacher import TeacherMovedError
from distill.evaluation.temperature import fit_temperature
from distill.training.dataset import read_labelled
from monitor.scoring.models import load
from monitor.stop import StoppedError, never_stopped
from tests.support.processes.races import in_threads
from tests.support.records.cycles import MONITOR, UNCALIBRATED, Cycles, make_policy, stored, taken
from tests.support.records.factories import START, make_result
from tests.support.world.models import answers
from tests.support.world.shop import LABELS, MONTH, Shop, write_rows


@dataclass(frozen=True, kw_only=True)
class Taught:
    """A shop whose newest cycle was scored by its teacher."""

    shop: Shop

    @property
    def version(self) -> str:
        return load(self.shop.folder / "teacher").version

    def due(self, now: datetime, **options: Any) -> TemperatureFit | None:  # noqa: ANN401 - of `Shop.calibrator`
        calibrator = self.shop.calibrator(**options).of_teacher
        return calibrator.calibrate_due(leases.new_owner(), never_stopped, now)

    @property
    def temperature(self) -> float | None:
        with reading(self.shop.engine) as connection:
            found = teacher_calibrations.in_force(connection, MONITOR, self.version)
        return found.temperature if found else None


@pytest.fixture
def taught(shop: Shop) -> Taught:
    made = Taught(shop=shop)
    run = Cycles(engine=shop.engine, lease=taken(shop.engine), policy=make_policy(alerts=()))
    run.conclude(0, replace(make_result(), teacher_version=made.version))
    return made


def test_a_new_teacher_is_calibrated_once_and_again_on_a_new_file_when_the_old_fit_is_old(
    taught: Taught, tmp_path: Path
) -> None:
    rows = read_labelled(taught.shop.validation, LABELS)
    wanted = fit_temperature(answers(load(taught.shop.folder / "teacher"), rows.texts), rows.labels)
    found = taught.due(START)
    assert found is not None
    assert found.temperature == pytest.approx(wanted, rel=1e-4)
    assert taught.temperature == found.temperature
    assert taught.due(START + 2 * MONTH) is None
    renewed = tmp_path / "renewed.jsonl"
    write_rows(renewed, 150)
    assert taught.due(START + 0.9 * MONTH, validation=renewed) is None
    again = taught.due(START + MONTH, validation=renewed)
    assert again is not None
    assert taught.temperature == again.temperature
    (first, second) = stored(taught.shop.engine, table)
    assert (first["version"], first["sha256"], first["n"]) == (taught.version, rows.sha256, 200)
    assert (first["ece_before"], first["ece_after"]) == (found.ece_before, found.ece_after)
    assert (second["n"], second["calibrated_at"]) == (150, START + MONTH)


@pytest.mark.parametrize(
    "section", [{"policy": UNCALIBRATED}, {"validation": None}], ids=["off", "no labelled file"]
)
def test_where_it_is_off_nothing_is_calibrated(taught: Taught, section: dict[str, Any]) -> None:
    assert taught.due(START, **section) is None
    assert taught.temperature is None


def test_before_the_first_cycle_no_teacher_is_known(shop: Shop) -> None:
    assert Taught(shop=shop).due(START) is None


def test_of_several_workers_one_does_it(taught: Taught) -> None:
    found = in_threads(4, lambda _: taught.due(START))
    assert len([each for each in found if each is not None]) == 1


def test_a_worker_that_has_lost_its_turn_writes_nothing(taught: Taught) -> None:
    def lost(_what: str, _done: int, _total: int) -> None:
        with writing(taught.shop.engine) as connection:
            leases.revoke(connection, f"calibration:{MONITOR}")

    slow = replace(taught.shop.calibrator(), show=lost).of_teacher
    with pytest.raises(LeaseLostError):
        slow.calibrate_due("slow", never_stopped, START)
    with pytest.raises(StoppedError):
        taught.shop.calibrator().of_teacher.calibrate_due("asked to stop", lambda: True, START)
    assert taught.temperature is None


def test_a_teacher_that_is_not_the_one_of_the_newest_cycle_is_not_calibrated(shop: Shop) -> None:
    run = Cycles(engine=shop.engine, lease=taken(shop.engine), policy=make_policy(alerts=()))
    run.conclude(0, make_result())
    with pytest.raises(TeacherMovedError, match="The archives are of the teacher teacher-1, but"):
        Taught(shop=shop).due(START)
    worker = shop.worker()
    with capture_logs() as entries:
        worker.run_once(never_stopped)
    assert [(entry["event"], entry.get("role")) for entry in entries if "calibrat" in entry["event"]] == [
        ("calibration failed", "teacher"),
        ("student calibrated", None),
    ]


def test_a_worker_calibrates_both_and_a_student_takes_the_stored_temperature(taught: Taught) -> None:
    worker = taught.shop.worker()
    with capture_logs() as entries:
        worker.run_once(never_stopped)
    events = [entry["event"] for entry in entries if "calibrated" in entry["event"]]
    assert events == ["teacher calibrated", "student calibrated"]
    with capture_logs() as entries:
        calibrator = taught.shop.calibrator().of_teacher
        assert calibrator.temperature(taught.version, never_stopped) == taught.temperature
    assert entries == [], "it was not fitted again"
