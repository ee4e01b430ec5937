"""The error rates of the gates: simulated candidates, each judged by the product's own functions.

Prints Markdown tables; the standard error of each share is in parentheses, in thousandths.

    make bench-decisions
    PYTHONPATH=. python bench/decisions.py --candidates 500
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from db.records import Evaluation, GateOutcome, Metric
from db.states import GateResult
from distill.evaluation.comparison import AGREEMENT_GAIN, GAIN, RARE_GAIN
from distill.evaluation.gates import CONDEMNED, TEST, check, passed, undecided
from distill.evaluation.paired import paired_difference
from distill.evaluation.power import half_width, power, rows_needed
from distill.settings import GatesSection
from monitor.intervals import binomial_bootstrap, wilson
from monitor.strata import Strata

_ROWS: Final = 5_500  #: of the test set in the design
_RARE: Final = 700  #: with a rare label among them
_HELD_OUT: Final = 3_000  #: requests of the condemned sample on which no candidate is trained
_DISCORDANT: Final = 0.05  #: rows that exactly one of candidate and incumbent gets right
_DIFFERENCES: Final = (-0.02, -0.015, -0.01, -0.005, 0.0, 0.005)
_MARGIN: Final = 0.01
_SEED: Final = 2025

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=4_000, help="simulated candidates per cell")
    n = parser.parse_args().candidates
    for title, table in (
        ("A point gate, and the paired gate, against the difference from the incumbent", _gates(n)),
        (f"The decision on a candidate, {_ROWS:,} test rows, {_RARE} of them rare", _decisions(n)),
        ("The decision by the size of the test set, incumbent .920, no rare labels", _sizes(n)),
        ("Power of a test set: an equal candidate passes", _powers()),
        (f"A condemned sample with {_HELD_OUT:,} held-out requests, incumbent .880", _of_condemned(n)),
    ):
        print(f"\n### {title}\n")
        for row in table:
            print(f"| {' | '.join(row)} |", flush=True)


def _gates(n: int) -> Iterator[Sequence[str]]:
    yield from _header("candidate minus incumbent", _in_points(_DIFFERENCES))
    for incumbent in (0.920, 0.905):
        drawn = [_of_accuracy(n, incumbent, each) for each in _DIFFERENCES]
        for words, results in (
            ("point gate .905", {GateResult.PASS}),
            ("three values: not failed", set(GateResult) - {GateResult.FAIL}),
        ):
            cells = [_share(sum(accuracy in results for accuracy, _ in each), n) for each in drawn]
            yield f"{words}, incumbent {incumbent:.3f}", *cells
    for result in (GateResult.PASS, GateResult.INCONCLUSIVE, GateResult.WORSE, GateResult.FAIL):
        yield (
            f"paired, margin 1 pp: {result}",
            *(_share(sum(paired is result for _, paired in each), n) for each in drawn),
        )


def _of_accuracy(n: int, incumbent: float, difference: float) -> list[tuple[GateResult, GateResult]]:
    """Return the results of the gates accuracy and relative_accuracy, where the incumbent meets the first."""
    rng = np.random.default_rng(_SEED)
    truth = Truth(incumbent=incumbent, difference=difference)
    found = [judged(truth, rng, meets=True) for _ in range(n)]
    return [(_result(each, "accuracy"), _result(each, "relative_accuracy")) for each in found]


def _decisions(n: int) -> Iterator[Sequence[str]]:
    yield from _header("incumbent, on_inconclusive: decision", _in_points(_DIFFERENCES))
    for incumbent in (0.920, 0.905):
        rng = np.random.default_rng(_SEED)
        drawn = [
            [judged(Truth(incumbent=incumbent, difference=each), rng, rare=_RARE) for _ in range(n)]
            for each in _DIFFERENCES
        ]
        yield from _decided(f"{incumbent:.3f}", drawn)


def _sizes(n: int) -> Iterator[Sequence[str]]:
    differences = (-0.03, -0.02, -0.01, 0.0)
    yield from _header("rows, on_inconclusive: decision", _in_points(differences))
    for rows in (300, 1_000, 5_500, 20_000):
        rng = np.random.default_rng(_SEED)
        drawn = [
            [judged(Truth(incumbent=0.92, difference=each), rng, rows=rows) for _ in range(n)]
            for each in differences
        ]
        yield from _decided(f"{rows:,}", drawn)


def _decided(words: str, drawn: Sequence[Sequence[Sequence[GateOutcome]]]) -> Iterator[Sequence[str]]:
    modes: tuple[Literal["pass", "hold"], ...] = ("pass", "hold")
    for mode in modes:
        counts = [Counter(decision(each, mode) for each in cell) for cell in drawn]
        for decision in ("promoted", "held"):
            cells = [_share(each[decision], each.total()) for each in counts]
            yield f"{words}, {mode}: {decision}", *cells


def decision(outcomes: Sequence[GateOutcome], mode: Literal["pass", "hold"]) -> Decision:
    if not passed(outcomes):
        return "rejected"
    return "held" if undecided(outcomes, mode) else "promoted"


def _powers() -> Iterator[Sequence[str]]:
    sizes = (300, 1_000, 2_000, 5_500, 20_000)
    yield from _header("discordant rows, margin", [f"{each:,} rows" for each in sizes] + ["rows for .9"])
    for discordant in (0.03, 0.05, 0.08):
        for margin in (0.01, 0.005):
            halves = [half_width(discordant, each) for each in sizes]
            yield (
                f"{discordant:.0%}, {100 * margin:g} pp",
                *(f"{power(half, margin):.2f}" for half in halves),
                f"{rows_needed(sizes[0], halves[0], margin):,}",
            )


def _of_condemned(n: int) -> Iterator[Sequence[str]]:
    agreements = (0.86, 0.88, 0.89, 0.90, 0.92, 0.94, 0.945, 0.95, 0.96)
    results = [_condemned(n, each) for each in agreements]
    yield from _header("true agreement of the candidate", [f"{each:.3f}" for each in agreements])
    for result in (GateResult.PASS, GateResult.INCONCLUSIVE, GateResult.IMPROVES, GateResult.FAIL):
        yield str(result), *(_share(each[result], n) for each in results)


def _condemned(n: int, agreement: float) -> Counter[GateResult]:
    rng = np.random.default_rng(_SEED)
    truth = Truth(incumbent=0.88, difference=agreement - 0.88)
    return Counter(check(GatesSection(), [_agreements(truth, rng)])[-1].result for _ in range(n))


def _agreements(truth: Truth, rng: np.random.Generator) -> Evaluation:
    candidate, incumbent = truth.drawn(_HELD_OUT, rng)
    share = wilson(int(candidate.sum()), _HELD_OUT)
    return Evaluation(
        dataset=CONDEMNED,
        metrics=(
            Metric.of("agreement", share, _HELD_OUT),
            _difference(AGREEMENT_GAIN, candidate, incumbent),
        ),
    )


def judged(
    truth: Truth, rng: np.random.Generator, *, rows: int = _ROWS, rare: int = 0, meets: bool = False
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
    section = GatesSection(latency_p95_ms=None, margin=_MARGIN)
    return check(section, [of_candidate], [of_incumbent])


def _accuracy(name: str, right: Bools) -> Metric:
    return Metric.of(name, binomial_bootstrap(int(right.sum()), right.size), right.size)


def _difference(name: str, first: Bools, second: Bools) -> Metric:
    return Metric.of(name, paired_difference(first, second, Strata.one(first.size)), first.size)


def _result(outcomes: Sequence[GateOutcome], gate: str) -> GateResult:
    (outcome,) = (each for each in outcomes if each.gate == gate)
    return outcome.result


def _header(first: str, others: Sequence[str]) -> Iterator[Sequence[str]]:
    yield first, *others
    yield ("---",) * (1 + len(others))


def _in_points(differences: Sequence[float]) -> list[str]:
    return [f"{100 * each:+g} pp" for each in differences]


def _share(k: int, n: int) -> str:
    share = k / n
    error = 1_000 * (max(share * (1 - share), 1 / n) / n) ** 0.5
    return f"{share:.3f} ({error:.0f})"


if __name__ == "__main__":
    main()
