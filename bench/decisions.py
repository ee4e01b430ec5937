"""The error rates of gates and shadows: simulated candidates, each judged by the product's own functions.

Prints Markdown tables; the standard error of each share is in parentheses, in thousandths.

    make bench-decisions
    PYTHONPATH=. python bench/decisions.py --candidates 500
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np

from bench import simulated_shadows
from bench.simulated_candidates import (
    HELD_OUT,
    RARE,
    ROWS,
    SEED,
    Decision,
    Truth,
    decision,
    design_student,
    judged,
    on_condemned,
    result_of,
)
from db.records import GateOutcome
from db.states import GateResult, ShadowReason
from distill.evaluation.power import half_width, power, rows_needed
from triggers.shadow.decision import STATES

_DIFFERENCES: Final = (-0.02, -0.015, -0.01, -0.005, 0.0, 0.005)
_SHOWN: Final[tuple[Decision, ...]] = ("promoted", "held")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=4_000, help="simulated candidates per cell")
    n = parser.parse_args().candidates
    for title, table in (
        ("A point gate, and the paired gate, against the difference from the incumbent", _gates(n)),
        (f"The decision on a candidate, {ROWS:,} test rows, {RARE} of them rare", _decisions(n)),
        ("The decision by the size of the test set, incumbent .920, no rare labels", _sizes(n)),
        ("The student of the design, .905, .874 and an ECE of .0461", _of_design(n)),
        ("Power of a test set: an equal candidate passes", _powers()),
        ("The shadow: 60 discordant texts a cycle, by the share that the candidate wins", _shadows(n)),
        ("The shadow: an equal candidate, by the number of cycles", _false_decisions(n)),
        (f"A condemned sample with {HELD_OUT:,} held-out requests, incumbent .880", _of_condemned(n)),
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
    rng = np.random.default_rng(SEED)
    truth = Truth(incumbent=incumbent, difference=difference)
    found = [judged(truth, rng, meets=True) for _ in range(n)]
    return [(result_of(each, "accuracy"), result_of(each, "relative_accuracy")) for each in found]


def _decisions(n: int) -> Iterator[Sequence[str]]:
    yield from _header("incumbent, on_inconclusive: decision", _in_points(_DIFFERENCES))
    for incumbent in (0.920, 0.905):
        rng = np.random.default_rng(SEED)
        drawn = [
            [judged(Truth(incumbent=incumbent, difference=each), rng, rare=RARE) for _ in range(n)]
            for each in _DIFFERENCES
        ]
        yield from _decided(f"{incumbent:.3f}", drawn)


def _sizes(n: int) -> Iterator[Sequence[str]]:
    differences = (-0.03, -0.02, -0.01, 0.0)
    yield from _header("rows, on_inconclusive: decision", _in_points(differences))
    for rows in (300, 1_000, 5_500, 20_000):
        rng = np.random.default_rng(SEED)
        drawn = [
            [judged(Truth(incumbent=0.92, difference=each), rng, rows=rows) for _ in range(n)]
            for each in differences
        ]
        yield from _decided(f"{rows:,}", drawn)


def _decided(words: str, drawn: Sequence[Sequence[Sequence[GateOutcome]]]) -> Iterator[Sequence[str]]:
    modes: tuple[Literal["pass", "hold"], ...] = ("pass", "hold")
    for mode in modes:
        counts = [Counter(decision(each, mode) for each in cell) for cell in drawn]
        for result in _SHOWN:
            yield f"{words}, {mode}: {result}", *(_share(each[result], each.total()) for each in counts)


def _of_design(n: int) -> Iterator[Sequence[str]]:
    """Yield how often the design's own student passes the design's gates, which it just meets."""
    yield from _header("gate", ["passes", "does not fail"])
    rng = np.random.default_rng(SEED)
    gates = ("accuracy", "rare_class_accuracy", "ece")
    drawn = [design_student(rng) for _ in range(n)]
    results = [[result_of(each, gate) for gate in gates] for each in drawn]
    for index, gate in enumerate(gates):
        of_gate = [each[index] for each in results]
        yield gate, _share(of_gate.count(GateResult.PASS), n), _share(n - of_gate.count(GateResult.FAIL), n)
    yield (
        "all three",
        _share(sum({*each} == {GateResult.PASS} for each in results), n),
        _share(sum(GateResult.FAIL not in each for each in results), n),
    )


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
    rng = np.random.default_rng(SEED)
    truth = Truth(incumbent=0.88, difference=agreement - 0.88)
    return Counter(on_condemned(truth, rng) for _ in range(n))


def _shadows(n: int) -> Iterator[Sequence[str]]:
    """Yield the ends of shadows with the default shadow_cycles, and how soon the worse are stopped."""
    shares = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
    drawn = [simulated_shadows.ends(each, n, cycles=3) for each in shares]
    yield from _header("end within 3 cycles", [f"{each:.2f}" for each in shares])
    for reason in (ShadowReason.WORSE, ShadowReason.NO_DIFFERENCE, ShadowReason.BETTER):
        yield (
            f"{reason} ({STATES[reason]})",
            *(_share(sum(end is reason for end, _ in each), n) for each in drawn),
        )
    longest = [simulated_shadows.ends(each, n, cycles=200) if each < 0.5 else [] for each in shares]  # noqa: PLR2004
    cells = [
        f"{np.median(stopped):.0f}, {np.quantile(stopped, 0.95):.0f}" if len(stopped) > n / 2 else "-"
        for stopped in ([at for end, at in each if end is ShadowReason.WORSE] for each in longest)
    ]
    yield "cycles until stopped, without limit: median, 95% quantile", *cells


def _false_decisions(n: int) -> Iterator[Sequence[str]]:
    """Yield how often an equal candidate is found to be better or worse, whatever its discordant texts."""
    cycles = (1, 3, 10, 50, 200)
    yield from _header("discordant texts a cycle: decision", [f"{each} cycles" for each in cycles])
    for texts in (10, 60, 600):
        drawn = simulated_shadows.ends(0.5, n, cycles=cycles[-1], texts=texts)
        for reason in (ShadowReason.WORSE, ShadowReason.BETTER):
            yield (
                f"{texts}: {reason}",
                *(_share(sum(end is reason and at <= limit for end, at in drawn), n) for limit in cycles),
            )


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
