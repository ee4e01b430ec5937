"""The expected false alarms and detection delays of rules, with samples like those of a history."""

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
from triggers.rules.dispersion import ENOUGH, Dispersion, estimate
from triggers.rules.observation import effective_size, strata_of, value_of
from triggers.rules.operating_characteristic import CYCLES, Alarm, Delay, delay, false_alarm, unknown
from triggers.settings import Rule

#: The default drifts: distances below the highest threshold.
_DRIFTS = (Decimal("0.01"), Decimal("0.02"), Decimal("0.05"))
_SEED = 2025
_CERTAIN = 0.9995  #: the probability from which 1 is shown
_MANY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """The assumptions about future cycles."""

    typical: CyclePoint  #: the cycle with the median sample
    varying: Dispersion | None  #: the variation of the true agreement; None: too few cycles to estimate it
    healthy: float | None  #: agreement at which no rule should fire
    drifts: tuple[float, ...]  #: agreements at which a rule should fire

    @property
    def n(self) -> int:
        """The effective sample size: requests of a uniform sample with the same precision."""
        return round(effective_size(strata_of(self.typical)))


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The expected behaviour of one rule."""

    rule: str
    mode: str
    unknown: str | None  #: the reason why there is no forecast
    false_alarm: Alarm | None = None  #: in 1,000 healthy cycles
    delays: tuple[Delay, ...] = ()  #: at each drift


def assume(
    rules: Sequence[Rule],
    points: Sequence[CyclePoint],
    alarmed: Collection[datetime],
    *,
    healthy: float | None,
    drifts: Sequence[float],
) -> Assumption | None:
    """Return the assumptions that past cycles support; None if no cycle has a sample size.

    By default the healthy agreement is the median of the cycles outside alarms, and the drifts are 0.01, 0.02
    and 0.05 below the highest threshold on agreement. `alarmed` are the ends of the windows in which a rule
    fires, or that led to its firing or followed it, breached without a break.
    """
    counted = sorted(filter(strata_of, points), key=lambda point: effective_size(strata_of(point)))
    if not counted:
        return None
    return Assumption(
        typical=counted[(len(counted) - 1) // 2],
        varying=estimate(points, alarmed),
        healthy=_median_agreement(points, alarmed) if healthy is None else healthy,
        drifts=tuple(drifts) or _drifts(rules),
    )


def forecast(rule: Rule, assumed: Assumption) -> Forecast:
    """Return the expected behaviour of a rule; each drift is simulated from the same seed."""
    why_not = unknown(rule)
    if why_not is not None:
        return Forecast(rule=rule.name, mode=mode_of(rule), unknown=why_not)
    typical, healthy, varying = assumed.typical, assumed.healthy, assumed.varying
    return Forecast(
        rule=rule.name,
        mode=mode_of(rule),
        unknown=None,
        false_alarm=None
        if healthy is None
        else false_alarm(rule, typical, healthy, wilson, varying=varying, rng=np.random.default_rng(_SEED)),
        delays=tuple(
            delay(rule, typical, drift, wilson, np.random.default_rng(_SEED), varying=varying)
            for drift in assumed.drifts
        ),
    )


def mode_of(rule: Rule) -> str:
    """Return the mode of a rule, or of a group the modes of its conditions."""
    return ", ".join(sorted({each.mode for each in rule.conditions or (rule,)}))


def print_forecasts(forecasts: Sequence[Forecast], assumed: Assumption) -> None:
    """Print a table of the forecasts, and the reasons why other rules have none."""
    known = [each for each in forecasts if each.unknown is None]
    if known:
        requests = f"with a precision of {assumed.n:,} independent requests per cycle"
        show.say(f"Expected, {requests} and {_variation(assumed.varying)}:")
        show.listing(_columns(assumed), [_cells(each) for each in known])
    for each in forecasts:
        if each.unknown is not None:
            show.say(f"No forecast for {each.rule}: {each.unknown}.")


def documents(forecasts: Sequence[Forecast], assumed: Assumption) -> Iterator[Mapping[str, object]]:
    """Yield the forecasts as JSON documents; `cycles` is null for a drift at which the rule never fires."""
    for each in forecasts:
        yield {
            "rule": each.rule,
            "mode": each.mode,
            "n": assumed.n,
            "healthy": assumed.healthy,
            "dispersion": assumed.varying
            and {
                "sd": assumed.varying.sd,
                "autocorrelation": assumed.varying.autocorrelation,
                "profile_sd": assumed.varying.profile_sd,
                "cycles": assumed.varying.n_cycles,
            },
            "false_alarm": each.false_alarm and each.false_alarm.probability,
            "false_alarm_error": each.false_alarm and each.false_alarm.error,
            "false_alarm_at_most": each.false_alarm and each.false_alarm.is_most,
            "delays": [
                {"agreement": drift, "cycles": found.mean, "error": found.error, "at_least": found.is_least}
                for drift, found in zip(assumed.drifts, each.delays, strict=False)
            ],
            "unknown": each.unknown,
        }


def _columns(assumed: Assumption) -> list[Column]:
    healthy = f"false alarm in {CYCLES:,} cycles at {show.number(assumed.healthy)}"
    drifts = (f"cycles to detect {drift:g}" for drift in assumed.drifts)
    return [
        Column(title="rule"),
        Column(title="mode", spare=1),
        *(Column(title=title, align="right") for title in (healthy, *drifts)),
    ]


def _cells(found: Forecast) -> list[show.Cell]:
    return [found.rule, found.mode, _probability(found.false_alarm), *map(_delay, found.delays)]


def _probability(found: Alarm | None) -> str:
    if found is None:
        return "-"
    if found.probability > _CERTAIN:
        return "1"
    shown = f"at most {found.probability:.3g}" if found.is_most else f"{found.probability:.3g}"
    return f"{shown} (+-{found.error:.2g})" if found.error else shown


def _variation(varying: Dispersion | None) -> str:
    if varying is None:
        return f"a constant agreement, as there are fewer than {ENOUGH} cycles"
    seen = f"as in {varying.n_cycles:,} cycles"
    if varying.is_constant:
        return f"an agreement that is constant, {seen}"
    parts = []
    if varying.sd:
        correlation = f"autocorrelation {varying.autocorrelation:.2f}"
        parts.append(f"by {varying.sd:.4f} from cycle to cycle ({correlation})")
    if varying.profile:
        parts.append(f"by {varying.profile_sd:.4f} with the time of the day")
    return f"an agreement that varies {' and '.join(parts)}, {seen}"


def _delay(found: Delay) -> str:
    if math.isinf(found.mean):
        return "never"
    form = ".2f" if found.mean < CYCLES else ",.0f" if found.mean < _MANY else ".3g"
    cycles = format(found.mean, form)
    if found.is_least:
        return f"at least {cycles}"
    return f"{cycles} (+-{found.error:.2f})" if found.error else cycles


def _median_agreement(points: Sequence[CyclePoint], left_out: Collection[datetime]) -> float | None:
    values = [value_of("agreement", point) for point in points if point.window_end not in left_out]
    known = [float(value) for value in values if value is not None]
    return median(known) if known else None


def _drifts(rules: Sequence[Rule]) -> tuple[float, ...]:
    highest = max((rule.threshold for rule in rules if unknown(rule) is None), default=Decimal(0))
    return tuple(float(highest - below) for below in _DRIFTS if highest >= below)
