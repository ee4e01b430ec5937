"""Estimated accuracy in SQL: of a concluded cycle, after an import of labels, and of the cycles after it."""

import threading
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, event

from db.accuracy import teacher_calibrations
from db.connection.session import reading, writing
from db.records import AccuracyEstimates, TemperatureFit
from db.tables import estimated_accuracy
from db.views import rows
from monitor.archive.files import write
from monitor.archive.sample import ScoredSample
from monitor.labels.files import GivenLabel
from monitor.labels.join import import_labels
from monitor.labels.truth import accuracy_of
from tests.support.processes.races import in_threads
from tests.support.records.cycles import MONITOR, Cycles, stored, taken
from tests.support.records.factories import HOUR, START, STUDENT, TEACHER, make_measurement, make_result
from tests.support.records.samples import make_sample
from tests.support.records.tables import note_archive

N = 1_000
FIT = TemperatureFit(
    temperature=1.25,
    n=500,
    nll_before=0.3,
    nll_after=0.2,
    ece_before=0.04,
    ece_after=0.01,
    ece_debiased_before=0.04,
    ece_debiased_after=0.01,
)


def sample_of(hour: int) -> ScoredSample:
    """A teacher that is sure of the label faq, and a student that says the same."""
    logits = np.array([[3.0, 0.0]] * N, dtype=np.float32)
    sample = make_sample(N, end=START + (hour + 1) * HOUR, monitor=MONITOR, seed=hour)
    return replace(
        sample,
        teacher_logits=logits,
        student_logits=logits,
        teacher_version=TEACHER,
        student_version=STUDENT,
    )


@dataclass(frozen=True, kw_only=True)
class Service:
    """Concluded cycles with archives, whose student the teacher expects to be right in 92%."""

    engine: Engine
    folder: Path
    concluded: Cycles

    def conclude(self, *hours: int) -> None:
        for hour in hours:
            sample = sample_of(hour)
            measured = replace(make_measurement(n=N, disagreements=1), accuracy=self.estimates(sample))
            self.concluded.conclude(hour, make_result(measurement=measured))
            (cycle_id,) = (
                each["cycle_id"] for each in self.history() if each["window_end"] == sample.slot.window_end
            )
            note_archive(self.engine, cycle_id, write(self.folder, sample))

    def estimates(self, sample: ScoredSample) -> AccuracyEstimates:
        with reading(self.engine) as connection:
            calibration = teacher_calibrations.in_force(connection, MONITOR, TEACHER)
        return accuracy_of(sample, {}, calibration=calibration, labels_are_random=True)

    def label(self, hour: int, n: int, n_right: int, **options: Any) -> None:  # noqa: ANN401 - of the import
        given = (
            GivenLabel(request_id=f"r-{hour}-{row}", label="faq" if row < n_right else "promotion")
            for row in range(n)
        )
        import_labels(
            self.engine,
            MONITOR,
            given,
            kept=timedelta(days=30),
            now=START + 99 * HOUR,
            progress=lambda _done, _total: None,
            **options,
        )

    def history(self) -> list[Any]:
        with reading(self.engine) as connection:
            return rows(connection, "accuracy_history", monitor=MONITOR, order_by="window_end")

    @property
    def said(self) -> list[str | None]:
        """What is shown of each cycle: the method, or else the reason."""
        return [
            row["estimated_accuracy_method"] or row["estimated_accuracy_reason"] for row in self.history()
        ]


@pytest.fixture
def service(engine: Engine, tmp_path: Path) -> Service:
    return Service(engine=engine, folder=tmp_path, concluded=Cycles(engine=engine, lease=taken(engine)))


@pytest.fixture
def calibrated(service: Service) -> Service:
    with writing(service.engine) as connection:
        teacher_calibrations.add(connection, MONITOR, TEACHER, FIT, sha256="s", now=START)
    return service


SHOWN, POWERED, WITHHELD = "teacher_confidence", "prediction_powered", "contradicted_by_labels"


def test_a_cycle_shows_the_estimate_of_its_calibrated_teacher(calibrated: Service) -> None:
    calibrated.conclude(0)
    (row,) = calibrated.history()
    assert row["estimated_accuracy"] == pytest.approx(1 / (1 + np.exp(-3 / 1.25)))
    assert row["estimated_accuracy_low"] < row["estimated_accuracy"] < row["estimated_accuracy_high"]
    assert (row["estimated_accuracy_method"], row["estimated_accuracy_reason"]) == (
        SHOWN,
        "teacher_calibrated",
    )
    assert (row["n_labels"], row["rectifier"], row["contradicted"]) == (0, None, None)
    assert (row["teacher_temperature"], row["teacher_version"]) == (1.25, TEACHER)


def test_a_teacher_that_nobody_calibrated_gives_none(service: Service) -> None:
    service.conclude(0)
    (row,) = service.history()
    assert (row["estimated_accuracy"], row["estimated_accuracy_reason"]) == (None, "teacher_not_calibrated")
    service.label(0, 200, 180)
    (row,) = service.history()
    assert row["estimated_accuracy_method"] == POWERED
    assert row["estimated_accuracy"] == pytest.approx(0.9)


def test_labels_that_arrive_later_correct_the_estimate_of_their_cycle(calibrated: Service) -> None:
    calibrated.conclude(0, 1)
    calibrated.label(0, 200, 182)
    first, second = calibrated.history()
    assert first["estimated_accuracy"] == pytest.approx(0.91, abs=1e-6)
    assert (first["estimated_accuracy_method"], first["n_labels"]) == (POWERED, 200)
    assert not first["contradicted"]
    assert first["rectifier"] == pytest.approx(0.91 - 1 / (1 + np.exp(-3 / 1.25)))
    assert second["estimated_accuracy_method"] == SHOWN


def test_labels_that_contradict_the_teacher_withhold_its_estimates_until_others_agree(
    calibrated: Service,
) -> None:
    """Of cycles before and after the import, but not of those before the labelled one."""
    calibrated.conclude(0, 1, 2)
    calibrated.label(1, 200, 120)
    assert calibrated.said == [SHOWN, POWERED, WITHHELD]
    calibrated.conclude(3, 4, 5)
    assert calibrated.said == [SHOWN, POWERED, *[WITHHELD] * 4]
    assert [row["estimated_accuracy"] for row in calibrated.history()][2:] == [None] * 4
    calibrated.label(4, 200, 184)
    assert calibrated.said == [SHOWN, POWERED, WITHHELD, WITHHELD, POWERED, SHOWN]
    calibrated.conclude(6)
    assert calibrated.said[-1] == SHOWN
    calibrated.label(1, 200, 184)  # corrected labels of the same requests
    assert calibrated.said == [SHOWN, POWERED, SHOWN, SHOWN, POWERED, SHOWN, SHOWN]
    first, _, third, *_ = calibrated.history()
    assert third["estimated_accuracy"] == first["estimated_accuracy"]


def test_few_labels_can_withhold_an_estimate_but_not_show_it_again(calibrated: Service) -> None:
    calibrated.conclude(0, 1, 2)
    calibrated.label(0, 30, 10)
    assert calibrated.said == [WITHHELD] * 3
    calibrated.label(1, 30, 28)
    assert calibrated.said == [WITHHELD] * 3


@pytest.mark.parametrize("options", [{"labels_are_random": False}])
def test_selected_labels_change_nothing(calibrated: Service, options: dict[str, Any]) -> None:
    calibrated.conclude(0, 1)
    calibrated.label(0, 200, 10, **options)
    assert calibrated.said == [SHOWN, SHOWN]
    assert calibrated.history()[0]["n_labels"] == 0


def test_a_conclusion_sees_the_labels_that_an_import_commits_while_it_waits(calibrated: Service) -> None:
    calibrated.conclude(0, 1)
    written = threading.Event()

    def hold(_connection: Connection) -> None:
        if threading.current_thread() is importer:
            written.set()
            time.sleep(0.5)  # until the conclusion waits for the row

    event.listen(calibrated.engine, "commit", hold)
    importer = threading.Thread(target=calibrated.label, args=(1, 200, 100))
    importer.start()
    assert written.wait(10)
    calibrated.conclude(2)
    importer.join()
    assert calibrated.said == [SHOWN, POWERED, WITHHELD]


def test_an_import_and_a_conclusion_at_once_leave_no_estimate_that_labels_contradict(
    calibrated: Service,
) -> None:
    """Whichever comes first: the later one sees what the other wrote."""
    calibrated.conclude(0, 1)
    for turn in range(4):
        sample = sample_of(2 + turn)
        measured = replace(make_measurement(n=N, disagreements=1), accuracy=calibrated.estimates(sample))
        claim = calibrated.concluded.claim(2 + turn)
        result = make_result(measurement=measured)
        n_right = 184 if turn % 2 else 100

        def act(number: int, claim: Any = claim, result: Any = result, n_right: int = n_right) -> None:  # noqa: ANN401 - of this turn
            if number:
                calibrated.concluded.conclude_claim(claim, result)
            else:
                calibrated.label(1, 200, n_right)

        in_threads(2, act)
        expected = SHOWN if turn % 2 else WITHHELD
        assert calibrated.said[2:] == [expected] * (turn + 1), turn


def test_the_numbers_of_a_cycle_that_is_judged_again_are_replaced(calibrated: Service) -> None:
    calibrated.conclude(0)
    calibrated.label(0, 200, 120)
    before = stored(calibrated.engine, estimated_accuracy)
    calibrated.label(0, 200, 120)
    assert stored(calibrated.engine, estimated_accuracy) == before
