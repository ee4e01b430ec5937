"""The decision on a re-distillation, and the ladder of alphas, the weights of the KL term."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import takewhile

from db.records import Job, RuleOutcome
from db.states import JobDecision, JobRecovery, JobStatus, OrderReason, TeacherHealth
from triggers.settings import AlphaPolicy, Rule
from triggers.teacher.label_evidence import LabelEvidence

_OPEN = (JobStatus.QUEUED, JobStatus.RUNNING)
#: A job that made a candidate has used up its alpha, whatever its gates said.
_COMPLETED = (JobStatus.SUCCEEDED, JobStatus.REJECTED)
_WITHOUT_A_PERSON = (JobDecision.PROMOTED, JobDecision.REJECTED, JobDecision.SHADOWED)

_DETAIL = {
    OrderReason.NOT_WANTED: "no rule that orders a re-distillation has fired",
    OrderReason.NOT_LATEST: "a later cycle has a verdict or awaits one, or another student is in service",
    OrderReason.TEACHER_CHANGED: "the teacher is new: until its reference is complete, only a rule on a "
    "divergence orders a job",
    OrderReason.JOB_OPEN: "a job is queued or running, or its candidate awaits `redistill models promote`",
    OrderReason.ATTEMPTS_EXHAUSTED: "{ladder.failed_in_a_row} jobs in a row did not end the drift "
    "(max_attempts {policy.max_attempts})",
    OrderReason.AT_FLOOR: "alpha {alpha_from} cannot be lowered below alpha_floor {policy.alpha_floor}",
    OrderReason.COOLDOWN: "the last job ended at {ladder.last_finished_at:%Y-%m-%dT%H:%M:%SZ}, less than "
    "{policy.cooldown} ago (cooldown)",
    OrderReason.SHADOW: "the last candidate runs in shadow, and has {policy.shadow_cycles} evaluated cycles "
    "(shadow_cycles) to be promoted or stopped",
    OrderReason.WATCHING: "the last candidate is in service, and has {policy.watch_cycles} evaluated cycles "
    "(watch_cycles) to end the drift",
    OrderReason.ORDERED: "re-distillation with alpha {alpha_from} -> {alpha_to}",
}
_KEPT = "re-distillation with alpha {alpha_to}, which alpha_policy '{policy.alpha_policy}' keeps"


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The position of a student on its way down in alpha.

    A ladder begins when a student becomes current, unless the student comes from a job that did not end the
    drift: that job is one more attempt on the previous student's ladder.
    """

    wanted: bool  #: a rule with the action `redistill` has fired at this cycle
    is_latest: bool  #: no later cycle of the monitor has a verdict
    awaits_teacher: bool  #: no rule that may order a job with this teacher has fired
    is_in_shadow: bool  #: a candidate runs in shadow
    is_watched: bool  #: a candidate serves, and its recovery is not yet known
    has_open_job: bool  #: a job is queued or running, or its candidate is held for a person
    completed_alpha: Decimal | None  #: `alpha_to` of the ladder's newest job that made a candidate
    student_alpha: Decimal | None  #: alpha of the current student's distillation from this teacher, if known
    failed_in_a_row: int  #: jobs that did not help, since the last one of the ladder that did
    last_finished_at: datetime | None  #: end of the monitor's last job, whatever its result


@dataclass(frozen=True, kw_only=True)
class Order:
    """The decision; `alpha_to` is below `alpha_from` if a job lowers alpha, and equal to it otherwise."""

    reason: OrderReason
    alpha_from: Decimal
    alpha_to: Decimal
    detail: str
    evidence: LabelEvidence | None = None  #: evidence of true labels, where a job was wanted
    job_id: int | None = None  #: the job that was queued, if one was

    @property
    def is_exhausted(self) -> bool:
        """Return whether a re-distillation was wanted but cannot help: the teacher needs retraining."""
        return self.reason in {OrderReason.AT_FLOOR, OrderReason.ATTEMPTS_EXHAUSTED}


def wanting(rules: Sequence[Rule], outcomes: Sequence[RuleOutcome]) -> list[tuple[Rule, RuleOutcome]]:
    """Return the rules with the action `redistill` that have fired, in their order."""
    fired = {outcome.rule: outcome for outcome in outcomes if outcome.fired}
    return [(rule, fired[rule.name]) for rule in rules if rule.action == "redistill" and rule.name in fired]


def ordering(
    rules: Sequence[Rule], outcomes: Sequence[RuleOutcome], teacher: TeacherHealth
) -> RuleOutcome | None:
    """Return the first outcome of `wanting` that may order a job with this teacher.

    With a new teacher, only rules on a divergence may: a disagreement may be the new teacher's fault.
    """
    is_new = teacher is TeacherHealth.CHANGED
    found = wanting(rules, outcomes)
    return next((outcome for rule, outcome in found if rule.is_on_divergence or not is_new), None)


def alpha_from_teacher(
    alpha: Decimal | None, student: str, teacher: str, jobs: Sequence[Job]
) -> Decimal | None:
    """Return the student's alpha, or None if a job distilled the student from another teacher.

    Without an alpha the ladder starts at the policy's: a new teacher is trusted as the first one was.
    """
    distilled_from = {job.teacher_version for job in jobs if job.candidate_version == student}
    return alpha if not distilled_from or teacher in distilled_from else None


def ladder_of(
    jobs: Sequence[Job],
    *,
    began_at: datetime | None,
    before_episode: int | None = None,
    student_alpha: Decimal | None,
    wanted: bool,
    is_latest: bool,
    awaits_teacher: bool = False,
    is_in_shadow: bool = False,
    is_watched: bool = False,
) -> Ladder:
    """Return the ladder that results from a monitor's jobs, in any order.

    `began_at` is the start of the ladder (None: before all jobs). Jobs enqueued earlier concern another
    student: they count only as an open job and for the cooldown. `before_episode` is the number of the last
    job of an earlier drift, 0 if there was none (None: the present drift is the ladder's first): alphas and
    failures up to it no longer count. A failed or cancelled job has not used its alpha. A cancelled job does
    not count as a failure, nor does a candidate that was replaced before its recovery was known.
    """
    ended = sorted((job for job in jobs if job.status not in _OPEN), key=_ending, reverse=True)
    own = [job for job in ended if began_at is None or job.enqueued_at >= began_at]
    of_drift = [job for job in own if before_episode is None or job.job_id > before_episode]
    since_success = [*takewhile(lambda job: not _has_helped(job), of_drift)]
    return Ladder(
        wanted=wanted,
        is_latest=is_latest,
        awaits_teacher=awaits_teacher,
        is_in_shadow=is_in_shadow,
        is_watched=is_watched,
        has_open_job=any(job.status in _OPEN for job in jobs) or any(map(_is_held, own)),
        completed_alpha=next((job.alpha_to for job in of_drift if job.status in _COMPLETED), None),
        student_alpha=student_alpha if before_episode is None else None,
        failed_in_a_row=sum(map(_has_not_helped, since_success)),
        last_finished_at=ended[0].finished_at if ended else None,
    )


def decide(
    policy: AlphaPolicy, ladder: Ladder, now: datetime, evidence: LabelEvidence | None = None
) -> Order:
    """Order a job, one step down in alpha where `lowers` says so, or give the first reason against it.

    The reasons are checked in this order: not wanted, not the latest cycle, new teacher, open job, candidate
    in shadow, watched candidate, attempts exhausted, at the floor, cooldown.

    The step starts from the alpha of the ladder's last candidate, else the student's, else the policy's, and
    is clipped to the floor. AT_FLOOR means that alpha, which was to be lowered, is already at the floor or
    below it. A cooldown that ends exactly now has ended. Alphas are exact decimals in thousandths.
    """
    alpha_from, lowered = _current_alpha(policy, ladder), lowers(policy, evidence)
    reason = _reason(policy, ladder, now, is_at_floor=lowered and alpha_from <= policy.alpha_floor)
    is_ordered = reason is OrderReason.ORDERED
    step = policy.alpha_step if is_ordered and lowered else Decimal(0)
    alpha_to = _thousandths(max(alpha_from - step, policy.alpha_floor)) if step else alpha_from
    says = _KEPT if is_ordered and not lowered else _DETAIL[reason]
    detail = says.format(policy=policy, ladder=ladder, alpha_from=alpha_from, alpha_to=alpha_to)
    return Order(reason=reason, alpha_from=alpha_from, alpha_to=alpha_to, detail=detail, evidence=evidence)


def lowers(policy: AlphaPolicy, evidence: LabelEvidence | None) -> bool:
    """Return whether a job that is ordered takes weight from the teacher: always, never, or by the labels."""
    match policy.alpha_policy:
        case "lower":
            return True
        case "keep":
            return False
        case "evidence":
            return evidence is not None and evidence.asks_for_lower_alpha


def _reason(policy: AlphaPolicy, ladder: Ladder, now: datetime, *, is_at_floor: bool) -> OrderReason:
    obstacles = (
        (OrderReason.NOT_WANTED, not ladder.wanted),
        (OrderReason.NOT_LATEST, not ladder.is_latest),
        (OrderReason.TEACHER_CHANGED, ladder.awaits_teacher),
        (OrderReason.JOB_OPEN, ladder.has_open_job),
        (OrderReason.SHADOW, ladder.is_in_shadow),
        (OrderReason.WATCHING, ladder.is_watched),
        (OrderReason.ATTEMPTS_EXHAUSTED, ladder.failed_in_a_row >= policy.max_attempts),
        (OrderReason.AT_FLOOR, is_at_floor),
        (OrderReason.COOLDOWN, _is_cooling_down(policy, ladder, now)),
    )
    return next((reason for reason, applies in obstacles if applies), OrderReason.ORDERED)


def _is_cooling_down(policy: AlphaPolicy, ladder: Ladder, now: datetime) -> bool:
    # an end further in the future than the cooldown was written by a clock that was ahead
    return ladder.last_finished_at is not None and abs(now - ladder.last_finished_at) < policy.cooldown


def _current_alpha(policy: AlphaPolicy, ladder: Ladder) -> Decimal:
    known = (ladder.completed_alpha, ladder.student_alpha, policy.alpha)
    return _thousandths(next(alpha for alpha in known if alpha is not None))


def _thousandths(alpha: Decimal) -> Decimal:
    return alpha.quantize(Decimal("0.001")).normalize()


def _has_helped(job: Job) -> bool:
    """Return whether the candidate ended the drift, or a person promoted it and started a new ladder."""
    return job.status is JobStatus.SUCCEEDED and (
        job.decision not in _WITHOUT_A_PERSON or job.recovery is JobRecovery.RECOVERED
    )


def _has_not_helped(job: Job) -> bool:
    is_failure = job.status in {JobStatus.REJECTED, JobStatus.FAILED}
    is_failure = is_failure or job.decision is JobDecision.REJECTED  # in its shadow
    return is_failure or job.recovery is JobRecovery.NOT_RECOVERED


def _is_held(job: Job) -> bool:
    # once promoted, the candidate is the current student, and its job precedes the ladder
    return job.decision is JobDecision.HELD


def _ending(job: Job) -> tuple[datetime, int]:
    return (job.finished_at or job.enqueued_at, job.job_id)
