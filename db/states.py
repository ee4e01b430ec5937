"""The states that things can be in, and the reasons for decisions: their values in SQL, JSON and logs."""

from enum import StrEnum


class CycleStatus(StrEnum):
    """How far a slot has come."""

    RUNNING = "running"  #: claimed; its process holds the monitor's lease or died
    EVALUATED = "evaluated"  #: measured and judged healthy or breached
    INCONCLUSIVE = "inconclusive"  #: ended without a verdict: not enough evidence, or no evaluated rule
    FAILED = "failed"  #: an error ended the last attempt; see `error`
    SKIPPED = "skipped"  #: fell due longer ago than `catch_up`; never run to its end


class Verdict(StrEnum):
    """What a finished cycle says about the student."""

    HEALTHY = "healthy"  #: evidence enough, and no rule is on its wrong side
    BREACHED = "breached"  #: evidence enough, and at least one rule is on its wrong side
    INCONCLUSIVE = "inconclusive"  #: not enough evidence, or no evaluated rule: neither of the two
    FAILED = "failed"  #: no result at all


class VerdictReason(StrEnum):
    """Why the verdict is what it is."""

    WITHIN_RULES = "within_rules"  #: no rule breached
    RULE_BREACHED = "rule_breached"  #: a rule is on its wrong side, but none has fired
    RULE_FIRED = "rule_fired"  #: a rule has been on its wrong side for its `for_cycles`
    TOO_FEW_SAMPLES = "too_few_samples"  #: fewer scored requests than `min_samples`
    TOO_MANY_REJECTS = "too_many_rejects"  #: a larger share of rejects than `max_reject_share`
    TEACHER_UNHEALTHY = "teacher_unhealthy"  #: the teacher's own numbers are out of bounds
    NO_RULE_EVALUATED = "no_rule_evaluated"  #: there is no rule about the student that could be evaluated
    ERROR = "error"  #: the cycle failed
    TOO_OLD = "too_old"  #: the slot was older than `catch_up`


class TeacherHealth(StrEnum):
    """What a cycle says about the teacher."""

    HEALTHY = "healthy"  #: within the bounds of its own reference cycles
    UNHEALTHY = "unhealthy"  #: out of bounds: there is no verdict about the student
    CHANGED = "changed"  #: a new version without a whole reference of its own; nothing speaks against it
    UNKNOWN = "unknown"  #: nothing to compare with, or no evidence enough


class TeacherReason(StrEnum):
    """Why the teacher's health is what it is; of several faults the first."""

    WITHIN = "within"  #: every number is within its bound
    NO_EVIDENCE = "no_evidence"  #: too few scored requests, or too many rejects
    NO_REFERENCE = "no_reference"  #: the first teacher, in its first `reference_cycles` evaluated cycles
    NEW_VERSION = "new_version"  #: another teacher than before, in its first `reference_cycles`
    ACCURACY_LOW = "accuracy_low"  #: by true labels it is right less often than `min_accuracy`
    CONFIDENCE_FALLEN = "confidence_fallen"  #: its mean confidence is lower by more than `confidence_fall`
    ENTROPY_RISEN = "entropy_risen"  #: its mean entropy is higher by more than `entropy_rise`
    LABELS_MOVED = "labels_moved"  #: its labels have another mix, which traffic does not explain
    CONTRADICTS = "contradicts"  #: new, and against the student on most requests, overall or of a label


class OutcomeReason(StrEnum):
    """Why a rule did or did not fire at a cycle."""

    WITHIN = "within"  #: the value is on the right side (a tie is), or the evidence is not enough
    BREACHED = "breached"  #: on the wrong side, not yet for `for_cycles` cycles
    FIRED = "fired"  #: on the wrong side for at least `for_cycles` evaluated cycles, or by the evidence
    COOLDOWN = "cooldown"  #: it would fire, but did so less than its `cooldown` ago
    NOT_EVALUATED = "not_evaluated"  #: the cycle was inconclusive or missing; the streak stands
    STREAK_EXPIRED = "streak_expired"  #: the third or later such cycle in a row; the streak is 0


class LabelOutcome(StrEnum):
    """Who is right about a request whose true label is known."""

    BOTH_RIGHT = "both_right"  #: they agree, on the true label
    SAME_ERROR = "same_error"  #: they agree, on another label
    TEACHER_RIGHT = "teacher_right"  #: they disagree, and the teacher gives the true label
    STUDENT_RIGHT = "student_right"  #: they disagree, and the student gives the true label
    BOTH_WRONG = "both_wrong"  #: they disagree, and neither gives the true label
    OUT_OF_SCOPE = "out_of_scope"  #: they disagree, and the true label is none of the models' labels


class LabelFinding(StrEnum):
    """What true labels say about lowering alpha, which is less weight on the teacher."""

    CAN_HELP = "can_help"  #: where the two disagree, labels correct the student more often than not
    TEACHER_AT_FAULT = "teacher_at_fault"  #: the student is right more often than the teacher
    UNDECIDED = "undecided"  #: too few labelled disagreements to tell


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


class JobRecovery(StrEnum):
    """Whether a job's candidate has ended the drift, once it served."""

    RECOVERED = "recovered"  #: a healthy cycle came within `watch_cycles`
    NOT_RECOVERED = "not_recovered"  #: none did: the job counts as a failed attempt


class MessageFate(StrEnum):
    """What a worker makes of a message that calls it to a job; the job's row decides."""

    WANTED = "wanted"  #: its job is queued, or its worker is gone: the worker looks for it at once
    ALREADY_RUNNING = "already_running"  #: late or doubled: a worker has taken the job
    ALREADY_ENDED = "already_ended"  #: late or doubled: the job has ended
    NOT_JSON = "not_json"  #: forged: the body is no JSON object
    OTHER_SCHEMA = "other_schema"  #: forged, or of another version: it is no `redistill.job/1`
    OTHER_MONITOR = "other_monitor"  #: it names a monitor that this worker does not serve
    UNKNOWN_JOB = "unknown_job"  #: forged, or older than the database: there is no such row
    FIELDS_DIFFER = "fields_differ"  #: forged: the row of its job says something else


class TaskState(StrEnum):
    """How far a worker's task has come, which the daemon starts in ECS."""

    ASKED = "asked"  #: ECS is being asked for it, or the daemon that asked has died
    STARTED = "started"  #: ECS has taken it on, and it has not stopped, as far as one knows
    ENDED = "ended"  #: nothing is expected of it any more; see the reason


class TaskEnd(StrEnum):
    """Why nothing is expected of a worker's task any more."""

    UNANSWERED = "unanswered"  #: no answer came, so it may have started: ECS is asked under the same token
    THROTTLED = "throttled"  #: AWS takes no more calls for now
    NO_CAPACITY = "no_capacity"  #: no room for it now, on the cluster, in Fargate or under a quota
    FORBIDDEN = "forbidden"  #: the daemon has no right to start it, or no credentials
    REFUSED = "refused"  #: ECS cannot start it as it is configured
    NOT_STARTED = "not_started"  #: its container never ran: image, secrets, network or disk
    OUT_OF_MEMORY = "out_of_memory"  #: its container was killed, as it needed more memory than it has
    EXITED = "exited"  #: its container ended with another exit code than 0
    IDLE = "idle"  #: its container ended well and did not have the job: another worker did, or it saw none
    RECLAIMED = "reclaimed"  #: its machine was taken away: a spot interruption, or a fault of it
    STOPPED = "stopped"  #: a person or a program stopped it
    OVERDUE = "overdue"  #: it has not taken the job for half an hour; ECS is asked to stop it
    WORKER_GONE = "worker_gone"  #: the worker of its job is gone, while ECS says it runs; it is told to stop
    MISSING = "missing"  #: ECS does not know it, or not any more
    JOB_ENDED = "job_ended"  #: the job has ended; a task that comes too late finds none and ends by itself


class OrderReason(StrEnum):
    """Why a fired rule did or did not order a job."""

    ORDERED = "ordered"  #: a job with a lower alpha was queued
    JOB_OPEN = "job_open"  #: a job is queued or running, or its candidate is held for a person
    COOLDOWN = "cooldown"  #: the last job ended less than `cooldown` ago
    WATCHING = "watching"  #: the last candidate serves, for fewer than `watch_cycles` evaluated cycles
    NOT_LATEST = "not_latest"  #: a later cycle is judged or awaits its verdict, or another student serves
    TEACHER_CHANGED = "teacher_changed"  #: the teacher is new, and no rule on a divergence has fired
    AT_FLOOR = "at_floor"  #: alpha cannot be lowered without passing `alpha_floor`
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"  #: `max_attempts` jobs in a row have not helped
    NOT_WANTED = "not_wanted"  #: no rule with the action `redistill` has fired


class IncidentKind(StrEnum):
    """What the on-call is paged about."""

    DRIFT = "drift"  #: a rule fired
    RETRAIN_TEACHER = "retrain-teacher"  #: re-distillation cannot help any more
    BLIND = "blind"  #: three or more cycles in a row were inconclusive, failed or skipped
    SERVING_SKEW = "serving-skew"  #: what is served is not what the student answers
    TEACHER_UNHEALTHY = "teacher-unhealthy"  #: the teacher cannot be believed, so nothing is judged
    TEACHER_CHANGED = "teacher-changed"  #: another teacher than before, whose reference is not whole yet
    INPUT_DRIFT = "input-drift"  #: a rule on what users write has fired
    DATA_QUALITY = "data-quality"  #: too large a share of the request log's records is unusable
    CANDIDATE_REJECTED = "candidate-rejected"  #: a candidate failed a gate, or did not help where it served
    JOB_FAILED = "job-failed"  #: a re-distillation came to no candidate
    ALERTS_UNDELIVERED = "alerts-undelivered"  #: a channel has given up a message
    CALIBRATION_OVERDUE = "calibration-overdue"  #: the student has not been calibrated for `calibrate_every`


class IncidentState(StrEnum):
    """Where an incident stands."""

    PENDING = "pending"  #: what it is about is so, but not for long enough; nobody is told
    FIRING = "firing"  #: open
    ACKNOWLEDGED = "acknowledged"  #: open, and a person has taken it
    RESOLVED = "resolved"  #: what shows its end differs by kind


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
    NOT_RECOVERED = "not_recovered"  #: the one that followed it did not end the drift: `rollback = "auto"`


class CalibrationReason(StrEnum):
    """Why a student was calibrated."""

    JOB = "job"  #: it is a job's candidate
    DUE = "due"  #: it serves, and had not been for nine tenths of `calibrate_every`, or never
    MANUAL = "manual"  #: a person asked for it


class GateResult(StrEnum):
    """What a gate says about a candidate."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password  #: on the right side, or a tie
    WAIVED = "waived"  #: on the wrong side, as the incumbent is, and no worse: it rejects nobody
    FAIL = "fail"  #: on the wrong side, and worse than the incumbent, or that one is on the right side
