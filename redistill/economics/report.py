"""The whole comparison of teacher and student: 10,000 requests, a month, a year."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

import numpy as np

from redistill.economics.monitoring import Monitoring, Schedule, monitoring
from redistill.economics.month import (
    MONTHS,
    BreakEven,
    Month,
    SoftLabels,
    break_even,
    month,
    offline_from_runs,
    saving_per_10k,
)
from redistill.economics.outcomes import DRAWS, Outcome
from redistill.economics.settings import EconomicsSection

_DECIMALS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Report:
    """The economics of one monitor. Amounts are in the user's currency."""

    section: EconomicsSection
    outcomes: tuple[Outcome, ...]
    month: Month
    break_even: BreakEven
    monitoring: Monitoring
    soft_labels: SoftLabels
    offline_from_runs: float | None

    @property
    def document(self) -> Mapping[str, object]:
        """The report for --json, without the draws; numbers are rounded to 10 decimals."""
        amounts = self.month
        low, mode, high = self.section.harm_costs
        return {
            "requests_per_month": self.section.requests_per_month,
            "per_10k": {
                "outcomes": [_plain(each) for each in self.outcomes],
                "cost": {
                    "teacher": self.section.cost_per_10k_teacher,
                    "student": self.section.cost_per_10k_student,
                    "saving": _plain(saving_per_10k(self.section)),
                },
            },
            "harm": self.section.harm,
            "harm_cost": {"low": low, "mode": mode, "high": high},
            "month": _plain(amounts),
            "year": _plain(
                {
                    "saving": MONTHS * amounts.saving,
                    "net_of_harm": MONTHS * amounts.net_of_harm,
                    "net": MONTHS * amounts.net,
                }
            ),
            "break_even": _plain(self.break_even),
            "monitoring": {**_plain(self.monitoring), "pays": self.monitoring.pays},
            "soft_labels": {"used": self.soft_labels, "offline_from_runs": self.offline_from_runs},
            "draws": DRAWS,
        }


def report(
    section: EconomicsSection,
    outcomes: Mapping[str, Outcome],
    schedule: Schedule,
    *,
    soft_labels: SoftLabels,
    rng: np.random.Generator,
) -> Report:
    """Return the report of the outcomes, in their order. Errors are as for `month`."""
    watched = monitoring(section, schedule)
    return Report(
        section=section,
        outcomes=tuple(outcomes.values()),
        month=month(section, outcomes, monitoring=watched.cost, soft_labels=soft_labels, rng=rng),
        break_even=break_even(section, outcomes),
        monitoring=watched,
        soft_labels=soft_labels,
        offline_from_runs=offline_from_runs(section),
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - any part of a report
    """Return a value as dictionaries and numbers without the noise of binary fractions."""
    if is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in fields(value)
            if not isinstance(getattr(value, field.name), np.ndarray)
        }
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return round(value, _DECIMALS) if isinstance(value, float) else value
