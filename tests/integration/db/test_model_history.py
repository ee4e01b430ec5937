"""The models of one monitor, among those of a database that several share."""

from collections.abc import Mapping

from sqlalchemy import Connection, Engine, insert

from db.connection.session import reading, writing
from db.tables import evaluations, jobs, models, promotions
from db.views import rows
from tests.support.records.factories import HOUR, START

JOB = {
    "rule": "agreement",
    "reason": "0.94 < 0.95",
    "teacher_version": "t",
    "student_version": "v",
    "alpha_from": "0.7",
    "alpha_to": "0.6",
    "temperature": 3.0,
    "soft_labels": "online",
    "status": "succeeded",
    "attempt": 1,
    "enqueued_at": START,
}


def record(connection: Connection, monitor: str, *, job_id: int, accuracy: float) -> None:
    """Record the student `v`, two jobs that measured it, and that it has served twice."""
    of_model = {"monitor": monitor, "version": "v"}
    common = {**of_model, "role": "student"}
    connection.execute(
        insert(jobs), [{"id": each, "monitor": monitor, **JOB} for each in (job_id, job_id + 1)]
    )
    connection.execute(insert(models).values(**common, uri="v", job_id=job_id, created_at=START))
    connection.execute(
        insert(evaluations),
        [
            {**of_model, "job_id": each, "dataset": dataset, "metric": metric, "n": 9, **values}
            for each, dataset, metric, values in (
                (job_id, "test", "accuracy", {"value": 0.1, "low": 0.0, "high": 0.2}),
                (job_id, "test", "ece", {"value": 0.3, "low": None, "high": None}),
                (job_id + 1, "test", "accuracy", {"value": accuracy, "low": 0.6, "high": 0.9}),
                (job_id + 1, "test", "kl", {"value": 0.02, "low": None, "high": None}),
                (job_id + 1, "condemned", "agreement", {"value": 0.9, "low": None, "high": None}),
            )
        ],
    )
    for hours in (0, job_id):
        promoted = {
            "reason": "manual",
            "promoted_at": START + hours * HOUR,
            "retired_at": START + hours * HOUR,
        }
        connection.execute(insert(promotions).values(**common, **promoted))


def test_a_monitor_has_its_own_row_for_a_version_that_two_monitors_share(engine: Engine) -> None:
    with writing(engine) as connection:
        record(connection, "a", job_id=1, accuracy=0.75)
        record(connection, "b", job_id=3, accuracy=0.85)
    with reading(engine) as connection:

        def of(monitor: str) -> list[Mapping[str, object]]:
            return rows(connection, "model_history", monitor=monitor, order_by="created_at")

        (found,) = of("b")
        assert (found["job_id"], found["accuracy"], found["ece"]) == (3, 0.85, None)
        assert found["promoted_at"] == START + 3 * HOUR
        assert [row["accuracy"] for row in of("a")] == [0.75]
        assert of("c") == []
