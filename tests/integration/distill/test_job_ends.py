"""What the on-call is told of a job's end, in the transaction of that end."""

import json
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from db import queue, versions
from db.connection.session import writing
from db.errors import RedistillError
from db.records import Evaluation, Job, Metric, ModelVersion
from db.states import GateResult, PromotionReason, Role
from db.tables import deliveries, gate_outcomes, incidents, jobs, promotions, shadows
from distill.settle import Proof
from distill.worker import Worker
from monitor.stop import Stopped, never_stopped
from tests.support.processes.workers import FakeAttempt, rejected, without_labels
from tests.support.records.cycles import MONITOR, make_audience, stored
from tests.support.records.factories import STUDENT, make_new_job
from tests.support.world.installation import now

MEASURED = Metric(name="accuracy", value=0.5, low=0.47, high=0.53, n=1_000)


class NoLabelsError(RedistillError):
    """train.jsonl has no labels."""


def fails_its_gate(job: Job, stopped: Stopped) -> Proof:
    evaluation = Evaluation(dataset="test", metrics=(MEASURED,))
    proof = rejected(job, stopped)
    gates = tuple(replace(gate, incumbent_value=0.7) for gate in proof.gates)
    return replace(proof, candidate_evaluations=(evaluation,), gates=gates)


def is_waived(job: Job, stopped: Stopped) -> Proof:
    """One gate is met, one that is not is waived, and the last one decides."""
    proof = rejected(job, stopped)
    (gate,) = proof.gates
    met = replace(gate, gate="agreement", value=0.96, result=GateResult.PASS)
    waived = replace(gate, gate="ece", value=0.069, threshold=0.05, incumbent_value=0.074)
    return replace(proof, gates=(met, replace(waived, result=GateResult.WAIVED), gate))


def is_waived_and_passes(job: Job, stopped: Stopped) -> Proof:
    """The same without the gate that failed."""
    proof = is_waived(job, stopped)
    return replace(proof, gates=proof.gates[:2])


def passes(job: Job, stopped: Stopped) -> Proof:
    proof = rejected(job, stopped)
    return replace(proof, gates=tuple(replace(gate, result=GateResult.PASS) for gate in proof.gates))


def comes_to_nothing(_job: Job, _stopped: Stopped) -> Proof:
    raise NoLabelsError


def end(engine: Engine, work: Any) -> dict[str, Any]:  # noqa: ANN401 - what an attempt does
    """The job that such an attempt leaves, of a worker with one channel."""
    with writing(engine) as connection:
        queue.enqueue(connection, make_new_job(), now())
    audience = make_audience()
    worker = Worker(engine, audience, FakeAttempt(work=work), without_labels(engine, audience.monitor))  # type: ignore[arg-type]
    assert worker.run_once(never_stopped)
    return stored(engine, jobs)[-1]


def told(engine: Engine) -> list[tuple[str, str, str]]:
    return [(row["kind"], row["severity"], row["state"]) for row in stored(engine, incidents)]


def messages(engine: Engine) -> list[dict[str, Any]]:
    return [json.loads(row["payload"]) for row in stored(engine, deliveries)]


def test_a_candidate_that_fails_a_gate_is_told_with_its_numbers(engine: Engine) -> None:
    """With intervals, against the thresholds; and the next candidate that passes is its end."""
    job = end(engine, fails_its_gate)
    assert told(engine) == [("candidate-rejected", "warning", "firing")]
    (message,) = messages(engine)
    assert message["summary"] == (
        f"job {job['id']}, alpha 0.7 -> 0.6: failed: accuracy (test) 0.5 against 0.9, incumbent 0.7"
    )
    assert message["gates"] == [
        {
            "gate": "accuracy",
            "dataset": "test",
            "value": 0.5,
            "threshold": 0.9,
            "result": "fail",
            "metric": None,
            "incumbent_value": 0.7,
            "detail": None,
            "low": 0.47,
            "high": 0.53,
        }
    ]
    assert (message["job"]["job_id"], message["job"]["alpha_to"]) == (job["id"], "0.6")
    end(engine, passes)
    assert told(engine) == [("candidate-rejected", "warning", "resolved")]
    assert [each["event"] for each in messages(engine)] == ["firing", "resolved"]


def in_shadow(engine: Engine, work: Any) -> dict[str, Any]:  # noqa: ANN401 - as `end`
    """The job that such an attempt leaves with promote = "shadow"."""
    with writing(engine) as connection:
        queue.enqueue(connection, make_new_job(), now())
    attempt = FakeAttempt(work=work, redistill=SimpleNamespace(promote="shadow"))
    audience = make_audience()
    worker = Worker(engine, audience, attempt, without_labels(engine, audience.monitor))  # type: ignore[arg-type]
    assert worker.run_once(never_stopped)
    return stored(engine, jobs)[-1]


def test_a_candidate_that_passes_begins_its_shadow_in_the_transaction_of_its_job(engine: Engine) -> None:
    job = in_shadow(engine, passes)
    assert (job["status"], job["decision"]) == ("succeeded", "shadowed")
    (shadow,) = stored(engine, shadows)
    assert (shadow["job_id"], shadow["state"]) == (job["id"], "running")
    assert (shadow["candidate_version"], shadow["incumbent_version"]) == (job["candidate_version"], STUDENT)
    assert stored(engine, promotions) == []


def is_decided_by_labels(job: Job, stopped: Stopped) -> Proof:
    """Its agreement with the teacher is only reported, as labels say that the teacher is wrong."""
    proof = passes(job, stopped)
    (met,) = proof.gates
    reported = replace(met, gate="agreement", dataset="condemned", result=GateResult.REPORTED)
    return replace(proof, gates=(met, reported))


@pytest.mark.parametrize(
    ("work", "decision", "words"),
    [
        (fails_its_gate, "rejected", "failed: accuracy"),
        (is_decided_by_labels, "held", "held: true labels decided against the teacher"),
    ],
)
def test_no_shadow_begins_where_a_gate_failed_or_the_teacher_was_wrong(
    engine: Engine,
    work: Any,  # noqa: ANN401 - as `end`
    decision: str,
    words: str,
) -> None:
    job = in_shadow(engine, work)
    assert job["decision"] == decision
    assert words in job["decision_reason"]
    assert stored(engine, shadows) == []


def is_undecided(job: Job, stopped: Stopped) -> Proof:
    """The gate that failed is inconclusive, and a person is to decide."""
    proof = fails_its_gate(job, stopped)
    (gate,) = (replace(each, result=GateResult.INCONCLUSIVE) for each in proof.gates)
    met = replace(gate, gate="agreement", value=0.96, result=GateResult.PASS)
    return replace(proof, gates=(met, gate), undecided=(gate,))


def test_a_candidate_on_which_a_person_decides_is_held_with_the_gates_that_are_open(engine: Engine) -> None:
    job = end(engine, is_undecided)
    assert (job["status"], job["decision"]) == ("succeeded", "held")
    assert job["decision_reason"] == (
        "held: the test data do not decide on accuracy (test); passed: agreement (test) 0.96 against 0.9; "
        "inconclusive: accuracy (test) 0.5 against 0.9, incumbent 0.7"
    )
    assert "gates_passed" not in [row["reason"] for row in stored(engine, promotions)]
    assert in_shadow(engine, is_undecided)["decision"] == "held"


def improves(job: Job, stopped: Stopped) -> Proof:
    """One gate is met, and agreement on the condemned sample is better than before, but too low."""
    (met,) = passes(job, stopped).gates
    on_condemned = replace(
        met,
        gate="agreement",
        dataset="condemned",
        value=0.92,
        threshold=0.95,
        result=GateResult.IMPROVES,
        incumbent_value=0.88,
        detail="a gain of 0.04 [0.03, 0.05] over the incumbent",
    )
    return replace(passes(job, stopped), gates=(met, on_condemned))


def test_a_candidate_that_improves_without_a_cure_is_promoted_and_says_so(engine: Engine) -> None:
    job = end(engine, improves)
    assert (job["status"], job["decision"]) == ("succeeded", "promoted")
    assert job["decision_reason"] == (
        "the candidate is better than the incumbent but does not end the drift, whose incident stays open; "
        "passed: accuracy (test) 0.5 against 0.9; improves, not cured: agreement (condemned) 0.92 against "
        "0.95, incumbent 0.88 (a gain of 0.04 [0.03, 0.05] over the incumbent)"
    )


@pytest.mark.parametrize(
    ("work", "decision", "decisive"),
    [
        (is_waived, "rejected", "failed: accuracy (test) 0.5 against 0.9"),
        (is_waived_and_passes, "promoted", "passed: agreement (test) 0.96 against 0.9"),
    ],
    ids=["rejected by another gate", "promoted"],
)
def test_a_waived_gate_stands_in_the_reason_and_decides_nothing(
    engine: Engine,
    work: Any,  # noqa: ANN401 - as above
    decision: str,
    decisive: str,
) -> None:
    job = end(engine, work)
    reason = f"{decisive}; waived: ece (test) 0.069 against 0.05, incumbent 0.074"
    assert (job["decision"], job["decision_reason"]) == (decision, reason)
    kept = [(row["gate"], row["result"], row["incumbent_value"]) for row in stored(engine, gate_outcomes)]
    assert ("ece", "waived", 0.074) in kept


def serve(engine: Engine, version: str, reason: PromotionReason) -> None:
    model = ModelVersion(monitor=MONITOR, version=version, role=Role.STUDENT, uri=version)
    with writing(engine) as connection:
        versions.record(connection, model, now())
        versions.promote(connection, model, reason, now())


@pytest.mark.parametrize(
    "reason", [PromotionReason.MANUAL, PromotionReason.ROLLBACK, PromotionReason.CONFIGURED]
)
def test_a_candidate_is_held_if_a_person_chose_another_student_meanwhile(
    engine: Engine, reason: PromotionReason
) -> None:
    serve(engine, STUDENT, PromotionReason.CONFIGURED)

    def while_a_person_promotes(job: Job, stopped: Stopped) -> Proof:
        serve(engine, "student-9", reason)
        return passes(job, stopped)

    job = end(engine, while_a_person_promotes)
    assert (job["status"], job["decision"]) == ("succeeded", "held")
    assert job["decision_reason"] == (
        f"held: the student student-9 ({reason}) has come into service since the job was ordered; passed: "
        "accuracy (test) 0.5 against 0.9"
    )
    assert [row["version"] for row in stored(engine, promotions)] == [STUDENT, "student-9"]
    serve(engine, STUDENT, PromotionReason.ROLLBACK)
    assert end(engine, passes)["decision"] == "promoted"


def test_what_a_worker_stores_is_over_though_its_clock_is_a_day_ahead(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cycles after a promotion in the future would not count, and it would be watched for ever."""
    serve(engine, STUDENT, PromotionReason.CONFIGURED)
    monkeypatch.setattr("distill.worker.utc_now", lambda: now() + timedelta(days=1))
    job = end(engine, passes)
    failed = end(engine, comes_to_nothing)
    promoted = stored(engine, promotions)[-1]
    assert promoted["reason"] == "gates_passed"
    (message,) = stored(engine, deliveries)
    times = [job["started_at"], job["finished_at"], failed["finished_at"], message["next_attempt_at"]]
    assert max(promoted["promoted_at"], *times) <= now()


@pytest.mark.parametrize("work", [passes, fails_its_gate])
def test_a_job_that_fails_is_told_until_another_makes_a_candidate(
    engine: Engine,
    work: Any,  # noqa: ANN401 - as above
) -> None:
    assert end(engine, comes_to_nothing)["status"] == "failed"
    assert told(engine) == [("job-failed", "error", "firing")]
    (message,) = messages(engine)
    assert message["summary"].endswith("alpha 0.7 -> 0.6: train.jsonl has no labels.")
    assert message["gates"] == []
    end(engine, work)
    assert told(engine)[0] == ("job-failed", "error", "resolved")


def test_nobody_is_told_of_the_end_of_a_job_that_was_called_off(engine: Engine) -> None:
    """Its worker finds out as it writes the end: nothing of the attempt is written."""

    def called_off(job: Job, stopped: Stopped) -> Proof:
        with writing(engine) as connection:
            queue.cancel(connection, job.job_id, now())
        return fails_its_gate(job, stopped)

    assert end(engine, called_off)["status"] == "cancelled"
    assert told(engine) == messages(engine) == []
