"""Whether a fired rule orders a re-distillation, and with which alpha (the weight of the KL term)."""

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
#: A job that made a candidate has used its alpha up, whatever the gates said.
_COMPLETED = (JobStatus.SUCCEEDED, JobStatus.REJECTED)

_DETAIL = {
    OrderReason.NOT_WANTED: "no rule that orders a re-distillation has fired",
    OrderReason.NOT_LATEST: "a later cycle is judged or awaits its verdict, or another student serves",
    OrderReason.TEACHER_CHANGED: "the teacher is new: until it is known only a rule on a divergence orders",
    OrderReason.JOB_OPEN: "a job is queued or running, or its candidate waits for `redistill models promote`",
    OrderReason.ATTEMPTS_EXHAUSTED: "{ladder.failed_in_a_row} jobs in a row have not helped "
    "(max_attempts {policy.max_attempts})",
    OrderReason.AT_FLOOR: "alpha {alpha_from} cannot go below alpha_floor {policy.alpha_floor}",
    OrderReason.COOLDOWN: "the last job ended at {ladder.last_finished_at:%Y-%m-%dT%H:%M:%SZ}, less than "
    "the cooldown of {policy.cooldown} ago",
    OrderReason.WATCHING: "the last candidate serves, and has {policy.watch_cycles} evaluated cycles to help",
    OrderReason.ORDERED: "re-distillation with alpha {alpha_from} -> {alpha_to}",
}


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Where a student stands on its way down in alpha.

    The ladder begins when a student becomes current, unless a job made it that has not ended the drift: that
    is one more attempt on the ladder of the student before.
    """

    wanted: bool  #: a rule with the action `redistill` has fired at this cycle
    is_latest: bool  #: no later cycle of the monitor is judged
    awaits_teacher: bool  #: no rule that may order by this teacher has fired
    is_watched: bool  #: a candidate serves, and is not known to have recovered or not
    has_open_job: bool  #: one is queued or running, or its candidate waits to be promoted by a person
    completed_alpha: Decimal | None  #: alpha_to of the ladder's newest job that made a candidate
    student_alpha: Decimal | None  #: what the current student was distilled with from this teacher, if known
    failed_in_a_row: int  #: the ladder's newest jobs, back to the last that helped, that did not
    last_finished_at: datetime | None  #: when the monitor's last job ended, however it ended


@dataclass(frozen=True, kw_only=True)
class Order:
    """The decision. `alpha_to` is below `alpha_from` when a job is ordered, and equal to it when not."""

    reason: OrderReason
    alpha_from: Decimal
    alpha_to: Decimal
    detail: str
    evidence: LabelEvidence | None = None  #: what true labels say about it, if they do and it was wanted
    job_id: int | None = None  #: the job that was queued, if one was

    @property
    def is_exhausted(self) -> bool:
        """A re-distillation was wanted, and none can help any more: the teacher needs retraining."""
        return self.reason in {OrderReason.AT_FLOOR, OrderReason.ATTEMPTS_EXHAUSTED}


def wanting(rules: Sequence[Rule], outcomes: Sequence[RuleOutcome]) -> list[tuple[Rule, RuleOutcome]]:
    """The rules that have fired and want a re-distillation, in their order."""
    fired = {outcome.rule: outcome for outcome in outcomes if outcome.fired}
    return [(rule, fired[rule.name]) for rule in rules if rule.action == "redistill" and rule.name in fired]


def ordering(
    rules: Sequence[Rule], outcomes: Sequence[RuleOutcome], teacher: TeacherHealth
) -> RuleOutcome | None:
    """The first of `wanting` that may order by this teacher.

    By one that is new only a divergence may: that the student disagrees with it may be the new one's fault.
    """
    is_new = teacher is TeacherHealth.CHANGED
    found = wanting(rules, outcomes)
    return next((outcome for rule, outcome in found if rule.is_on_divergence or not is_new), None)


def alpha_from_teacher(
    alpha: Decimal | None, student: str, teacher: str, jobs: Sequence[Job]
) -> Decimal | None:
    """The alpha that a student was distilled with, where it says something of this teacher; None where a job
    has distilled it from another one. A new teacher is trusted as the first one was.
    """
    distilled_from = {job.teacher_version for job in jobs if job.candidate_version == student}
    return alpha if not distilled_from or teacher in distilled_from else None


def ladder_of(
    jobs: Sequence[Job],
    *,
    began_at: datetime | None,
    student_alpha: Decimal | None,
    wanted: bool,
    is_latest: bool,
    awaits_teacher: bool = False,
    is_watched: bool = False,
) -> Ladder:
    """The ladder that a monitor's jobs, in any order, amount to.

    `began_at` is when the ladder began (None: before all jobs). Jobs enqueued earlier were about another
    student: they count for the open job and the cooldown only. A failed or cancelled job has tried no alpha;
    a cancelled one has not failed either. Nor has a candidate that was replaced before anybody knew.
    """
    ended = sorted((job for job in jobs if job.status not in _OPEN), key=_ending, reverse=True)
    own = [job for job in ended if began_at is None or job.enqueued_at >= began_at]
    since_success = [*takewhile(lambda job: not _has_helped(job), own)]
    return Ladder(
        wanted=wanted,
        is_latest=is_latest,
        awaits_teacher=awaits_teacher,
        is_watched=is_watched,
        has_open_job=any(job.status in _OPEN for job in jobs) or any(map(_is_held, own)),
        completed_alpha=next((job.alpha_to for job in own if job.status in _COMPLETED), None),
        student_alpha=student_alpha,
        failed_in_a_row=sum(map(_has_not_helped, since_success)),
        last_finished_at=ended[0].finished_at if ended else None,
    )


def decide(policy: AlphaPolicy, ladder: Ladder, now: datetime) -> Order:
    """Order one step down in alpha, or say why not; the first reason that applies is given, in this order:

    not wanted, not the latest cycle, a new teacher, a job is open, its candidate is watched, attempts
    exhausted, at the floor, cooldown.

    The step starts from the alpha of the ladder's last candidate, else the student's, else the policy's. It
    is clipped to the floor; only an alpha that is at the floor (or below it) already is AT_FLOOR. A cooldown
    that ends exactly now has ended. Alphas are exact decimals in thousandths.
    """
    alpha_from = _current_alpha(policy, ladder)
    reason = _reason(policy, ladder, alpha_from, now)
    ordered = reason is OrderReason.ORDERED
    alpha_to = max(alpha_from - policy.alpha_step, policy.alpha_floor) if ordered else alpha_from
    alpha_to = _thousandths(alpha_to)
    detail = _DETAIL[reason].format(policy=policy, ladder=ladder, alpha_from=alpha_from, alpha_to=alpha_to)
    return Order(reason=reason, alpha_from=alpha_from, alpha_to=alpha_to, detail=detail)


def _reason(policy: AlphaPolicy, ladder: Ladder, alpha: Decimal, now: datetime) -> OrderReason:
    obstacles = (
        (OrderReason.NOT_WANTED, not ladder.wanted),
        (OrderReason.NOT_LATEST, not ladder.is_latest),
        (OrderReason.TEACHER_CHANGED, ladder.awaits_teacher),
        (OrderReason.JOB_OPEN, ladder.has_open_job),
        (OrderReason.WATCHING, ladder.is_watched),
        (OrderReason.ATTEMPTS_EXHAUSTED, ladder.failed_in_a_row >= policy.max_attempts),
        (OrderReason.AT_FLOOR, alpha <= policy.alpha_floor),
        (OrderReason.COOLDOWN, _is_cooling_down(policy, ladder, now)),
    )
    return next((reason for reason, applies in obstacles if applies), OrderReason.ORDERED)


def _is_cooling_down(policy: AlphaPolicy, ladder: Ladder, now: datetime) -> bool:
    # an end that is further off than that was written by a clock that was ahead
    return ladder.last_finished_at is not None and abs(now - ladder.last_finished_at) < policy.cooldown


def _current_alpha(policy: AlphaPolicy, ladder: Ladder) -> Decimal:
    known = (ladder.completed_alpha, ladder.student_alpha, policy.alpha)
    return _thousandths(next(alpha for alpha in known if alpha is not None))


def _thousandths(alpha: Decimal) -> Decimal:
    return alpha.quantize(Decimal("0.001")).normalize()


def _has_helped(job: Job) -> bool:
    """It was promoted by a person, whose own ladder begins there, or it has ended the drift."""
    return job.status is JobStatus.SUCCEEDED and (
        job.decision is not JobDecision.PROMOTED or job.recovery is JobRecovery.RECOVERED
    )


def _has_not_helped(job: Job) -> bool:
    is_failure = job.status in {JobStatus.REJECTED, JobStatus.FAILED}
    return is_failure or job.recovery is JobRecovery.NOT_RECOVERED


def _is_held(job: Job) -> bool:
    # once promoted it is the current student itself, and its job lies before the ladder's beginning
    return job.decision is JobDecision.HELD


def _ending(job: Job) -> tuple[datetime, int]:
    return (job.finished_at or job.enqueued_at, job.job_id)
