"""Which rows a student is calibrated on, and that old ones are replaced as soon as newer ones are there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pytest
from scipy.special import softmax

from db.records import TeacherMeasurement
from db.states import CalibrationSource
from distill.calibration import rows as calibration_rows
from distill.calibration.calibrator import NoCalibrationRowsError
from distill.calibration.teacher import TeacherMovedError
from distill.evaluation.temperature import fit_temperature
from distill.training.dataset import read_labelled
from monitor.archive import files
from monitor.archive.places import ArchiveReadError
from monitor.archive.sample import ScoredSample
from monitor.labels.files import GivenLabel
from monitor.labels.join import import_labels
from monitor.scoring.models import load
from monitor.stop import never_stopped
from monitor.strata import Strata
from tests.support.records.cycles import MONITOR, Cycles, make_policy, taken
from tests.support.records.factories import (
    HOUR,
    make_measurement,
    make_result,
    make_slot,
    make_teacher,
    make_traffic,
)
from tests.support.records.samples import make_sample
from tests.support.world.models import answers
from tests.support.world.shop import LABELS, MONTH, Shop
from triggers.calibration_settings import CalibrationPolicy

FILE, TEACHER, TRUE = CalibrationSource.FILE, CalibrationSource.TEACHER, CalibrationSource.TRAFFIC_LABELS
N: Final = 300  #: requests of a window, as few as a calibration needs
SCALE: Final = 2.5  #: of the student's logits against its teacher's
SICK: Final = make_teacher(confidence=0.4, entropy=1.0, n=N)


def scored(shop: Shop, index: int, *, n: int = N, student_noise: float = 0.0) -> ScoredSample:
    """A window whose student is `SCALE` times as sure as its teacher."""
    rng = np.random.default_rng(index)
    teacher = rng.normal(size=(n, len(LABELS))).astype(np.float32) * 2
    noise = student_noise * rng.normal(size=teacher.shape).astype(np.float32)
    sample = make_sample(n, end=make_slot(index).window_end, monitor=MONITOR, seed=index)
    return replace(
        sample,
        labels=LABELS,
        teacher_version=load(shop.folder / "teacher").version,
        student_version=shop.student.version,
        teacher_logits=teacher,
        student_logits=np.float32(SCALE) * (teacher + noise),
    )


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Windows of the shop's traffic, each concluded and archived."""

    shop: Shop
    place: Path
    run: Cycles
    samples: list[ScoredSample] = field(default_factory=list)

    def window(
        self, index: int, sample: ScoredSample | None = None, *, teacher: TeacherMeasurement | None = None
    ) -> datetime:
        """Conclude a window; return when it ended."""
        sample = sample or scored(self.shop, index)
        n = len(sample.requests)
        result = make_result(
            measurement=make_measurement(
                n=n, disagreements=0, labels=LABELS, teacher=teacher or make_teacher(n=n)
            ),
            traffic=make_traffic(n_sampled=n),
            archive=files.write(self.place, sample),
            teacher_version=sample.teacher_version,
            student_version=sample.student_version,
        )
        self.run.conclude(index, result)
        self.samples.append(sample)
        return sample.slot.window_end

    def label(self, sample: ScoredSample, truth: Sequence[str | None]) -> None:
        """Import the true labels of the requests that have one."""
        rows = [
            GivenLabel(request_id=request.id, label=label)
            for request, label in zip(sample.requests, truth, strict=True)
            if label is not None
        ]
        now = sample.slot.window_end
        import_labels(self.shop.engine, MONITOR, rows, kept=MONTH, now=now, progress=lambda *_: None)


@pytest.fixture
def traffic(shop: Shop, tmp_path: Path) -> Traffic:
    policy = make_policy(alerts=(), min_samples=N)
    return Traffic(
        shop=shop,
        place=tmp_path / "archive",
        run=Cycles(engine=shop.engine, lease=taken(shop.engine), policy=policy),
    )


def drawn(sample: ScoredSample, seed: int = 0) -> list[str]:
    """True labels of which the teacher's probabilities are right."""
    p = softmax(sample.teacher_logits.astype(float), axis=1)
    picked = (np.random.default_rng(seed).random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return [LABELS[each] for each in picked]


def teacher_temperature(shop: Shop) -> float:
    model, rows = load(shop.folder / "teacher"), read_labelled(shop.validation, LABELS)
    return fit_temperature(answers(model, rows.texts), rows.labels)


def test_traffic_replaces_the_file_at_once_and_its_labels_replace_the_teacher(traffic: Traffic) -> None:
    shop = traffic.shop
    end = traffic.window(0)
    assert shop.due(end, policy=CalibrationPolicy(on="file")) is not None
    by_teacher = shop.due(end)
    assert by_teacher is not None
    assert by_teacher.fit.temperature == pytest.approx(SCALE * teacher_temperature(shop), rel=1e-4)
    assert shop.due(end) is None
    traffic.label(traffic.samples[0], drawn(traffic.samples[0]))
    by_labels = shop.due(end)
    assert by_labels is not None
    truth = [LABELS.index(each) for each in drawn(traffic.samples[0])]
    wanted = fit_temperature(traffic.samples[0].student_logits, truth)
    assert by_labels.fit.temperature == pytest.approx(wanted, rel=1e-9)
    assert by_labels.fit.temperature == pytest.approx(SCALE, rel=0.3)
    assert shop.due(end) is None
    assert [(row["source"], row["dataset"], row["n"], row["rows_until"]) for row in shop.rows] == [
        ("file", "validation", 200, end),
        ("teacher", "traffic", N, end),
        ("traffic-labels", "traffic", N, end),
    ]


def test_without_a_labelled_file_the_teacher_is_believed_as_it_is(traffic: Traffic) -> None:
    end = traffic.window(0)
    found = traffic.shop.due(end, validation=None)
    assert found is not None
    assert found.fit.temperature == pytest.approx(SCALE, rel=1e-6)


def test_299_rows_are_too_few(traffic: Traffic) -> None:
    end = traffic.window(0, scored(traffic.shop, 0, n=N - 1))
    found = traffic.shop.due(end)
    assert found is not None
    assert found.source is FILE
    traffic.label(traffic.samples[0], drawn(traffic.samples[0]))
    assert traffic.shop.due(end) is None


def test_a_sick_teacher_is_not_used(traffic: Traffic) -> None:
    """Not even in the cycles in which it was healthy, nor when the calibration is overdue."""
    for index in range(3):
        traffic.window(index)
    end = traffic.window(3, teacher=SICK)
    found = traffic.shop.due(end)
    assert found is not None
    assert found.source is FILE
    assert traffic.shop.due(end) is None
    assert traffic.shop.due(end + MONTH) is None
    with pytest.raises(NoCalibrationRowsError, match="let cycles with a healthy teacher archive 300 req"):
        traffic.shop.calibrator(policy=CalibrationPolicy(on="teacher")).calibrate(
            traffic.shop.student, never_stopped, end
        )
    traffic.label(traffic.samples[3], drawn(traffic.samples[3]))
    by_labels = traffic.shop.due(end)
    assert by_labels is not None
    assert by_labels.source is TRUE, "which need no teacher"


def test_once_the_teacher_has_recovered_only_cycles_with_a_verdict_count(traffic: Traffic) -> None:
    for index in range(3):
        traffic.window(index)
    traffic.window(3, teacher=SICK)
    traffic.window(4, scored(traffic.shop, 4, n=400))
    found = traffic.shop.due(make_slot(4).window_end)
    assert found is not None
    assert (found.source, found.fit.n) == (TEACHER, 3 * N + 400)


def test_labels_of_selected_requests_are_not_used(traffic: Traffic) -> None:
    end = traffic.window(0)
    traffic.label(traffic.samples[0], drawn(traffic.samples[0]))
    found = traffic.shop.due(end, labels_are_random=False)
    assert found is not None
    assert found.source is TEACHER


@pytest.mark.parametrize(
    ("on", "source"), [("file", FILE), ("teacher", TEACHER), ("traffic-labels", TRUE), ("auto", TRUE)]
)
def test_the_configuration_chooses(
    traffic: Traffic, on: Literal["auto", "file", "teacher", "traffic-labels"], source: CalibrationSource
) -> None:
    end = traffic.window(0)
    traffic.label(traffic.samples[0], drawn(traffic.samples[0]))
    found = traffic.shop.due(end, policy=CalibrationPolicy(on=on))
    assert found is not None
    assert found.source is source


def test_new_traffic_is_due_when_the_old_is_nine_tenths_of_a_month_old(traffic: Traffic) -> None:
    shop, end = traffic.shop, traffic.window(0)
    assert shop.due(end) is not None
    later = math.ceil(0.9 * MONTH / HOUR)
    newer = traffic.window(later - 1)
    assert shop.due(newer) is None
    newest = traffic.window(later)
    assert shop.due(newest) is not None
    assert shop.due(newest) is None
    assert [row["rows_until"] for row in shop.rows] == [end, newest]


def test_archives_of_another_student_or_of_long_ago_count_for_nothing(traffic: Traffic) -> None:
    traffic.window(0, replace(scored(traffic.shop, 0), student_version="another"))
    end = traffic.window(1)
    found = traffic.shop.due(end + 0.9 * MONTH)
    assert found is not None
    assert found.source is FILE


def test_at_most_so_many_rows_are_read_the_newest_first(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_rows, "MAX_ROWS", 2 * N + 1)
    for index in range(4):
        traffic.window(index)
    (traffic.place / MONITOR / f"{make_slot(1).window_end:%Y%m%dT%H%M%SZ}.jsonl.zst").unlink()
    found = traffic.shop.due(make_slot(3).window_end)
    assert found is not None
    assert found.fit.n == 2 * N
    monkeypatch.setattr(calibration_rows, "MAX_ROWS", 3 * N)
    with pytest.raises(ArchiveReadError, match="there is no such file"):
        traffic.shop.calibrator().calibrate(traffic.shop.student, never_stopped, make_slot(3).window_end)


def test_rows_count_as_many_times_as_they_stand_for(traffic: Traffic) -> None:
    """A stratum of 600 requests of which 100 were drawn, and one of 200 that were all drawn."""
    strata = Strata(sizes=(600, 200), of=np.repeat([0, 1], [100, 200]))
    sample = replace(
        scored(traffic.shop, 0, student_noise=0.8), strata=strata, stratum_labels=("faq", "returns")
    )
    end = traffic.window(0, sample)
    found = traffic.shop.due(end, validation=None)
    assert found is not None
    probabilities = softmax(sample.teacher_logits.astype(float), axis=1)
    wanted = fit_temperature(sample.student_logits, probabilities, np.repeat([6.0, 1.0], [100, 200]))
    assert found.fit.temperature == pytest.approx(wanted, rel=1e-9)
    assert wanted != pytest.approx(fit_temperature(sample.student_logits, probabilities), rel=1e-3)


def test_disagreements_that_are_labelled_more_often_count_no_more(traffic: Traffic) -> None:
    """All of them are labelled, and every third agreement: half of the labels, a fifth of the traffic."""
    sample = scored(traffic.shop, 0, n=8_000, student_noise=1.0)
    agrees = sample.teacher_logits.argmax(axis=1) == sample.student_logits.argmax(axis=1)
    chosen = ~agrees | (np.arange(8_000) % 3 == 0)
    true = drawn(sample)
    end = traffic.window(0, sample)
    traffic.label(sample, [label if known else None for label, known in zip(true, chosen, strict=True)])
    found = traffic.shop.due(end)
    assert found is not None
    assert (found.source, found.fit.n) == (TRUE, chosen.sum())
    truth = np.array([LABELS.index(each) for each in true])
    everything = fit_temperature(sample.student_logits, truth)
    only_labelled = fit_temperature(sample.student_logits[chosen], truth[chosen])
    assert found.fit.temperature == pytest.approx(everything, rel=0.08)
    assert only_labelled > 1.2 * everything


def test_labels_that_the_models_do_not_have_are_left_out(traffic: Traffic) -> None:
    sample = scored(traffic.shop, 0, n=400)
    end = traffic.window(0, sample)
    true = [label if row < 350 else "out of scope" for row, label in enumerate(drawn(sample))]
    traffic.label(sample, true)
    found = traffic.shop.due(end)
    assert found is not None
    assert (found.source, found.fit.n) == (TRUE, 350)


def test_archives_whose_labels_are_in_another_order_are_read_alike(traffic: Traffic) -> None:
    one, other = scored(traffic.shop, 0), scored(traffic.shop, 1)
    order = [2, 0, 1]
    turned = replace(
        other,
        labels=tuple(LABELS[each] for each in order),
        teacher_logits=other.teacher_logits[:, order],
        student_logits=other.student_logits[:, order],
    )
    traffic.window(0, one)
    end = traffic.window(1, turned)
    traffic.label(one, drawn(one))
    traffic.label(turned, drawn(other))
    found = traffic.shop.due(end)
    assert found is not None
    logits = np.concatenate([one.student_logits, other.student_logits])
    truth = [LABELS.index(each) for each in (*drawn(one), *drawn(other))]
    assert found.fit.temperature == pytest.approx(fit_temperature(logits, truth), rel=1e-9)


def test_a_teacher_that_is_no_longer_in_its_place_is_not_asked(traffic: Traffic) -> None:
    sample = replace(scored(traffic.shop, 0), teacher_version="t" * 64)
    end = traffic.window(0, sample)
    with pytest.raises(TeacherMovedError, match="The archives are of the teacher tttttttttttt, but"):
        traffic.shop.due(end)
    assert traffic.shop.rows == []


def test_no_model_is_loaded_for_labelled_traffic(traffic: Traffic) -> None:
    end = traffic.window(0)
    traffic.label(traffic.samples[0], drawn(traffic.samples[0]))
    calibrator = replace(traffic.shop.calibrator(), teacher=Path("nowhere"))
    student = replace(traffic.shop.student, uri="nowhere")
    assert calibrator.calibrate(student, never_stopped, end).source is TRUE


def test_interval_of_an_hour(traffic: Traffic) -> None:
    """The shortest: each window is a calibration."""
    policy = CalibrationPolicy(every=timedelta(hours=1))
    for index in range(3):
        assert traffic.shop.due(traffic.window(index), policy=policy) is not None
    assert len(traffic.shop.rows) == 3
