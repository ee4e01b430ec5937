"""Re-distillation jobs, the evaluations of their models, and the gates' results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.records.intervals import Interval
from db.states import GateResult, JobDecision, JobRecovery, JobStatus, Role, TaskEnd, TaskState


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A re-distillation job that is about to be queued."""

    monitor: str
    cycle_id: int | None  #: None if a person ordered it
    rule: str | None
    reason: str
    teacher_version: str
    student_version: str
    alpha_from: Decimal
    alpha_to: Decimal
    temperature: float
    #: JSON: the evidence from true labels (see triggers/teacher/label_evidence.py); None: there is none.
    evidence: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A re-distillation job as stored in its row."""

    job_id: int
    monitor: str
    cycle_id: int | None
    rule: str | None
    reason: str
    teacher_version: str
    student_version: str
    alpha_from: Decimal
    alpha_to: Decimal
    temperature: float
    status: JobStatus
    attempt: int
    enqueued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    candidate_version: str | None
    decision: JobDecision | None
    decision_reason: str | None
    recovery: JobRecovery | None = None  #: None: not known yet, or its candidate never served
    error: str | None = None  #: what ended the last failed attempt, or keeps a worker from starting


@dataclass(frozen=True, kw_only=True)
class WorkerTask:
    """An ECS task that was started, or requested, to run a job's worker."""

    task_id: int
    job_id: int
    token: str
    turn: int  #: the fencing token of the job's lease at the time of the request
    state: TaskState
    arn: str | None  #: None: not reported by ECS
    cluster: str | None
    last_status: str | None  #: as reported by ECS
    asked_at: datetime
    started_at: datetime | None
    looked_at: datetime | None
    ended_at: datetime | None
    reason: TaskEnd | None
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of one model on one data set, with its 95% interval."""

    name: str
    value: float
    low: float
    high: float
    n: int
    spread: float = 0.0  #: the range of a bound over seeds; 0 if no seed is used

    @classmethod
    def of(cls, name: str, interval: Interval, n: int) -> "Metric":
        """Return a metric with the interval's estimate and bounds."""
        return cls(name=name, value=interval.estimate, low=interval.low, high=interval.high, n=n)

    @classmethod
    def over_seeds(cls, name: str, intervals: Sequence[Interval], n: int) -> "Metric":
        """Return a metric whose bounds are the means over the seeds' intervals."""
        ends = [[each.low for each in intervals], [each.high for each in intervals]]
        low, high = (math.fsum(each) / len(intervals) for each in ends)
        spread = max(max(each) - min(each) for each in ends)
        return cls(name=name, value=intervals[0].estimate, low=low, high=high, n=n, spread=spread)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All metrics of one model version on one data set."""

    dataset: str  #: "test" or "condemned"
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, kw_only=True)
class GateOutcome:
    """The result of one gate for a candidate."""

    gate: str
    dataset: str
    value: float
    threshold: float
    result: GateResult
    metric: str | None = None  #: the value's name in the evaluations; None: the gate's name
    incumbent_value: float | None = None  #: of the same metric; None: not measured
    detail: str | None = None  #: how the value was measured, if relevant


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A model directory, named by the SHA-256 of its files."""

    monitor: str
    version: str
    role: Role
    uri: str
    parent_version: str | None = None
    job_id: int | None = None
    alpha: Decimal | None = None
    temperature: float | None = None
