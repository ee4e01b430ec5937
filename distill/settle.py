"""The end of a job: candidate, measurements, gates, calibration and promotion in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine

from db import calibrations, queue, versions
from db.connection.session import writing
from db.records import Calibration, Evaluation, GateOutcome, Job, Lease, ModelVersion, TrainedEpoch
from db.shadows import runs as shadow_runs
from db.states import CalibrationReason, GateResult, JobDecision, JobStatus, PromotionReason, Role
from db.telemetry import counts
from db.telemetry.counts import observed
from distill.evaluation import gates
from distill.settings import Promote
from triggers.incidents.announce import Audience
from triggers.incidents.job_outcome import report_job_end

_STATUS = {
    JobDecision.PROMOTED: JobStatus.SUCCEEDED,
    JobDecision.HELD: JobStatus.SUCCEEDED,
    JobDecision.REJECTED: JobStatus.REJECTED,
    JobDecision.SHADOWED: JobStatus.SUCCEEDED,
}

_WORDS: Final = {
    GateResult.PASS: "passed",
    GateResult.WAIVED: "waived",
    GateResult.INCONCLUSIVE: "inconclusive",
    GateResult.IMPROVES: "improves, not cured",
    GateResult.WORSE: "worse than the incumbent",
    GateResult.REPORTED: "only reported",
    GateResult.FAIL: "failed",
}
_NOT_CURED: Final = (
    "the candidate is better than the incumbent but does not end the drift, whose incident stays open"
)
_NO_SHADOW: Final = (
    "true labels decided against the teacher, so its answers cannot decide a comparison in shadow"
)
#: The results that a reason gives with their detail.
_EXPLAINED: Final = {
    GateResult.IMPROVES,
    GateResult.WORSE,
    GateResult.INCONCLUSIVE,
    GateResult.REPORTED,
}
#: The results that a reason gives besides the decisive one, in their order.
_OTHERS: Final = (
    GateResult.IMPROVES,
    GateResult.WORSE,
    GateResult.INCONCLUSIVE,
    GateResult.WAIVED,
    GateResult.REPORTED,
)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A registered candidate, with the measurements on it and on the incumbent."""

    candidate: ModelVersion
    incumbent: ModelVersion
    candidate_evaluations: tuple[Evaluation, ...]
    incumbent_evaluations: tuple[Evaluation, ...]
    gates: tuple[GateOutcome, ...]
    calibration: Calibration  #: of the candidate
    undecided: tuple[GateOutcome, ...] = ()  #: those for which a person decides, see `gates.undecided`
    n_labelled_traffic: int | None = None  #: archived requests with a true label that it was trained on
    soft_labels: str = "online"  #: or "offline"
    training: tuple[TrainedEpoch, ...] = ()  #: of the candidate
    training_seconds: float | None = None  #: of the attempt that ended the training; None: it was not timed


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The decision on the job's candidate, and its reason."""

    decision: JobDecision
    reason: str


def settle(
    engine: Engine,
    lease: Lease,
    job: Job,
    proof: Proof,
    audience: Audience,
    *,
    promote: Promote,
    now: datetime,
) -> Settled:
    """Promote, hold or reject the candidate, or begin its shadow.

    It is held if another student has come into service since the job was ordered: the candidate was not
    compared with that one, which a person may have chosen. It is also held if gates are `undecided`, and in
    place of a shadow if true labels decided for it against the teacher, whose answers a shadow is judged by.

    Raises:
        LeaseLostError: another worker has the job; nothing was written.
        JobNotWantedError: the job was cancelled or has ended; nothing was written.
    """
    with writing(engine) as connection:
        queue.lock_for_write(connection, job, lease)
        settled = _decide(proof, promote, newcomer=_newcomer(connection, job))
        versions.record(connection, proof.candidate, now)
        versions.add_evaluations(connection, proof.candidate, job.job_id, proof.candidate_evaluations)
        versions.add_evaluations(connection, proof.incumbent, job.job_id, proof.incumbent_evaluations)
        versions.add_gate_outcomes(connection, job.job_id, proof.gates)
        versions.add_training(connection, job.job_id, proof.training)
        calibrations.add(
            connection, job.monitor, proof.calibration, CalibrationReason.JOB, now, job_id=job.job_id
        )
        if settled.decision is JobDecision.PROMOTED:
            versions.promote(connection, proof.candidate, PromotionReason.GATES_PASSED, now)
        if settled.decision is JobDecision.SHADOWED:
            shadow_runs.start(connection, job, proof.candidate.version, now)
        queue.finish(
            connection,
            job,
            _STATUS[settled.decision],
            now=now,
            candidate_version=proof.candidate.version,
            decision=settled.decision,
            reason=settled.reason,
            n_labelled_traffic=proof.n_labelled_traffic,
            soft_labels=proof.soft_labels,
        )
        if proof.training_seconds is not None:
            counts.add(connection, job.monitor, observed("training_seconds", proof.training_seconds))
        report_job_end(
            connection,
            job,
            _STATUS[settled.decision],
            settled.reason,
            audience,
            now=now,
            gates=proof.gates,
            evaluations=proof.candidate_evaluations,
        )
    return settled


def _newcomer(connection: Connection, job: Job) -> str | None:
    """Return the student in service, with its reason, if it is not the one that the job started from."""
    versions.lock_promotions(connection, job.monitor, Role.STUDENT)
    current = versions.current(connection, job.monitor, Role.STUDENT)
    if current is None or current.version == job.student_version:
        return None
    return f"{current.version[:12]} ({versions.current_reason(connection, job.monitor, Role.STUDENT)})"


def _decide(proof: Proof, promote: Promote, *, newcomer: str | None) -> Settled:
    if not gates.passed(proof.gates):
        return Settled(decision=JobDecision.REJECTED, reason=_reason(proof.gates, GateResult.FAIL))
    reason = _reason(proof.gates, GateResult.PASS)
    if any(each.result is GateResult.IMPROVES for each in proof.gates):
        reason = f"{_NOT_CURED}; {reason}"
    if proof.undecided:
        names = ", ".join(f"{each.gate} ({each.dataset})" for each in proof.undecided)
        reason = f"held: the test data do not decide on {names}; {reason}"
    if newcomer is not None:
        reason = f"held: the student {newcomer} has come into service since the job was ordered; {reason}"
    without_shadow = promote == "shadow" and any(each.result is GateResult.REPORTED for each in proof.gates)
    if without_shadow:
        reason = f"held: {_NO_SHADOW}; {reason}"
    if promote == "manual" or newcomer is not None or proof.undecided or without_shadow:
        return Settled(decision=JobDecision.HELD, reason=reason)
    decision = JobDecision.SHADOWED if promote == "shadow" else JobDecision.PROMOTED
    return Settled(decision=decision, reason=reason)


def _reason(outcomes: Sequence[GateOutcome], decisive: GateResult) -> str:
    """Return the names and numbers of the decisive gates, followed by those that decide nothing."""
    described = (
        (result, [_describe(outcome) for outcome in outcomes if outcome.result is result])
        for result in (decisive, *_OTHERS)
    )
    return "; ".join(f"{_WORDS[result]}: {', '.join(each)}" for result, each in described if each)


def _describe(outcome: GateOutcome) -> str:
    numbers = f"{outcome.gate} ({outcome.dataset}) {outcome.value:.4g} against {outcome.threshold:.4g}"
    if outcome.result is GateResult.PASS:
        return numbers
    if outcome.incumbent_value is not None:
        numbers = f"{numbers}, incumbent {outcome.incumbent_value:.4g}"
    return f"{numbers} ({outcome.detail})" if outcome.detail and outcome.result in _EXPLAINED else numbers
