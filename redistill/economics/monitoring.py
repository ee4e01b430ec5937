"""The cost of monitoring by its schedule, and the sample and the interval that pay."""

import math
from dataclasses import dataclass
from typing import Final

from redistill.economics.month import DAYS, batches, saving_per_10k
from redistill.economics.outcomes import UNIT
from redistill.economics.settings import EconomicsSection

HOURS: Final = DAYS * 24


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The cycles of a monitor in a month, and the size of its samples."""

    cycles_per_month: float
    sample_size: int
    min_samples: int  #: scored requests for a verdict
    student_is_recorded: bool  #: its answers are in the log, so that only the teacher scores

    @property
    def hours(self) -> float:
        """The interval of the cycles."""
        return HOURS / self.cycles_per_month


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """The cost of monitoring in a month, and where it equals the saving."""

    cycles: float
    scored_per_cycle: float
    cost: float
    saving: float
    break_even_share: float  #: of all requests: where this share is scored, monitoring costs the saving
    largest_sample: int  #: the sample at that share, with the interval as it is
    sample_size: int | None  #: the recommended values; None: no sample pays
    interval_hours: float | None
    best_interval_hours: float | None  #: at which monitoring and unseen drifts cost least; None: not known

    @property
    def pays(self) -> bool:
        """Return whether monitoring costs at most the saving."""
        return self.cost <= self.saving


def monitoring(section: EconomicsSection, schedule: Schedule) -> Monitoring:
    """Return the cost of monitoring: cycles · min(sample, requests of a window) / 10,000 · (c_T + c_S).

    With recorded answers of the student, c_S is left out. Requests are taken to arrive evenly. The
    recommended sample is the configured one, or the largest that costs at most the saving. If that is below
    `min_samples`, it is `min_samples` and the interval is longer. Where the number of drifts and their harm
    are configured, the interval is at least the best one.

    Example:
        >>> hourly = Schedule(
        ...     cycles_per_month=720, sample_size=10_000, min_samples=1_000, student_is_recorded=False
        ... )
        >>> found = monitoring(EconomicsSection(), hourly)
        >>> round(found.cost, 2), round(found.break_even_share, 3), found.largest_sample
        (7.56, 0.407, 792)
    """
    unit, saved = unit_cost(section, schedule), saving_per_10k(section)
    per_cycle = section.requests_per_month / schedule.cycles_per_month
    scored = min(schedule.sample_size, per_cycle)
    share = min(max(saved / unit, 0.0), 1.0) if unit > 0 else float(saved >= 0)
    sample, hours, best = None, None, None
    if share > 0:
        sample, hours = _recommended(section, schedule, share)
        best = best_interval_hours(section, sample / UNIT * unit)
        hours = max(hours, best or 0)
    return Monitoring(
        cycles=schedule.cycles_per_month,
        scored_per_cycle=scored,
        cost=schedule.cycles_per_month * scored / UNIT * unit,
        saving=batches(section) * saved,
        break_even_share=share,
        largest_sample=math.floor(share * per_cycle),
        sample_size=sample,
        interval_hours=hours,
        best_interval_hours=best,
    )


def unit_cost(section: EconomicsSection, schedule: Schedule) -> float:
    """Return the cost of scoring 10,000 requests."""
    student = 0.0 if schedule.student_is_recorded else section.cost_per_10k_student
    return section.cost_per_10k_teacher + student


def best_interval_hours(section: EconomicsSection, cost_per_cycle: float) -> float | None:
    """Return τ* = √(C / (λ h D)), the interval at which C / τ + λ h D τ is least; None: λ or h is not known.

    C is the cost of a cycle, λ the drifts in a month, h the harm of one drift in a month until it ends, and D
    the cycles from its start to its detection.

    Example:
        >>> section = EconomicsSection(drifts_per_month=0.5, drift_misroutes=500)
        >>> round(best_interval_hours(section, 0.0054), 2)
        1.43
    """
    drifts, misroutes = section.drifts_per_month, section.drift_misroutes
    if drifts is None or misroutes is None or section.harm_cost == 0:
        return None
    harm = batches(section) * misroutes * section.harm_cost
    return HOURS * math.sqrt(cost_per_cycle / (drifts * harm * section.detection_cycles))


def _recommended(section: EconomicsSection, schedule: Schedule, share: float) -> tuple[int, float]:
    """Return a sample and an interval in hours, of which monitoring costs at most the saving."""
    per_hour = section.requests_per_month / HOURS
    affordable = math.floor(share * per_hour * schedule.hours)
    if affordable >= schedule.min_samples:
        return min(schedule.sample_size, affordable), schedule.hours
    return schedule.min_samples, schedule.min_samples / (share * per_hour)
