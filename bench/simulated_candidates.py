"""Simulated candidates, and what the product's own gates say of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from db.records import Evaluation, GateOutcome, Metric
from db.states import GateResult
from distill.evaluation.comparison import AGREEMENT_GAIN, GAIN, RARE_GAIN
from distill.evaluation.gates import CONDEMNED, TEST, check, passed, undecided
from distill.evaluation.paired import paired_difference
from distill.evaluation.reliability import Calibration
from distill.settings import GatesSection
from monitor.intervals import binomial_bootstrap, wilson
from monitor.strata import Strata

ROWS: Final = 5_500  #: of the test set in the design
RARE: Final = 700  #: with a rare label among them
HELD_OUT: Final = 3_000  #: requests of the condemned sample on which no candidate is trained
_DISCORDANT: Final = 0.05  #: rows that exactly one of candidate and incumbent gets right
_RARE_ACCURACY: Final = 0.874  #: of the student of the design
SEED: Final = 2025

Bools = NDArray[np.bool_]
Decision = Literal["promoted", "held", "rejected"]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The true shares of rows that an incumbent and a candidate get right."""

    incumbent: float
    difference: float  #: the candidate's share minus the incumbent's

    def drawn(self, n: int, rng: np.random.Generator) -> tuple[Bools, Bools]:
        """Return for n rows whether the candidate and the incumbent are right."""
        discordant = max(_DISCORDANT, abs(self.difference))
        only_candidate, only_incumbent = ((discordant + s * self.difference) / 2 for s in (1, -1))
        both = self.incumbent - only_incumbent
        shares = (both, only_candidate, only_incumbent, 1 - both - discordant)
        counts = rng.multinomial(n, shares)
        candidate, incumbent = (np.repeat(each, counts) for each in ([1, 1, 0, 0], [1, 0, 1, 0]))
        return candidate == 1, incumbent == 1


def judged(
    truth: Truth, rng: np.random.Generator, *, rows: int = ROWS, rare: int = 0, meets: bool = False
) -> tuple[GateOutcome, ...]:
    """Return the outcomes for one candidate whose other metrics are good.

    With `meets`, the incumbent meets the gate on accuracy whatever its sample says, so nothing is waived.
    """
    candidate, incumbent = truth.drawn(rows, rng)
    metrics = [_accuracy("accuracy", candidate), _difference(GAIN, candidate, incumbent)]
    before = [_accuracy("accuracy", np.ones(1, dtype=bool) if meets else incumbent)]
    if rare:
        candidate, incumbent = Truth(incumbent=0.89, difference=truth.difference).drawn(rare, rng)
        metrics += [
            _accuracy("rare_class_accuracy", candidate),
            _difference(RARE_GAIN, candidate, incumbent),
        ]
        before.append(_accuracy("rare_class_accuracy", incumbent))
    good = [
        Metric(name=name, value=value, low=value, high=value, n=rows)
        for name, value in (("ece_calibrated", 0.03), ("ece_calibrated_debiased", 0.03), ("agreement", 0.97))
    ]
    evaluations = (Evaluation(dataset=TEST, metrics=(*each, *good)) for each in (metrics, before))
    of_candidate, of_incumbent = evaluations
    section = GatesSection(latency_p95_ms=None)
    return check(section, [of_candidate], [of_incumbent])


def decision(outcomes: Sequence[GateOutcome], mode: Literal["pass", "hold"]) -> Decision:
    """Return the decision, with `promote = "auto"` and that value of `on_inconclusive`."""
    if not passed(outcomes):
        return "rejected"
    return "held" if undecided(outcomes, mode) else "promoted"


def design_student(rng: np.random.Generator) -> tuple[GateOutcome, ...]:
    """Return the outcomes for a student whose confidence is above its accuracy by .0461 everywhere."""
    gap = 0.0461
    confidence = np.maximum(rng.beta(8, 8 * (1 - 0.905 - gap) / (0.905 + gap), ROWS), gap)
    right = rng.random(ROWS) < confidence - gap
    errors = Calibration(confidence=confidence, right=right).errors([SEED], 1_000)
    metrics = (
        _accuracy("accuracy", right),
        _accuracy("rare_class_accuracy", rng.random(RARE) < _RARE_ACCURACY),
        Metric.over_seeds("ece_calibrated", [plain for plain, _ in errors], ROWS),
    )
    section = GatesSection(latency_p95_ms=None, margin=None)
    return check(section, [Evaluation(dataset=TEST, metrics=metrics)])


def on_condemned(truth: Truth, rng: np.random.Generator) -> GateResult:
    """Return the result of the gate on the condemned sample, where `truth` is about agreement."""
    candidate, incumbent = truth.drawn(HELD_OUT, rng)
    share = wilson(int(candidate.sum()), HELD_OUT)
    evaluation = Evaluation(
        dataset=CONDEMNED,
        metrics=(
            Metric.of("agreement", share, HELD_OUT),
            _difference(AGREEMENT_GAIN, candidate, incumbent),
        ),
    )
    return check(GatesSection(), [evaluation])[-1].result


def result_of(outcomes: Sequence[GateOutcome], gate: str) -> GateResult:
    """Return the result of one of the gates."""
    (outcome,) = (each for each in outcomes if each.gate == gate)
    return outcome.result


def _accuracy(name: str, right: Bools) -> Metric:
    return Metric.of(name, binomial_bootstrap(int(right.sum()), right.size), right.size)


def _difference(name: str, first: Bools, second: Bools) -> Metric:
    return Metric.of(name, paired_difference(first, second, Strata.one(first.size)), first.size)
