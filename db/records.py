"""What is remembered, as frozen values. Times are aware UTC; shares are in [0, 1]; KL is in nats."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class CycleStatus(StrEnum):
    """How far a slot has come."""

    RUNNING = "running"  #: claimed; its process holds the monitor's lease or died
    EVALUATED = "evaluated"  #: measured and judged healthy or breached
    INCONCLUSIVE = "inconclusive"  #: ended without evidence enough for a judgement
    FAILED = "failed"  #: an error ended the last attempt; see `error`
    SKIPPED = "skipped"  #: fell due longer ago than `catch_up`; never run to its end


class Verdict(StrEnum):
    """What a finished cycle says about the student."""

    HEALTHY = "healthy"  #: evidence enough, and no rule is on its wrong side
    BREACHED = "breached"  #: evidence enough, and at least one rule is on its wrong side
    INCONCLUSIVE = "inconclusive"  #: no evidence, so neither healthy nor breached
    FAILED = "failed"  #: no result at all


class VerdictReason(StrEnum):
    """Why the verdict is what it is."""

    WITHIN_RULES = "within_rules"  #: no rule breached
    RULE_BREACHED = "rule_breached"  #: a rule is on its wrong side, but none has fired
    RULE_FIRED = "rule_fired"  #: a rule has been on its wrong side for its `for_cycles`
    TOO_FEW_SAMPLES = "too_few_samples"  #: fewer scored requests than `min_samples`
    TOO_MANY_REJECTS = "too_many_rejects"  #: a larger share of rejects than `max_reject_share`
    ERROR = "error"  #: the cycle failed
    TOO_OLD = "too_old"  #: the slot was older than `catch_up`


class OutcomeReason(StrEnum):
    """Why a rule did or did not fire at a cycle."""

    WITHIN = "within"  #: the value is on the right side (a tie is)
    BREACHED = "breached"  #: on the wrong side, not yet for `for_cycles` cycles
    FIRED = "fired"  #: on the wrong side for at least `for_cycles` evaluated cycles in a row
    NOT_EVALUATED = "not_evaluated"  #: the cycle was inconclusive or missing; the streak stands
    STREAK_EXPIRED = "streak_expired"  #: the third or later such cycle in a row; the streak is 0


class RejectReason(StrEnum):
    """Why a traffic record could not be used."""

    NOT_UTF8 = "not_utf8"  #: the line is not UTF-8
    NOT_JSON = "not_json"  #: the line is not a JSON object
    NOT_CAPTURE = "not_capture"  #: JSON, but no line of SageMaker Data Capture, or its data is undecodable
    NO_ID = "no_id"  #: the id is absent, null, empty or not a string or integer
    NO_TIME = "no_time"  #: the time is absent or null
    BAD_TIME = "bad_time"  #: the time is not an RFC 3339 time with an offset, nor epoch seconds
    NO_TEXT = "no_text"  #: the text is absent or null
    TEXT_NOT_STRING = "text_not_string"  #: the text is a number, a list, …
    TEXT_EMPTY = "text_empty"  #: the text is empty or white space only
    TEXT_TOO_LONG = "text_too_long"  #: the text has more than `max_text_chars` characters
    UNKNOWN_LABEL = "unknown_label"  #: `student_label` is none of the models' labels
    BAD_LOGITS = "bad_logits"  #: `student_logits` has the wrong length or is not finite
    TRUNCATED_OBJECT = "truncated_object"  #: a compressed object ends early; its whole lines count
    UNREADABLE_OBJECT = "unreadable_object"  #: the object could not be opened or decompressed
    OVERSIZED_OBJECT = "oversized_object"  #: more than `max_object_bytes`; the lines before that count
    OUTSIDE_WINDOW = "outside_window"  #: a good record of another window; not in `n_rejected`
    LATE_OBJECT = "late_object"  #: an object, written after its window was read; not in `n_rejected`


class JobStatus(StrEnum):
    """The life of a re-distillation job."""

    QUEUED = "queued"  #: waits for a worker
    RUNNING = "running"  #: a worker holds its lease, or died and the lease will expire
    SUCCEEDED = "succeeded"  #: a candidate passed the gates (see the decision)
    REJECTED = "rejected"  #: a candidate was made and failed a gate
    FAILED = "failed"  #: no candidate after `max_attempts` attempts, or an error that a retry cannot mend
    CANCELLED = "cancelled"  #: a person called it off


class JobDecision(StrEnum):
    """What became of a job's candidate."""

    PROMOTED = "promoted"  #: it is the student now
    HELD = "held"  #: it passed, and `promote = "manual"`: a person promotes it
    REJECTED = "rejected"  #: a gate failed


class OrderReason(StrEnum):
    """Why a fired rule did or did not order a job."""

    ORDERED = "ordered"  #: a job with a lower alpha was queued
    JOB_OPEN = "job_open"  #: a job is queued or running, or its candidate is held for a person
    COOLDOWN = "cooldown"  #: the last job ended less than `cooldown` ago
    NOT_LATEST = "not_latest"  #: a later cycle is already judged, or the student has been replaced since
    AT_FLOOR = "at_floor"  #: alpha cannot be lowered without passing `alpha_floor`
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"  #: `max_attempts` candidates in a row have failed
    NOT_WANTED = "not_wanted"  #: no rule with the action `redistill` has fired


class IncidentKind(StrEnum):
    """What the on-call is paged about."""

    DRIFT = "drift"  #: a rule fired
    RETRAIN_TEACHER = "retrain-teacher"  #: re-distillation cannot help any more
    BLIND = "blind"  #: three or more cycles in a row were inconclusive, failed or skipped


class IncidentState(StrEnum):
    """Where an incident stands."""

    FIRING = "firing"  #: open
    RESOLVED = "resolved"  #: closed by an evaluated healthy cycle (blind: by any evaluated one)


class Severity(StrEnum):
    """How loud an incident is, in PagerDuty's words."""

    INFO = "info"  #: for the record
    WARNING = "warning"  #: look at it today
    ERROR = "error"  #: look at it now
    CRITICAL = "critical"  #: a person must act


class DeliveryState(StrEnum):
    """Where a message in the outbox stands."""

    PENDING = "pending"  #: to be sent at `next_attempt_at`
    DELIVERED = "delivered"  #: the channel has accepted it
    DEAD = "dead"  #: refused for good, or out of attempts


class Role(StrEnum):
    """What a model version is to its monitor."""

    TEACHER = "teacher"  #: the larger model that is the reference
    STUDENT = "student"  #: a served, formerly served or candidate small model


class PromotionReason(StrEnum):
    """Why a version became the current one."""

    CONFIGURED = "configured"  #: the configuration named it, and it was new there
    GATES_PASSED = "gates_passed"  #: a job's candidate, promoted by the worker
    MANUAL = "manual"  #: a person promoted it
    ROLLBACK = "rollback"  #: a person went back to it


class GateResult(StrEnum):
    """What a gate says about a candidate."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password  #: on the right side, or a tie
    FAIL = "fail"  #: on the wrong side


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
    share: float
    agreement: Interval
    kl: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one sample says about the distance between teacher and student."""

    n: int
    disagreements: int
    agreement: Interval
    kl: Interval
    kl_p50: float
    kl_p95: float
    kl_p99: float
    kl_t1: float
    js: float
    per_label: tuple[LabelMeasurement, ...]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What was found in a window before scoring."""

    n_seen: int  #: distinct usable requests of the window
    n_sampled: int
    n_rejected: int  #: unusable records of the window (`outside_window` and `late_object` are not counted)
    rejects: tuple[Reject, ...]
    objects: tuple[ObjectVersion, ...] = ()  #: that were read for it, where their versions are kept


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Where a cycle's sample lies."""

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
class CyclePoint:
    """One cycle as the rules see it. Values are None unless the cycle was evaluated."""

    window_end: datetime
    status: CycleStatus
    teacher_version: str | None = None
    student_version: str | None = None
    n: int | None = None
    disagreements: int | None = None
    kl: float | None = None
    kl_t1: float | None = None
    js: float | None = None


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
