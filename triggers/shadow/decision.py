"""The decision on a candidate in shadow, from its cycles so far."""

import math
from dataclasses import dataclass
from typing import Final

from db.records import Shadow, ShadowTotals
from db.states import ShadowReason, ShadowState
from triggers.shadow.e_process import is_decided, log_e_value

#: A candidate that could not be scored in this many cycles in a row is rejected.
UNSCORABLE_AFTER: Final = 3

#: The state to which each decision leads.
STATES: Final = {
    ShadowReason.BETTER: ShadowState.PROMOTED,
    ShadowReason.NO_DIFFERENCE: ShadowState.PROMOTED,
    ShadowReason.WORSE: ShadowState.STOPPED,
    ShadowReason.UNSCORABLE: ShadowState.STOPPED,
}
_WORDS: Final = {
    ShadowReason.BETTER: "shown to agree with the teacher more often than the incumbent, and promoted",
    ShadowReason.NO_DIFFERENCE: "no difference from the incumbent shown, and promoted",
    ShadowReason.WORSE: "shown to agree with the teacher less often than the incumbent, and rejected",
    ShadowReason.UNSCORABLE: "rejected, as it could not be scored",
}


@dataclass(frozen=True, kw_only=True)
class ShadowStep:
    """A running shadow after one more cycle."""

    shadow: Shadow
    totals: ShadowTotals
    shadow_cycles: int
    error: str | None = None  #: the reason why the candidate could not be scored in this cycle
    is_superseded: bool = False  #: another process has ended the shadow meanwhile

    @property
    def log_better(self) -> float:
        """The logarithm of the e-value that the candidate is better."""
        return log_e_value(self.totals.n_candidate_only, self.totals.n_incumbent_only)

    @property
    def log_worse(self) -> float:
        """The logarithm of the e-value that the candidate is worse."""
        return log_e_value(self.totals.n_incumbent_only, self.totals.n_candidate_only)

    @property
    def reason(self) -> ShadowReason | None:
        """The reason to end the shadow; None: it continues."""
        if self.is_superseded:
            return None
        if self.totals.n_errors_in_a_row:
            is_over = self.totals.n_errors_in_a_row >= UNSCORABLE_AFTER
            return ShadowReason.UNSCORABLE if is_over else None
        if is_decided(self.log_worse):
            return ShadowReason.WORSE
        if is_decided(self.log_better):
            return ShadowReason.BETTER
        return ShadowReason.NO_DIFFERENCE if self.totals.n_cycles >= self.shadow_cycles else None

    @property
    def state(self) -> ShadowState:
        """The state of the shadow after the cycle."""
        if self.is_superseded:
            return ShadowState.SUPERSEDED
        return ShadowState.RUNNING if self.reason is None else STATES[self.reason]

    @property
    def detail(self) -> str:
        """The result in one line."""
        line = numbers(self.shadow, self.totals, self.shadow_cycles)
        words = "" if self.reason is None else f"; {_WORDS[self.reason]}"
        return f"{line}{words}" + (f": {self.error}" if self.error else "")


def numbers(shadow: Shadow, totals: ShadowTotals, shadow_cycles: int) -> str:
    """Return the numbers of a shadow in one line, with the larger of its two e-values."""
    won, lost = totals.n_candidate_only, totals.n_incumbent_only
    side, log_e = ("better", log_e_value(won, lost)) if won >= lost else ("worse", log_e_value(lost, won))
    failed = f", not scored in the last {totals.n_errors_in_a_row}" if totals.n_errors_in_a_row else ""
    return (
        f"{shadow.candidate_version[:12]} beside {shadow.incumbent_version[:12]}, {totals.n_cycles} of "
        f"{shadow_cycles} cycles{failed}, {won} : {lost} discordant texts, e = {_rounded(log_e)} that it is "
        f"{side}"
    )


def _rounded(log_e: float) -> str:
    return f"{math.exp(log_e):.3g}" if log_e < math.log(1e6) else "over a million"
