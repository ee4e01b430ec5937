"""What is remembered, as frozen values. Times are aware UTC; shares are in [0, 1]; KL is in nats."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from db.states import (
    CycleStatus,
    GateResult,
    IncidentKind,
    IncidentState,
    JobDecision,
    JobStatus,
    LabelOutcome,
    OutcomeReason,
    RejectReason,
    Role,
    Severity,
)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval. All three are NaN when there was nothing to estimate."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write for `name`, good while no one has a higher `token`."""

    name: str
    owner: str
    token: int


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One window of one monitor: records with window_start <= time < window_end."""

    monitor: str
    window_start: datetime
    window_end: datetime


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A slot that this process may run now."""

    cycle_id: int
    slot: Slot
    attempt: int
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class Reject:
    """How many records of one window were refused for one reason."""

    reason: RejectReason
    n: int
    example_hash: str  #: SHA-256 of the first example's bytes; the text itself is never kept
    example_object: str  #: the object (file) that it came from


@dataclass(frozen=True, kw_only=True)
class ObjectVersion:
    """An object of the request log as it was read: with other contents it is another version."""

    name: str
    version: str  #: the ETag, in S3


@dataclass(frozen=True, kw_only=True)
class LabelMeasurement:
    """One label's requests, grouped by the teacher's top-1 label."""

    label: str
    n: int
    share: float  #: of the window
    agreement: Interval
    kl: float


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """The requests of a window to which the student gave one label, as its log recorded it."""

    label: str | None  #: None: no label was recorded
    n_seen: int  #: distinct usable requests of the window
    n: int  #: of them in the sample


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Whether the answers that a log recorded are those that the student gives."""

    n_recorded: int  #: sampled requests whose logits the log has
    n_rescored: int  #: of them scored by the student too
    skew: Interval | None  #: the share with another first label; None if none was scored again


@dataclass(frozen=True, kw_only=True)
class OutcomeTally:
    """The labelled requests about which the same one is right."""

    outcome: LabelOutcome
    n: int
    weight: float  #: the sum of what they stand for
    squares: float  #: the sum of the squares of that


@dataclass(frozen=True, kw_only=True)
class Correctness:
    """Who is right, of the requests whose true label is known; each counts as what it stands for."""

    n_labelled: int
    n_disagreements: int  #: of them with different top-1 labels
    n_out_of_scope: int  #: of the disagreements, those whose true label the models do not know
    teacher_right: Interval  #: shares of the disagreements; the three add up to 1
    student_right: Interval
    both_wrong: Interval  #: those out of scope among them
    teacher_accuracy: Interval  #: shares of all labelled requests
    student_accuracy: Interval
    tallies: tuple[OutcomeTally, ...]  #: what all of it was computed from; one for each outcome, in order


@dataclass(frozen=True, kw_only=True)
class TeacherMeasurement:
    """What one sample says about the teacher by itself, in the whole window, at T = 1."""

    confidence: Interval  #: mean probability of its first label
    entropy: Interval  #: mean entropy over the labels, in nats
    n_effective: float  #: requests of a uniform sample that would be as sure of a share
    label_gap: float  #: Jensen-Shannon divergence of its mix of labels from the student's, in nats


@dataclass(frozen=True, kw_only=True)
class InputDrift:
    """How the requests of a window differ from those of its reference: an earlier, healthy window."""

    reference_cycle_id: int
    n: int  #: texts of the window that were compared
    n_reference: int  #: texts of the reference
    accuracy: float  #: of a classifier that tells the two apart, in [0, 1]; 0.5: not at all
    p_value: float  #: how often as much comes of chance
    psi: Interval  #: of the teacher's labels: their population stability index, nats
    js: Interval  #: their Jensen-Shannon divergence, nats


@dataclass(frozen=True, kw_only=True)
class Move:
    """A label whose share of the requests has changed."""

    label: str  #: the teacher's
    then: float  #: its share of the reference
    now: float  #: its share of the window


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one sample says about the distance between teacher and student, in the whole window."""

    n: int
    disagreements: int
    agreement: Interval
    exact_agreement: Fraction | None  #: the same; None of no requests
    kl: Interval
    kl_p50: float
    kl_p95: float
    kl_p99: float
    kl_t1: float
    js: float
    per_label: tuple[LabelMeasurement, ...]
    by_stratum: tuple[int, ...]  #: disagreements in each stratum
    teacher: TeacherMeasurement
    kl_values: tuple[float, ...] = ()  #: of each request; not stored
    weights: tuple[float, ...] = ()  #: how much of the window each stands for; 1 in the mean
    serving: Serving | None = None  #: None where recorded answers are not used
    correctness: Correctness | None = None  #: None where the log has no true labels
    input_drift: InputDrift | None = None  #: None without a reference


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What was found in a window before scoring."""

    n_seen: int  #: distinct usable requests of the window
    n_sampled: int
    n_rejected: int  #: unusable records of the window (`outside_window` and `late_object` are not counted)
    rejects: tuple[Reject, ...]
    objects: tuple[ObjectVersion, ...] = ()  #: that were read for it, where their versions are kept
    strata: tuple[Stratum, ...] = ()  #: those that have requests


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Where a cycle's sample lies."""

    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ArchivedCycle:
    """A cycle whose sample was archived; the file may have expired."""

    cycle_id: int
    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CycleResult:
    """Everything a cycle measured; what it means is decided in `triggers`."""

    traffic: Traffic
    measurement: Measurement | None  #: None when nothing was sampled
    archive: Archive | None
    teacher_version: str
    student_version: str
    alpha: Decimal | None  #: the alpha that the student was distilled with, if known
    temperature: float


@dataclass(frozen=True, kw_only=True)
class StratumCount:
    """How many requests of a stratum were scored, and what came of them."""

    n_seen: int  #: distinct usable requests of the window
    n: int  #: of them in the sample
    disagreements: int


@dataclass(frozen=True, kw_only=True)
class CyclePoint:
    """One cycle as the rules see it. Values are None unless the cycle was evaluated."""

    window_end: datetime
    status: CycleStatus
    teacher_version: str | None = None
    student_version: str | None = None
    n: int | None = None
    disagreements: int | None = None
    agreement: Fraction | None = None  #: where requests of one sample stand for more and for fewer
    kl: float | None = None
    kl_t1: float | None = None
    js: float | None = None
    serving_skew: float | None = None
    input_drift: float | None = None  #: the classifier's accuracy
    intervals: Mapping[str, Interval] = field(default_factory=dict)  #: by metric, of those that have one
    labels: Mapping[str, LabelMeasurement] = field(default_factory=dict)  #: by the teacher's label
    strata: tuple[StratumCount, ...] = ()  #: none: the sample is uniform, of a window of unknown size
    gains: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  #: on each level of kl, in logs
    kl_values: tuple[float, ...] = ()  #: of each request of a uniform sample, where they are at hand


@dataclass(frozen=True, kw_only=True)
class TeacherPoint:
    """One cycle as the teacher's health is judged by it."""

    measured: TeacherMeasurement
    agreement: Interval  #: with the student
    labels: Mapping[str, LabelMeasurement]  #: by the teacher's label
    correctness: Correctness | None = None  #: by the true labels that the log had


@dataclass(frozen=True, kw_only=True)
class KnownTeacher:
    """What is known of a teacher before a cycle of its own."""

    version: str
    predecessor: str | None  #: whom it follows, as long as its own reference is not whole
    reference: tuple[TeacherPoint, ...]  #: its first cycles; as long as they are too few, another's
    reference_version: str | None  #: whose cycles those are; None: there are none
    labelled: tuple[Correctness, ...] = ()  #: who was right in its newest cycles with true labels


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """What one rule says at one cycle (the words are defined in docs/metrics.md)."""

    window_end: datetime
    rule: str
    metric: str
    value: float | None
    threshold: float
    breached: bool
    streak: int
    fired: bool
    reason: OutcomeReason
    statistic: float | None = None  #: of a sequential rule: the log of its evidence
    rule_version: str = ""  #: SHA-256 of the rule's text
    side: str = field(default="", compare=False)  #: below or above; empty of a group; not stored


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """An order for a re-distillation."""

    monitor: str
    cycle_id: int | None  #: None when a person ordered it
    rule: str | None
    reason: str
    teacher_version: str
    student_version: str
    alpha_from: Decimal
    alpha_to: Decimal
    temperature: float
    evidence: str | None = None  #: JSON: what true labels say (see triggers/label_evidence.py); None: none


@dataclass(frozen=True, kw_only=True)
class Job:
    """A re-distillation job as it stands."""

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


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that a person is told about until it is over."""

    incident_id: int
    monitor: str
    kind: IncidentKind
    severity: Severity
    state: IncidentState
    summary: str
    opened_at: datetime
    resolved_at: datetime | None
    cycle_id: int | None
    job_id: int | None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message of the outbox, due for one channel."""

    delivery_id: int
    incident_id: int
    channel: str
    event: IncidentState
    dedup_key: str  #: the same for all messages of one incident
    payload: str  #: JSON text, schema `redistill.incident/1`
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of one model on one data set, with its 95% interval."""

    name: str
    value: float
    low: float
    high: float
    n: int
    spread: float = 0.0  #: how far apart a bound lies by different seeds; 0 of bounds that are not drawn

    @classmethod
    def of(cls, name: str, interval: Interval, n: int) -> "Metric":
        """The metric with that estimate and those bounds."""
        return cls(name=name, value=interval.estimate, low=interval.low, high=interval.high, n=n)

    @classmethod
    def over_seeds(cls, name: str, intervals: Sequence[Interval], n: int) -> "Metric":
        """The metric whose bounds are the means of those that each seed gave."""
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
    """What one gate says about a candidate."""

    gate: str
    dataset: str
    value: float
    threshold: float
    result: GateResult


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
