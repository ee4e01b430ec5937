"""The verdict on a cycle, from its sample quality and its rules' outcomes.

There is no verdict without enough evidence, nor without an evaluated rule about the student.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from db.records import RuleOutcome
from db.states import CycleStatus, Verdict, VerdictReason
from triggers.settings import NOT_OF_STUDENT
from triggers.wilson import score_interval


@dataclass(frozen=True, kw_only=True)
class SampleQuality:
    """The evidence that a cycle has, and the evidence that a verdict needs."""

    n_scored: int  #: sampled requests that both models scored
    n_seen: int  #: distinct usable requests of the window
    n_rejected: int  #: unusable records of the window
    min_samples: int  #: a verdict needs at least this many scored requests
    max_reject_share: float  #: and at most this share of unusable records
    n_undated: int = 0  #: objects without any usable time that were modified after the window
    teacher_fault: str | None = None  #: the teacher's fault, in one line

    @property
    def status(self) -> CycleStatus:
        """EVALUATED if the rules may evaluate the cycle, otherwise INCONCLUSIVE."""
        return CycleStatus.INCONCLUSIVE if self.shortfall else CycleStatus.EVALUATED

    @property
    def shortfall(self) -> VerdictReason | None:
        """The reason for no verdict, or None; rejects first, as they can explain too few samples."""
        if self._too_many_rejects:
            return VerdictReason.TOO_MANY_REJECTS
        if self.n_scored < self.min_samples:
            return VerdictReason.TOO_FEW_SAMPLES
        return None if self.teacher_fault is None else VerdictReason.TEACHER_UNHEALTHY

    @property
    def is_quiet(self) -> bool:
        """Return whether the sample is too small and more requests may change that.

        Unusable records do not make a window wait if their share is certainly too large.
        """
        records = self.n_seen + self.n_rejected
        rejected = score_interval(self.n_rejected / records, records).low if records else 0.0
        return self.n_scored < self.min_samples and rejected <= self.max_reject_share

    @property
    def _too_many_rejects(self) -> bool:
        records = self.n_seen + self.n_rejected
        allowed = Fraction(str(self.max_reject_share))  # the decimal as written, not its nearest double
        return self.n_rejected > allowed * records


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a cycle, with its reason and the numbers in one line."""

    status: CycleStatus
    verdict: Verdict
    reason: VerdictReason
    detail: str


def judge(
    quality: SampleQuality, outcomes: Sequence[RuleOutcome], missing: Mapping[str, str] | None = None
) -> Judgement:
    """Return the verdict on a cycle that ran to its end.

    `outcomes` come from `triggers.rules.evaluate` for a point of status `quality.status`. They are ignored
    without enough evidence, and outcomes that are not about the student always are. If none of the others has
    a value, the cycle is inconclusive. `missing` maps the names of rules to what the cycle lacks for them.
    """
    if quality.shortfall is not None:
        return Judgement(
            status=CycleStatus.INCONCLUSIVE,
            verdict=Verdict.INCONCLUSIVE,
            reason=quality.shortfall,
            detail=_shortage(quality, quality.shortfall),
        )
    outcomes = [outcome for outcome in outcomes if is_about_student(outcome)]
    if all(outcome.value is None for outcome in outcomes):
        return Judgement(
            status=CycleStatus.INCONCLUSIVE,
            verdict=Verdict.INCONCLUSIVE,
            reason=VerdictReason.NO_RULE_EVALUATED,
            detail=_unevaluated(outcomes, missing or {}),
        )
    reason = _reason(outcomes)
    healthy = reason is VerdictReason.WITHIN_RULES
    return Judgement(
        status=CycleStatus.EVALUATED,
        verdict=Verdict.HEALTHY if healthy else Verdict.BREACHED,
        reason=reason,
        detail=describe(outcomes if healthy else [outcome for outcome in outcomes if outcome.breached]),
    )


def failed(error: str) -> Judgement:
    """Return the verdict on a cycle that ended in an error, described in one line."""
    return Judgement(
        status=CycleStatus.FAILED, verdict=Verdict.FAILED, reason=VerdictReason.ERROR, detail=error
    )


def is_about_student(outcome: RuleOutcome) -> bool:
    """Return whether the outcome is about the student.

    `serving_skew` is about the service, `input_drift` about the requests.
    """
    return outcome.metric not in NOT_OF_STUDENT


def describe(outcomes: Sequence[RuleOutcome]) -> str:
    """Return each outcome's number against its threshold, in one line."""
    return "; ".join(_describe(outcome) for outcome in outcomes) or "no rules"


def _reason(outcomes: Sequence[RuleOutcome]) -> VerdictReason:
    if any(outcome.fired for outcome in outcomes):
        return VerdictReason.RULE_FIRED
    if any(outcome.breached for outcome in outcomes):
        return VerdictReason.RULE_BREACHED
    return VerdictReason.WITHIN_RULES


def _unevaluated(outcomes: Sequence[RuleOutcome], missing: Mapping[str, str]) -> str:
    if not outcomes:
        return "no rule is about the student: add one to [[rules]], such as the defaults of docs/rules.md"
    return "no rule could be evaluated: " + "; ".join(
        f"{outcome.rule} ({missing.get(outcome.rule) or 'not enough evidence yet'})" for outcome in outcomes
    )


def _shortage(quality: SampleQuality, reason: VerdictReason) -> str:
    if reason is VerdictReason.TEACHER_UNHEALTHY:
        return f"the teacher is unhealthy: {quality.teacher_fault}"
    records = quality.n_seen + quality.n_rejected
    n, objects = quality.n_undated, "object" if quality.n_undated == 1 else "objects"
    undated = f", {n} {objects} without a usable time modified after the window" if n else ""
    return (
        f"{quality.n_scored} requests scored (min_samples {quality.min_samples}), {quality.n_rejected} "
        f"of {records} records unusable (max_reject_share {quality.max_reject_share}){undated}"
    )


def _describe(outcome: RuleOutcome) -> str:
    if outcome.value is None:
        return f"{outcome.metric} not evaluated"
    if not outcome.side:
        conditions = "condition holds" if outcome.value == 1 else "conditions hold"
        return f"{outcome.rule}: {outcome.value:.0f} {conditions}"
    found = f"{outcome.metric} {outcome.value:.6g}"
    bound = f"{outcome.side} {outcome.threshold:.6g}"
    if outcome.statistic is not None:
        shown = "shown" if outcome.breached else "not shown"
        return f"{found} {shown} to be {bound} (log wealth {outcome.statistic:.1f})"
    if not outcome.breached:
        return f"{found} within {outcome.threshold:.6g}"
    cycles = f"{outcome.streak} {'cycle' if outcome.streak == 1 else 'cycles'}"
    is_below, is_above = outcome.value < outcome.threshold, outcome.value > outcome.threshold
    is_beyond = is_below if outcome.side == "below" else is_above
    how = bound if is_beyond else f"not recovered from {bound}"
    return f"{found} {how} for {cycles}"
