"""The outcomes of 10,000 requests, teacher against student."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db.records import Interval
from redistill.economics.settings import EconomicsSection
from triggers.wilson import score_interval

Floats = NDArray[np.float64]

#: The unit of comparison: requests.
UNIT: Final = 10_000
#: The number of draws of every uncertain amount.
DRAWS: Final = 100_000
#: The two-sided 95% quantile of the normal distribution.
Z: Final = 1.959963984540054

RIGHT: Final = "right"
LOW_COST: Final = "low_cost_misroutes"
CRITICAL: Final = "critical_misroutes"
LATE: Final = "late"
#: The cost of all misroutes by the cost matrix, in the user's currency.
COST: Final = "misroute_cost"


class Source(StrEnum):
    """The origin of the counts of an outcome."""

    TEST = "test"  #: the labelled test set, answered by both models
    TRAFFIC = "traffic"  #: the newest archived sample with enough true labels
    CONFIGURED = "configured"  #: a key of [economics]
    DESIGN = "design"  #: the default of such a key


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """The count of one thing in 10,000 requests, with 95% intervals."""

    name: str
    teacher: Interval
    student: Interval
    extra: Interval  #: the student's minus the teacher's
    extra_unpaired: Interval  #: the same, as if each model had answered other requests
    paired: bool  #: whether both models answered the same requests, as far as `extra` is concerned
    source: Source
    rows: int  #: requests from which the counts are known
    draws: Floats  #: (DRAWS,) of `extra`


def configured(section: EconomicsSection, rng: np.random.Generator) -> Mapping[str, Outcome]:
    """Return the outcomes of the configured counts, by name.

    The two accuracies were measured on the same `right_rows` rows, of which a share `discordant` is right for
    exactly one model: the variance of their difference is (d - Δ²) / n. The other counts are those of one
    sample of 10,000 requests, without a joint count: their difference has the sum of both variances. The
    intervals of differences are Wald's, as there are no rows to resample; those of one model are Wilson's.

    Example:
        >>> outcomes = configured(EconomicsSection(), np.random.default_rng(2025))
        >>> right = outcomes[RIGHT].extra
        >>> (right.estimate, round(right.low), round(right.high))
        (-160.0, -201, -119)
    """
    difference = (section.right[1] - section.right[0]) / UNIT
    joint = math.sqrt((section.discordant / UNIT - difference**2) / section.right_rows)
    return {
        name: _counted(section, name, rows, UNIT * joint if name == RIGHT else None, rng)
        for name, rows in (
            (RIGHT, section.right_rows),
            (LOW_COST, UNIT),
            (CRITICAL, UNIT),
            (LATE, UNIT),
        )
    }


def scaled(interval: Interval, factor: float) -> Interval:
    """Return an interval in another unit; a negative factor exchanges its bounds.

    Example:
        >>> scaled(Interval(estimate=1.0, low=0.5, high=2.0), -2)
        Interval(estimate=-2.0, low=-4.0, high=-1.0)
    """
    bounds = (interval.low * factor, interval.high * factor)
    return Interval(estimate=interval.estimate * factor, low=min(bounds), high=max(bounds))


def wald(estimate: float, error: float) -> Interval:
    """Return the estimate with its bounds, 1.96 standard errors away."""
    return Interval(estimate=estimate, low=estimate - Z * error, high=estimate + Z * error)


def _counted(
    section: EconomicsSection, name: str, rows: int, joint: float | None, rng: np.random.Generator
) -> Outcome:
    teacher, student = getattr(section, name)
    shares = teacher / UNIT, student / UNIT
    apart = UNIT * math.sqrt(sum(share * (1 - share) / rows for share in shares))
    extra = float(student - teacher)
    error = apart if joint is None else joint
    return Outcome(
        name=name,
        teacher=scaled(score_interval(shares[0], rows), UNIT),
        student=scaled(score_interval(shares[1], rows), UNIT),
        extra=wald(extra, error),
        extra_unpaired=wald(extra, apart),
        paired=joint is not None,
        source=Source.CONFIGURED if name in section.model_fields_set else Source.DESIGN,
        rows=rows,
        draws=rng.normal(extra, error, DRAWS),
    )
