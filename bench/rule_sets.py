"""The orders a year of the rule sets on healthy and on drifting services, with the product's rules.

Simulated years of hourly cycles with n requests each; the rules see what the database would hold. Orders
count how often a rule that orders begins to fire, as `redistill replay` counts them. The delay is that from
the start of a drift up to the order, in cycles.

    make bench-rules
    PYTHONPATH=. python bench/rule_sets.py --years 2 --requests 10000
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean, stdev
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db.records import CyclePoint
from db.states import CycleStatus
from monitor.intervals import wilson
from redistill.commands.inspect.alarms import Replayed
from triggers.rule_sets import RULE_SETS
from triggers.rules.dispersion import Dispersion
from triggers.rules.evaluation import replay
from triggers.settings import Rule

_YEAR: Final = 8_766  #: cycles of an hour
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_DAY: Final = tuple((0.010 * np.sin(np.arange(24) / 24 * 2 * np.pi)).tolist())
_DRIFTS: Final = (0.94, 0.92, 0.90)
_LONGEST: Final = 200  #: cycles of a drift
_BEFORE: Final = 24  #: healthy cycles before it

Floats = NDArray[np.float64]


def services(rng: np.random.Generator) -> Mapping[str, Floats]:
    """Return the true agreement in each cycle of a year, by the kind of service."""

    def course(mean: float, sd: float = 0, profile: tuple[float, ...] = ()) -> Floats:
        varying = Dispersion(sd=sd, autocorrelation=0.8 if sd else 0, profile=profile, n_cycles=0)
        return np.asarray(varying.paths(mean, _YEAR, 1, rng)[0])

    sales = course(0.965)
    for day in rng.choice(365, size=12, replace=False).tolist():
        sales[24 * day : 24 * day + 24] = 0.935
    sales[rng.choice(_YEAR, size=24, replace=False)] = 0.90
    return {
        "constant .955": course(0.955),
        "varying by .003 about .960": course(0.960, sd=0.003),
        ".958, day and night ±.010": course(0.958, profile=_DAY),
        "12 sale days and 24 bad hours": sales,
    }


def history(agreement: Floats, n: int, rng: np.random.Generator) -> list[CyclePoint]:
    """Return the evaluated cycles of a service."""
    wrong = rng.binomial(n, 1 - agreement).tolist()
    return [
        CyclePoint(
            window_end=_START + timedelta(hours=index),
            status=CycleStatus.EVALUATED,
            n=n,
            disagreements=k,
            intervals={"agreement": wilson(n - k, n)},
        )
        for index, k in enumerate(wrong)
    ]


def replayed(name: str, rules: Sequence[Rule], points: Sequence[CyclePoint]) -> Replayed:
    """Return the outcomes of the rules on agreement."""
    chosen = [rule for rule in rules if rule.metric == "agreement"]
    return Replayed(
        name=name, rules=chosen, outcomes=[each for rule in chosen for each in replay(rule, points)]
    )


def delay(rules: Sequence[Rule], agreement: float, n: int, rng: np.random.Generator) -> int:
    """Return the cycles from the start of a drift, after a healthy day, up to the first order."""
    points = history(np.repeat([0.97, agreement], [_BEFORE, _LONGEST]), n, rng)
    ordered = [
        index + 1 - _BEFORE
        for rule in rules
        if rule.metric == "agreement" and rule.action == "redistill"
        for index, outcome in enumerate(replay(rule, points))
        if outcome.fired and index >= _BEFORE
    ]
    return min(ordered, default=_LONGEST)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--drifts", type=int, default=50)
    parser.add_argument("--requests", type=int, default=1_000, help="of a cycle (%(default)s)")
    wanted = parser.parse_args()
    rng, n = np.random.default_rng(2025), wanted.requests
    print("| orders a year | " + " | ".join(RULE_SETS) + " |")
    print("|---|" + "---|" * len(RULE_SETS))
    found: dict[str, list[dict[str, int]]] = {}
    for _ in range(wanted.years):
        for service, agreement in services(rng).items():
            points = history(agreement, n, rng)
            sets = (replayed(name, rules, points) for name, rules in RULE_SETS.items())
            found.setdefault(service, []).append({each.name: each.alarms("redistill") for each in sets})
    for service, years in found.items():
        cells = (_cell([year[name] for year in years]) for name in RULE_SETS)
        print(f"| {service} | " + " | ".join(cells) + " |")
    print("\n| cycles to the order | " + " | ".join(RULE_SETS) + " |")
    print("|---|" + "---|" * len(RULE_SETS))
    for drift in _DRIFTS:
        delays = ([delay(rules, drift, n, rng) for _ in range(wanted.drifts)] for rules in RULE_SETS.values())
        print(f"| from .97 to {drift:g} | " + " | ".join(map(_cell, delays)) + " |")


def _cell(values: Sequence[int]) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0
    return f"{fmean(values):.1f} ± {error:.1f}"


if __name__ == "__main__":
    main()
