"""Model versions: one current one a role, and what was measured on them."""

import math
from datetime import datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from db import queue, versions
from db.connection.session import reading, writing
from db.records import Evaluation, GateOutcome, Metric, ModelVersion, NewJob
from db.states import GateResult, PromotionReason, Role
from db.tables import evaluations, gate_outcomes, models, promotions
from tests.support.processes.races import in_threads
from tests.support.records.cycles import MONITOR, stored
from tests.support.records.factories import HOUR, START

MODEL = ModelVersion(monitor=MONITOR, version="aa11", role=Role.STUDENT, uri="models/aa11")
NEXT = ModelVersion(
    monitor=MONITOR,
    version="aa22",
    role=Role.STUDENT,
    uri="models/aa22",
    parent_version="aa11",
    alpha=Decimal("0.6"),
    temperature=3.0,
)
TEACHER = ModelVersion(monitor=MONITOR, version="cc33", role=Role.TEACHER, uri="models/cc33")
OTHER = ModelVersion(monitor="other", version="dd44", role=Role.STUDENT, uri="models/dd44")


def record(engine: Engine, *recorded: ModelVersion, now: datetime = START) -> None:
    with writing(engine) as connection:
        for model in recorded:
            versions.record(connection, model, now)


def promote(engine: Engine, model: ModelVersion, now: datetime = START) -> None:
    with writing(engine) as connection:
        versions.record(connection, model, now)
        versions.promote(connection, model, PromotionReason.MANUAL, now)


def current(engine: Engine, role: Role = Role.STUDENT) -> tuple[ModelVersion | None, datetime | None]:
    with reading(engine) as connection:
        return versions.current(connection, MONITOR, role), versions.current_since(connection, MONITOR, role)


@pytest.mark.parametrize("model", [MODEL, NEXT, TEACHER])
def test_a_version_is_found_as_it_was_recorded(engine: Engine, model: ModelVersion) -> None:
    record(engine, MODEL, NEXT, TEACHER)
    with reading(engine) as connection:
        assert versions.find(connection, MONITOR, model.role, model.version) == model
        assert versions.find(connection, "other", model.role, model.version) is None


def test_a_version_that_is_known_stays_as_it_is(engine: Engine) -> None:
    record(engine, NEXT)
    moved = ModelVersion(monitor=MONITOR, version="aa22", role=Role.STUDENT, uri="elsewhere")
    record(engine, moved, now=START + HOUR)
    (row,) = stored(engine, models)
    assert (row["uri"], row["created_at"], row["alpha"]) == ("models/aa22", START, Decimal("0.6"))


def test_the_same_files_may_be_a_teacher_and_a_student(engine: Engine) -> None:
    record(engine, TEACHER, ModelVersion(**{**vars(TEACHER), "role": Role.STUDENT}))
    assert [row["role"] for row in stored(engine, models)] == ["teacher", "student"]


@pytest.mark.parametrize(("prefix", "found"), [("aa1", MODEL), ("aa22", NEXT)])
def test_a_student_is_found_by_the_beginning_of_its_version(
    engine: Engine, prefix: str, found: ModelVersion
) -> None:
    record(engine, MODEL, NEXT, TEACHER, OTHER)
    with reading(engine) as connection:
        assert versions.by_prefix(connection, MONITOR, prefix) == found


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("aa", id="two begin so"),
        pytest.param("b", id="none does"),
        pytest.param("cc", id="only a teacher does"),
        pytest.param("dd", id="only another monitor's does"),
        pytest.param("a_1", id="an underscore is a letter"),
        pytest.param("%11", id="and so is a per cent sign"),
        pytest.param("11", id="one has it in its middle"),
    ],
)
def test_a_beginning_that_names_no_one_student_is_refused(engine: Engine, prefix: str) -> None:
    record(engine, MODEL, NEXT, TEACHER, OTHER)
    with reading(engine) as connection, pytest.raises(versions.NoSuchModelError, match=repr(prefix)):
        versions.by_prefix(connection, MONITOR, prefix)


def test_an_empty_beginning_does_not_name_the_only_student(engine: Engine) -> None:
    record(engine, MODEL)
    with reading(engine) as connection, pytest.raises(versions.NoSuchModelError, match="begins with ''"):
        versions.by_prefix(connection, MONITOR, "")


def test_before_the_first_promotion_there_is_no_current_version(engine: Engine) -> None:
    record(engine, MODEL)
    assert current(engine) == (None, None)


def test_a_promotion_retires_the_version_before_it(engine: Engine) -> None:
    promote(engine, MODEL, START)
    assert current(engine) == (MODEL, START)
    promote(engine, NEXT, START + HOUR)
    assert current(engine) == (NEXT, START + HOUR)
    assert [
        (row["version"], row["reason"], row["promoted_at"], row["retired_at"])
        for row in stored(engine, promotions)
    ] == [("aa11", "manual", START, START + HOUR), ("aa22", "manual", START + HOUR, None)]


def test_a_retired_version_can_become_current_again(engine: Engine) -> None:
    for hours, model in enumerate([MODEL, NEXT, MODEL]):
        promote(engine, model, START + hours * HOUR)
    assert current(engine) == (MODEL, START + 2 * HOUR)
    assert [row["version"] for row in stored(engine, promotions)] == ["aa11", "aa22", "aa11"]


def test_roles_and_monitors_have_current_versions_of_their_own(engine: Engine) -> None:
    promote(engine, MODEL)
    promote(engine, TEACHER, START + HOUR)
    promote(engine, OTHER, START + HOUR)
    assert current(engine) == (MODEL, START)
    assert current(engine, Role.TEACHER) == (TEACHER, START + HOUR)


def test_a_role_has_one_current_version_whoever_writes_it(engine: Engine) -> None:
    promote(engine, MODEL)
    second = {"monitor": MONITOR, "role": "student", "version": "x", "reason": "manual", "promoted_at": START}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(promotions).values(second))


def test_of_versions_that_are_promoted_at_once_one_is_current(engine: Engine) -> None:
    """The others were current before it: never two at a time."""
    students = [
        ModelVersion(monitor=MONITOR, version=f"v{number}", role=Role.STUDENT, uri="") for number in range(6)
    ]
    promote(engine, MODEL)
    record(engine, *students)

    in_threads(6, lambda number: promote(engine, students[number], START + HOUR))
    assert len(stored(engine, promotions)) == 7
    assert [row["retired_at"] for row in stored(engine, promotions)].count(None) == 1
    model, _ = current(engine)
    assert model in students


@pytest.fixture
def job_id(engine: Engine) -> int:
    job = NewJob(
        monitor=MONITOR,
        cycle_id=None,
        rule=None,
        reason="by hand",
        teacher_version="cc33",
        student_version="aa11",
        alpha_from=Decimal("0.7"),
        alpha_to=Decimal("0.6"),
        temperature=3.0,
    )
    with writing(engine) as connection:
        return queue.enqueue(connection, job, START)


def test_evaluations_are_stored_and_what_is_undefined_is_null(engine: Engine, job_id: int) -> None:
    """NaN in SQL sorts, compares and prints differently on each database; NULL does not."""
    nan = math.nan
    measured = Evaluation(
        dataset="test",
        metrics=(
            Metric(name="accuracy", value=0.905, low=0.8973, high=0.9127, n=5_500),
            Metric(name="rare_class_accuracy", value=nan, low=nan, high=nan, n=0),
        ),
    )
    condemned = Evaluation(
        dataset="condemned", metrics=(Metric(name="kl", value=0.08, low=nan, high=nan, n=2_000),)
    )
    with writing(engine) as connection:
        versions.add_evaluations(connection, NEXT, job_id, [measured, condemned])
    keys = ("version", "job_id", "dataset", "metric", "value", "low", "high", "n")
    assert sorted(tuple(row[key] for key in keys) for row in stored(engine, evaluations)) == [
        ("aa22", job_id, "condemned", "kl", 0.08, None, None, 2_000),
        ("aa22", job_id, "test", "accuracy", 0.905, 0.8973, 0.9127, 5_500),
        ("aa22", job_id, "test", "rare_class_accuracy", None, None, None, 0),
    ]


def test_gate_outcomes_are_stored_and_what_could_not_be_measured_is_null(engine: Engine, job_id: int) -> None:
    passed = GateOutcome(gate="accuracy", dataset="test", value=0.91, threshold=0.905, result=GateResult.PASS)
    failed = GateOutcome(
        gate="rare_class_accuracy",
        dataset="test",
        value=math.nan,
        threshold=0.87,
        result=GateResult.FAIL,
        incumbent_value=math.nan,
    )
    waived = GateOutcome(
        gate="ece",
        dataset="test",
        value=0.069,
        threshold=0.05,
        result=GateResult.WAIVED,
        metric="ece_calibrated",
        incumbent_value=0.074,
        detail="calibrated; 0.081 at T = 1",
    )
    with writing(engine) as connection:
        versions.add_gate_outcomes(connection, job_id, [passed, failed, waived])
    columns = ("gate", "value", "threshold", "result", "metric", "incumbent_value", "detail")
    assert [tuple(row[name] for name in columns) for row in stored(engine, gate_outcomes)] == [
        ("accuracy", 0.91, 0.905, "pass", None, None, None),
        ("ece", 0.069, 0.05, "waived", "ece_calibrated", 0.074, "calibrated; 0.081 at T = 1"),
        ("rare_class_accuracy", None, 0.87, "fail", None, None, None),
    ]


def test_a_job_without_measurements_stores_none(engine: Engine, job_id: int) -> None:
    with writing(engine) as connection:
        versions.add_evaluations(connection, NEXT, job_id, [])
        versions.add_gate_outcomes(connection, job_id, [])
    assert stored(engine, evaluations) == stored(engine, gate_outcomes) == []
