"""The states that things can be in, and the reasons for decisions: their values in SQL, JSON and logs."""

from enum import StrEnum


class CycleStatus(StrEnum):
    """The progress of a slot."""

    RUNNING = "running"  #: claimed; its process holds the monitor's lease or has died
    EVALUATED = "evaluated"  #: measured, and judged healthy or breached
    INCONCLUSIVE = "inconclusive"  #: ended without a verdict: not enough evidence, or no rule was evaluated
    FAILED = "failed"  #: the last attempt ended in an error; see `error`
    SKIPPED = "skipped"  #: fell due longer ago than `catch_up`; never completed


class Verdict(StrEnum):
    """The verdict of a finished cycle on the student."""

    HEALTHY = "healthy"  #: enough evidence, and no rule about the student is breached
    BREACHED = "breached"  #: enough evidence, and at least one rule about the student is breached
    INCONCLUSIVE = "inconclusive"  #: neither: not enough evidence, or no rule was evaluated
    FAILED = "failed"  #: the cycle has no result


class VerdictReason(StrEnum):
    """The reason of a verdict."""

    WITHIN_RULES = "within_rules"  #: no rule is breached
    RULE_BREACHED = "rule_breached"  #: at least one rule is breached, and none has fired
    RULE_FIRED = "rule_fired"  #: at least one rule has fired
    TOO_FEW_SAMPLES = "too_few_samples"  #: fewer scored requests than `min_samples`
    TOO_MANY_REJECTS = "too_many_rejects"  #: the share of rejects is above `max_reject_share`
    TEACHER_UNHEALTHY = "teacher_unhealthy"  #: the teacher's own numbers are out of bounds
    NO_RULE_EVALUATED = "no_rule_evaluated"  #: no rule about the student could be evaluated
    QUIET = "quiet"  #: fewer requests than `min_samples` so far: the window is judged with the next slots
    ERROR = "error"  #: the cycle failed
    TOO_OLD = "too_old"  #: the slot was older than `catch_up`


class TeacherHealth(StrEnum):
    """The health of the teacher at a cycle."""

    HEALTHY = "healthy"  #: within the bounds of its own reference cycles
    UNHEALTHY = "unhealthy"  #: out of bounds: there is no verdict on the student
    CHANGED = "changed"  #: a new version without faults, whose own reference is not complete yet
    UNKNOWN = "unknown"  #: nothing to compare with, or not enough evidence


class TeacherReason(StrEnum):
    """The reason of the teacher's health; of several faults, the first."""

    WITHIN = "within"  #: every number is within its bound
    NO_EVIDENCE = "no_evidence"  #: too few scored requests, or too many rejects
    NO_REFERENCE = "no_reference"  #: the first teacher, in its first `reference_cycles` evaluated cycles
    NEW_VERSION = "new_version"  #: a new teacher, in its first `reference_cycles`
    ACCURACY_LOW = "accuracy_low"  #: its accuracy by true labels is below `min_accuracy`
    CONFIDENCE_FALLEN = "confidence_fallen"  #: its mean confidence is lower by more than `confidence_fall`
    ENTROPY_RISEN = "entropy_risen"  #: its mean entropy is higher by more than `entropy_rise`
    LABELS_MOVED = "labels_moved"  #: its mix of labels has changed, and the traffic does not explain it
    CONTRADICTS = "contradicts"  #: new, and contradicts the student on most requests, overall or of a label


class OutcomeReason(StrEnum):
    """The reason why a rule did or did not fire at a cycle."""

    WITHIN = "within"  #: on the right side of the threshold, at it, or not shown to be on the wrong side
    BREACHED = "breached"  #: on the wrong side of the threshold, but not yet for `for_cycles` cycles
    FIRED = "fired"  #: on the wrong side for at least `for_cycles` evaluated cycles, or by the evidence
    COOLDOWN = "cooldown"  #: would fire, but last did so less than its `cooldown` ago
    NOT_EVALUATED = "not_evaluated"  #: the cycle was inconclusive or missing; the streak is unchanged
    STREAK_EXPIRED = "streak_expired"  #: the third or later such cycle in a row; the streak is 0


class LabelOutcome(StrEnum):
    """The model that is right about a request whose true label is known."""

    BOTH_RIGHT = "both_right"  #: both models give the true label
    SAME_ERROR = "same_error"  #: both models give the same label, and it is wrong
    TEACHER_RIGHT = "teacher_right"  #: the models disagree, and the teacher gives the true label
    STUDENT_RIGHT = "student_right"  #: the models disagree, and the student gives the true label
    BOTH_WRONG = "both_wrong"  #: the models disagree, and neither gives the true label
    OUT_OF_SCOPE = "out_of_scope"  #: the models disagree, and the true label is not one of their labels


class AccuracyMethod(StrEnum):
    """The method by which the student's accuracy on traffic is estimated."""

    TEACHER_CONFIDENCE = "teacher_confidence"  #: the calibrated teacher's mean probability of its labels
    PREDICTION_POWERED = "prediction_powered"  #: true labels of some requests, and that probability of all


class AccuracyReason(StrEnum):
    """The reason why an estimate of the student's accuracy is shown or withheld."""

    ENOUGH_LABELS = "enough_labels"  #: shown: 100 or more requests of the sample have true labels
    TEACHER_CALIBRATED = "teacher_calibrated"  #: shown: the teacher's confidence is calibrated
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"  #: withheld: too few requests, or too many rejects
    TEACHER_NOT_CALIBRATED = "teacher_not_calibrated"  #: withheld: no worker has calibrated this teacher yet
    TEACHER_UNHEALTHY = "teacher_unhealthy"  #: withheld: the teacher's own numbers are out of bounds
    CONTRADICTED_BY_LABELS = "contradicted_by_labels"  #: withheld: the newest labels show another accuracy


class LabelFinding(StrEnum):
    """The evidence of true labels on what a student can learn from: its teacher, or labels alone."""

    TEACHER_CAN_TEACH = "teacher_can_teach"  #: where the models disagree, the teacher is mostly right
    LABELS_NEEDED = "labels_needed"  #: where the models disagree, the teacher is mostly wrong
    UNDECIDED = "undecided"  #: too few labelled disagreements to decide


class RejectReason(StrEnum):
    """The reason why a traffic record is unusable."""

    NOT_UTF8 = "not_utf8"  #: the line is not UTF-8
    NOT_JSON = "not_json"  #: the line is not a JSON object
    NOT_CAPTURE = "not_capture"  #: JSON, but not a SageMaker Data Capture line, or its data is undecodable
    NO_ID = "no_id"  #: the id is absent, null, empty, or neither a string nor an integer
    NO_TIME = "no_time"  #: the time is absent or null
    BAD_TIME = "bad_time"  #: the time is neither RFC 3339 with an offset nor epoch seconds
    NO_TEXT = "no_text"  #: the text is absent or null
    TEXT_NOT_STRING = "text_not_string"  #: the text is not a string but a number, a list, …
    TEXT_EMPTY = "text_empty"  #: the text is empty or only white space
    TEXT_TOO_LONG = "text_too_long"  #: the text has more than `max_text_chars` characters
    UNKNOWN_LABEL = "unknown_label"  #: `student_label` is not one of the models' labels
    BAD_LOGITS = "bad_logits"  #: `student_logits` has the wrong length or is not finite
    TRUNCATED_OBJECT = "truncated_object"  #: a compressed object ends early; its complete lines count
    UNREADABLE_OBJECT = "unreadable_object"  #: the object cannot be opened or decompressed, or is an archive
    OVERSIZED_OBJECT = "oversized_object"  #: more than `max_object_bytes`; the lines before the limit count
    REPEATED_ID = "repeated_id"  #: a record whose id occurs more than once in the window; not in `n_rejected`
    OUTSIDE_WINDOW = "outside_window"  #: of another window, in each cycle that reads it; not in `n_rejected`
    UNDATED_OBJECT = "undated_object"  #: without any usable time, modified later; not in `n_rejected`
    LATE_OBJECT = "late_object"  #: an object written after its window was read; not in `n_rejected`


class JobStatus(StrEnum):
    """The life of a re-distillation job."""

    QUEUED = "queued"  #: waiting for a worker
    RUNNING = "running"  #: a worker holds its lease, or has died and the lease will expire
    SUCCEEDED = "succeeded"  #: its candidate passed the gates; see the decision
    REJECTED = "rejected"  #: its candidate failed a gate
    FAILED = "failed"  #: no candidate: out of attempts, no worker started, or an error that no retry fixes
    CANCELLED = "cancelled"  #: a person cancelled it


class JobDecision(StrEnum):
    """The decision on a job's candidate."""

    PROMOTED = "promoted"  #: the candidate became the student in service
    HELD = "held"  #: no gate failed; a person decides, for a reason that `decision_reason` gives
    REJECTED = "rejected"  #: a gate failed, or its shadow was stopped
    SHADOWED = "shadowed"  #: it runs in shadow, or did until its shadow was superseded


class JobRecovery(StrEnum):
    """The outcome of watching a promoted candidate: did it end the drift?"""

    RECOVERED = "recovered"  #: a healthy cycle followed within `watch_cycles`
    NOT_RECOVERED = "not_recovered"  #: no healthy cycle followed: the job counts as a failed attempt


class ShadowState(StrEnum):
    """The state of a candidate's shadow."""

    RUNNING = "running"  #: each evaluated cycle scores the candidate beside the incumbent
    PROMOTED = "promoted"  #: the candidate became the student in service
    STOPPED = "stopped"  #: the candidate was rejected
    SUPERSEDED = "superseded"  #: another promotion or a newer candidate ended it without a decision


class ShadowReason(StrEnum):
    """The reason why a shadow ended."""

    BETTER = "better"  #: the candidate is shown to agree with the teacher more often: promoted
    NO_DIFFERENCE = "no_difference"  #: no difference was shown within `shadow_cycles`: promoted
    WORSE = "worse"  #: the candidate is shown to agree with the teacher less often: stopped
    UNSCORABLE = "unscorable"  #: the candidate could not be scored in three cycles in a row: stopped
    OTHER_STUDENT = "other_student"  #: another student came into service: superseded
    BY_HAND = "by_hand"  #: the candidate was promoted by a person or the configuration: superseded
    NEWER_CANDIDATE = "newer_candidate"  #: a newer job made another candidate: superseded


class MessageFate(StrEnum):
    """A worker's reaction to a message about a job; the job's row decides."""

    WANTED = "wanted"  #: its job is queued, or its worker is gone: a worker looks for it at once
    ALREADY_RUNNING = "already_running"  #: late or duplicated: a worker has claimed the job
    ALREADY_ENDED = "already_ended"  #: late or duplicated: the job has ended
    NOT_JSON = "not_json"  #: forged: the body is not a JSON object
    OTHER_SCHEMA = "other_schema"  #: forged, or of another version: the schema is not `redistill.job/1`
    OTHER_MONITOR = "other_monitor"  #: for a monitor that this worker does not serve
    UNKNOWN_JOB = "unknown_job"  #: forged, or older than the database: there is no such job
    FIELDS_DIFFER = "fields_differ"  #: forged: the job's row has other values


class TaskState(StrEnum):
    """The progress of a worker's task that the daemon started in ECS."""

    ASKED = "asked"  #: ECS is being asked for it, or the daemon that asked has died
    STARTED = "started"  #: ECS has accepted it, and it is not known to have stopped
    ENDED = "ended"  #: no longer followed by the daemon; see the reason


class TaskEnd(StrEnum):
    """The reason why a worker's task is over."""

    UNANSWERED = "unanswered"  #: no answer, so it may have started: ECS is asked again under the same token
    THROTTLED = "throttled"  #: AWS throttles calls at the moment
    NO_CAPACITY = "no_capacity"  #: no capacity now, in the cluster, in Fargate or under a quota
    FORBIDDEN = "forbidden"  #: the daemon has no permission to start it, or no credentials
    REFUSED = "refused"  #: ECS cannot start it as it is configured
    NOT_STARTED = "not_started"  #: its container never ran: image, secrets, network or disk
    OUT_OF_MEMORY = "out_of_memory"  #: its container was killed because it ran out of memory
    EXITED = "exited"  #: its container exited with a code other than 0
    IDLE = "idle"  #: its container exited with 0 and never had the job: another worker had, or it saw none
    RECLAIMED = "reclaimed"  #: its machine was taken away: a spot interruption, or a machine fault
    STOPPED = "stopped"  #: a person or a program stopped it
    OVERDUE = "overdue"  #: it did not claim the job within half an hour; ECS is asked to stop it
    WORKER_GONE = "worker_gone"  #: its job's worker is gone, but ECS reports it as running; it is stopped
    MISSING = "missing"  #: ECS does not know it, or no longer does
    JOB_ENDED = "job_ended"  #: the job has ended; a task that starts too late finds no job and exits


class OrderReason(StrEnum):
    """The reason why a fired rule did or did not order a job."""

    ORDERED = "ordered"  #: a job was queued, with a lower alpha unless `alpha_policy` keeps it
    JOB_OPEN = "job_open"  #: a job is queued or running, or its candidate is held for a person
    COOLDOWN = "cooldown"  #: the last job ended less than `cooldown` ago
    SHADOW = "shadow"  #: the last candidate runs in shadow beside the student in service
    WATCHING = "watching"  #: the last candidate has served for fewer than `watch_cycles` evaluated cycles
    NOT_LATEST = "not_latest"  #: a later cycle is judged or awaits its verdict, or another student serves
    TEACHER_CHANGED = "teacher_changed"  #: the teacher is new, and no rule on a divergence has fired
    AT_FLOOR = "at_floor"  #: alpha cannot be lowered without passing `alpha_floor`
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"  #: `max_attempts` jobs in a row have not helped
    NOT_WANTED = "not_wanted"  #: no rule with the action `redistill` has fired


class IncidentKind(StrEnum):
    """The kind of an incident, by what the on-call is notified of."""

    DRIFT = "drift"  #: a rule about the student has fired
    RETRAIN_TEACHER = "retrain-teacher"  #: re-distillation can no longer help
    BLIND = "blind"  #: three or more slots in a row have no verdict and are not merely quiet
    SERVING_SKEW = "serving-skew"  #: the service does not answer what the student answers
    TEACHER_UNHEALTHY = "teacher-unhealthy"  #: the teacher cannot be trusted, so no cycle is judged
    TEACHER_CHANGED = "teacher-changed"  #: a new teacher, whose reference is not complete yet
    INPUT_DRIFT = "input-drift"  #: a rule on `input_drift` has fired
    DATA_QUALITY = "data-quality"  #: too large a share of the request log's records is unusable
    CANDIDATE_REJECTED = "candidate-rejected"  #: a candidate failed a gate or its shadow, or ended no drift
    JOB_FAILED = "job-failed"  #: a re-distillation produced no candidate
    ALERTS_UNDELIVERED = "alerts-undelivered"  #: delivery of a message to a channel was given up
    CALIBRATION_OVERDUE = "calibration-overdue"  #: the student's calibration has no rows newer than `every`


class IncidentState(StrEnum):
    """The state of an incident."""

    PENDING = "pending"  #: its condition holds, but not for long enough; nobody is notified
    FIRING = "firing"  #: open, and not acknowledged
    ACKNOWLEDGED = "acknowledged"  #: open, and a person has taken it on
    RESOLVED = "resolved"  #: over; what ends an incident depends on its kind


class Severity(StrEnum):
    """The severity of an incident, in PagerDuty's terms."""

    INFO = "info"  #: for the record
    WARNING = "warning"  #: look at it today
    ERROR = "error"  #: look at it now
    CRITICAL = "critical"  #: a person must act


class DeliveryState(StrEnum):
    """The state of a message in the outbox."""

    PENDING = "pending"  #: to be sent at `next_attempt_at`
    DELIVERED = "delivered"  #: accepted by the channel
    DEAD = "dead"  #: refused permanently, or out of attempts


class SliceKind(StrEnum):
    """The kind of a slice of a cycle's sample."""

    LABEL = "label"  #: requests to which the teacher gives one label
    CONFUSION = "confusion"  #: requests to which the teacher gives one label and the student another
    LENGTH = "length"  #: requests with a number of characters in a range
    WORD = "word"  #: requests with one word; never stored in SQL


class Role(StrEnum):
    """The role of a model version in its monitor."""

    TEACHER = "teacher"  #: the larger model, which is the reference
    STUDENT = "student"  #: a small model: in service, formerly in service, or a candidate


class PromotionReason(StrEnum):
    """The reason why a version became the current one."""

    CONFIGURED = "configured"  #: newly named in the configuration
    GATES_PASSED = "gates_passed"  #: a job's candidate, promoted by the worker
    SHADOW_PASSED = "shadow_passed"  #: a job's candidate, promoted by the daemon after its shadow
    MANUAL = "manual"  #: a person promoted it
    ROLLBACK = "rollback"  #: a person rolled back to it
    NOT_RECOVERED = "not_recovered"  #: its successor did not end the drift, with `rollback = "auto"`


class CalibrationReason(StrEnum):
    """The reason why a student was calibrated."""

    JOB = "job"  #: it is a job's candidate
    DUE = "due"  #: in service, and its newest rows were nine tenths of `every` old, or others were better
    MANUAL = "manual"  #: a person requested it


class CalibrationSource(StrEnum):
    """The rows that a calibration's temperature was fitted to."""

    FILE = "file"  #: the labelled file `validation`, else `test`, of [redistill]
    TEACHER = "teacher"  #: archived requests of the student, with the teacher's probabilities as labels
    TRAFFIC_LABELS = "traffic-labels"  #: archived requests of the student whose true labels are known


class GateResult(StrEnum):
    """The result of a gate for a candidate."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password  #: on the right side of the threshold, or a tie
    WAIVED = "waived"  #: on the wrong side, as the incumbent is, and no worse: it does not reject
    INCONCLUSIVE = "inconclusive"  #: on the wrong side, but its 95% interval reaches the right side
    IMPROVES = "improves"  #: certainly better than the incumbent, but below the threshold: not cured
    WORSE = "worse"  #: certainly worse than the incumbent, perhaps by more than the margin: a person decides
    REPORTED = "reported"  #: measured, but another gate decides in its place
    FAIL = "fail"  #: on the wrong side with its whole 95% interval, and not waived
