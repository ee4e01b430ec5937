"""What rules are going to do, with samples and an agreement like those of a history."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import median

import numpy as np

from db.records import CyclePoint
from monitor.intervals import wilson
from redistill.display import show
from redistill.display.show import Column
from triggers.rules.observation import strata_of, value_of
from triggers.rules.operating_characteristic import CYCLES, Delay, delay, effective_size, false_alarm, unknown
from triggers.settings import Rule

#: How far below the highest threshold the drifts lie that are looked at when none is named.
_DRIFTS = (Decimal("0.01"), Decimal("0.02"), Decimal("0.05"))
_SEED = 2025
_CERTAIN = 0.9995  #: shown as 1 from here on
_MANY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """What the cycles to come are taken to be like."""

    typical: CyclePoint  #: the cycle with the median sample
    healthy: float | None  #: an agreement at which no rule should fire
    drifts: tuple[float, ...]  #: agreements at which one should

    @property
    def n(self) -> int:
        """The requests of a uniform sample that would be as sure."""
        return round(effective_size(strata_of(self.typical)))


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What one rule is going to do."""

    rule: str
    mode: str
    unknown: str | None  #: why nothing can be said of it
    false_alarm: float | None = None  #: in 1,000 cycles at the healthy agreement; of evidence at most so much
    delays: tuple[Delay, ...] = ()  #: at each drift


def assume(
    rules: Sequence[Rule],
    points: Sequence[CyclePoint],
    breached: Collection[datetime],
    *,
    healthy: float | None,
    drifts: Sequence[float],
) -> Assumption | None:
    """What the points say of the cycles to come; None when none of them tells how much was sampled.

    Unless named, the healthy agreement is the median of the cycles that are not among the breached, and the
    drifts lie 0.01, 0.02 and 0.05 below the highest threshold of agreement.
    """
    counted = sorted(filter(strata_of, points), key=lambda point: effective_size(strata_of(point)))
    if not counted:
        return None
    return Assumption(
        typical=counted[(len(counted) - 1) // 2],
        healthy=_median_agreement(points, breached) if healthy is None else healthy,
        drifts=tuple(drifts) or _drifts(rules),
    )


def look_ahead(rule: Rule, assumed: Assumption) -> Outlook:
    """What the rule is going to do; each drift is simulated from the same seed."""
    why_not = unknown(rule)
    if why_not is not None:
        return Outlook(rule=rule.name, mode=mode_of(rule), unknown=why_not)
    typical, healthy = assumed.typical, assumed.healthy
    return Outlook(
        rule=rule.name,
        mode=mode_of(rule),
        unknown=None,
        false_alarm=None if healthy is None else false_alarm(rule, typical, healthy, wilson),
        delays=tuple(
            delay(rule, typical, drift, wilson, np.random.default_rng(_SEED)) for drift in assumed.drifts
        ),
    )


def mode_of(rule: Rule) -> str:
    """Its mode; of a group those of its conditions."""
    return ", ".join(sorted({each.mode for each in rule.conditions or (rule,)}))


def print_outlooks(outlooks: Sequence[Outlook], assumed: Assumption) -> None:
    """A table of those that are known, and why the others are not."""
    known = [each for each in outlooks if each.unknown is None]
    if known:
        show.say(f"Ahead, if each cycle is as sure as {assumed.n:,} requests drawn one by one:")
        show.listing(_columns(assumed), [_cells(each) for each in known])
    for each in outlooks:
        if each.unknown is not None:
            show.say(f"Nothing is known ahead of {each.rule}: {each.unknown}.")


def documents(outlooks: Sequence[Outlook], assumed: Assumption) -> Iterator[Mapping[str, object]]:
    """For programs; a rule that never fires at a drift has cycles of null there."""
    for each in outlooks:
        yield {
            "rule": each.rule,
            "mode": each.mode,
            "n": assumed.n,
            "healthy": assumed.healthy,
            "false_alarm": each.false_alarm,
            "delays": [
                {"agreement": drift, "cycles": found.mean, "error": found.error, "at_least": found.is_least}
                for drift, found in zip(assumed.drifts, each.delays, strict=False)
            ],
            "unknown": each.unknown,
        }


def _columns(assumed: Assumption) -> list[Column]:
    healthy = f"false alarm in {CYCLES:,} cycles at {show.number(assumed.healthy)}"
    drifts = (f"cycles to find {drift:g}" for drift in assumed.drifts)
    return [
        Column(title="rule"),
        Column(title="mode", spare=1),
        *(Column(title=title, align="right") for title in (healthy, *drifts)),
    ]


def _cells(outlook: Outlook) -> list[show.Cell]:
    return [outlook.rule, outlook.mode, _probability(outlook), *map(_delay, outlook.delays)]


def _probability(outlook: Outlook) -> str:
    found = outlook.false_alarm
    if found is None:
        return "-"
    return (
        f"at most {found:.3g}"
        if outlook.mode == "sequential"
        else "1"
        if found > _CERTAIN
        else f"{found:.3g}"
    )


def _delay(found: Delay) -> str:
    if math.isinf(found.mean):
        return "never"
    form = ".2f" if found.mean < CYCLES else ",.0f" if found.mean < _MANY else ".3g"
    cycles = format(found.mean, form)
    if found.is_least:
        return f"at least {cycles}"
    return f"{cycles} (+-{found.error:.2f})" if found.error else cycles


def _median_agreement(points: Sequence[CyclePoint], breached: Collection[datetime]) -> float | None:
    values = [value_of("agreement", point) for point in points if point.window_end not in breached]
    known = [float(value) for value in values if value is not None]
    return median(known) if known else None


def _drifts(rules: Sequence[Rule]) -> tuple[float, ...]:
    highest = max((rule.threshold for rule in rules if unknown(rule) is None), default=Decimal(0))
    return tuple(float(highest - below) for below in _DRIFTS if highest >= below)
