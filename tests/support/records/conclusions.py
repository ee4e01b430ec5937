"""Cycles that end, and what is found of it in the tables."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine

from db import queue
from db.connection.session import writing
from db.records import Correctness, CycleResult, Reject
from db.states import IncidentState, JobDecision, JobStatus, RejectReason
from db.tables import deliveries, incidents, jobs, rule_outcomes
from tests.support.records.cycles import MONITOR, Cycles, due_at, make_policy, stored, taken
from tests.support.records.factories import make_input_drift, make_measurement, make_result, make_traffic
from triggers.alert_settings import LogAlert
from triggers.settings import DEFAULT_RULES
from triggers.teacher.correctness import split

REJECT = Reject(reason=RejectReason.NO_ID, n=40, example_hash="ab" * 32, example_object="traffic.jsonl")
HEALTHY = make_result(traffic=make_traffic(rejects=(REJECT,)))
LOW = make_result(measurement=make_measurement(disagreements=300))
FAR = make_result(measurement=make_measurement(kl=0.2))
TOO_FEW = make_result(measurement=make_measurement(n=999, disagreements=900))


def make_drifted_result() -> CycleResult:
    """Return a result that breaches every rule and fills every table a cycle writes to."""
    broken = Reject(reason=RejectReason.NOT_JSON, n=3, example_hash="0" * 64, example_object="a.jsonl")
    measured = make_measurement(disagreements=1_000, kl=0.3)
    return make_result(
        measurement=replace(measured, correctness=split([0], [0], [1], [1]), input_drift=make_input_drift()),
        traffic=make_traffic(rejects=(broken,)),
    )


def conclude_drifts(engine: Engine, *channels: str, incidents: int = 1, resolved: bool = True) -> None:
    """Open and resolve incidents, which enqueues messages for each channel.

    The last incident stays open unless `resolved`.
    """
    alerts = tuple(LogAlert(name=channel) for channel in channels)
    policy = make_policy(alerts=alerts, rules=DEFAULT_RULES[1:])
    run = Cycles(engine=engine, lease=taken(engine), policy=policy)
    for index in range(incidents):
        run.conclude(2 * index, FAR)
        if resolved or index < incidents - 1:
            run.conclude(2 * index + 1)


def with_policy(run: Cycles, **fields: Any) -> Cycles:  # noqa: ANN401 - any field of a Policy
    return replace(run, policy=make_policy(**fields))


def incident_list(run: Cycles) -> list[tuple[str, str, str]]:
    """Return kind, severity and state of the notified incidents, in the order in which they opened."""
    found = sorted(notified_incidents(run.engine), key=lambda row: row["opened_at"])
    return [(row["kind"], row["severity"], row["state"]) for row in found]


def notified_incidents(engine: Engine) -> list[dict[str, Any]]:
    """Return the incidents that were notified; pending ones were not."""
    return [row for row in stored(engine, incidents) if row["state"] != IncidentState.PENDING]


def message_list(run: Cycles) -> list[tuple[int, str, str]]:
    return [(row["incident_id"], row["channel"], row["event"]) for row in stored(run.engine, deliveries)]


def job_list(run: Cycles) -> list[tuple[Decimal, Decimal, str]]:
    return [(row["alpha_from"], row["alpha_to"], row["status"]) for row in stored(run.engine, jobs)]


def streaks(run: Cycles, rule: str = "low-agreement") -> list[int]:
    return [row["streak"] for row in stored(run.engine, rule_outcomes) if row["rule"] == rule]


def end_job(run: Cycles, status: JobStatus, decision: JobDecision | None = None, *, index: int = 0) -> None:
    """What a worker makes of the open job."""
    end_open_job(run.engine, status, decision, now=due_at(index))


def end_open_job(
    engine: Engine, status: JobStatus, decision: JobDecision | None = None, *, now: datetime
) -> None:
    """The monitor's open job taken, and ended or called off."""
    with writing(engine) as connection:
        claimed = queue.claim(connection, MONITOR, owner="worker", lease_seconds=60, now=now)
        assert claimed is not None
        if status is JobStatus.CANCELLED:
            queue.cancel(connection, claimed[0].job_id, now)
        else:
            queue.finish(connection, claimed[0], status, now=now, decision=decision)


def labelled(teacher: int, student: int) -> Correctness:
    """So many disagreements in which the one or the other is right."""
    truth = [0] * teacher + [1] * student
    return split(truth, [0] * len(truth), [1] * len(truth), [1] * len(truth))
