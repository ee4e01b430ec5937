"""A cycle as the rules and the teacher's health see it, and the outcomes of the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from db.records.intervals import Interval
from db.records.measurements import Correctness, LabelMeasurement, TeacherMeasurement
from db.states import CycleStatus, OutcomeReason


@dataclass(frozen=True, kw_only=True)
class StratumCount:
    """The counts of a stratum's requests: in the window, in the sample, and with disagreement."""

    n_seen: int  #: distinct usable requests of the window
    n: int  #: those of them in the sample
    disagreements: int


@dataclass(frozen=True, kw_only=True)
class CyclePoint:
    """One cycle as the rules see it. The values are None unless the cycle was evaluated."""

    window_end: datetime
    status: CycleStatus  #: EVALUATED: there is enough evidence for the rules
    teacher_version: str | None = None
    student_version: str | None = None
    n: int | None = None
    disagreements: int | None = None
    agreement: Fraction | None = None  #: weighted, if the sample's requests have different weights
    kl: float | None = None
    kl_t1: float | None = None
    js: float | None = None
    serving_skew: float | None = None
    input_drift: float | None = None  #: the classifier's accuracy
    intervals: Mapping[str, Interval] = field(default_factory=dict)  #: by metric, if it has one
    labels: Mapping[str, LabelMeasurement] = field(default_factory=dict)  #: by the teacher's label
    strata: tuple[StratumCount, ...] = ()  #: empty: a uniform sample of a window of unknown size
    #: By metric and level: the log increment of each bet at this cycle.
    log_increments: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    kl_values: tuple[float, ...] = ()  #: of each request of a uniform sample, if available
    n_slots: int = 1  #: that it counts for if it is not evaluated


@dataclass(frozen=True, kw_only=True)
class TeacherPoint:
    """One cycle as used to judge the teacher's health."""

    measured: TeacherMeasurement
    agreement: Interval  #: with the student
    labels: Mapping[str, LabelMeasurement]  #: by the teacher's label
    correctness: Correctness | None = None  #: by the true labels in the log


@dataclass(frozen=True, kw_only=True)
class KnownTeacher:
    """The facts known about a teacher before one of its cycles."""

    version: str
    predecessor: str | None  #: the teacher before it, until its own reference is complete
    reference: tuple[TeacherPoint, ...]  #: its first cycles, or another teacher's while they are too few
    reference_version: str | None  #: the teacher of the reference; None: there is none
    labelled: tuple[Correctness, ...] = ()  #: the correctness in its newest cycles with true labels


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """The outcome of one rule at one cycle (the terms are defined in docs/metrics.md)."""

    window_end: datetime
    rule: str
    metric: str
    value: float | None
    threshold: float
    breached: bool
    streak: int
    fired: bool
    reason: OutcomeReason
    statistic: float | None = None  #: of a sequential rule: the log of the mean wealth of its bets
    rule_version: str = ""  #: SHA-256 of the rule's text
    side: str = field(default="", compare=False)  #: below or above; empty for a group; not stored


@dataclass(frozen=True, kw_only=True)
class Details:
    """The parts of each cycle that are read besides its own row."""

    labels: bool = False
    strata: bool = False
    log_increments: bool = False
    input_drift: bool = False
