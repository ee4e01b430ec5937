"""A cycle and its verdict, as every later step of `triggers.conclude` receives them."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.records import Claim, CycleResult, Measurement, RuleOutcome
from db.states import CycleStatus, Verdict
from triggers.rules.verdict import Judgement, is_about_student
from triggers.settings import Rule
from triggers.teacher.trust import TeacherJudgement


@dataclass(frozen=True, kw_only=True)
class JudgedCycle:
    """The input of a cycle's order, of its incidents and of their messages."""

    claim: Claim
    result: CycleResult | None  #: None where an error ended the cycle
    rules: Sequence[Rule]  #: the configured ones
    outcomes: Sequence[RuleOutcome]  #: one per rule; none where an error ended the cycle
    judgement: Judgement
    teacher: TeacherJudgement

    @property
    def measurement(self) -> Measurement | None:
        """The numbers, where anything was sampled."""
        return self.result.measurement if self.result else None

    @property
    def is_evaluated(self) -> bool:
        """Return whether the cycle had enough evidence for a verdict."""
        return self.judgement.status is CycleStatus.EVALUATED

    @property
    def is_healthy(self) -> bool:
        """Return whether the cycle was evaluated and no rule about the student is breached."""
        return self.is_evaluated and self.judgement.verdict is Verdict.HEALTHY

    @property
    def about_student(self) -> list[RuleOutcome]:
        """The outcomes of the rules about the student."""
        return [outcome for outcome in self.outcomes if is_about_student(outcome)]

    def on(self, metric: str) -> list[RuleOutcome]:
        """Return the outcomes of the rules on that metric, where it was measured."""
        return [
            outcome for outcome in self.outcomes if outcome.metric == metric and outcome.value is not None
        ]
