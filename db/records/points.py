"""A cycle as the rules and the teacher's health see it, and what they say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from db.records.intervals import Interval
from db.records.measurements import Correctness, LabelMeasurement, TeacherMeasurement
from db.states import CycleStatus, OutcomeReason


@dataclass(frozen=True, kw_only=True)
class StratumCount:
    """How many requests of a stratum were scored, and what came of them."""

    n_seen: int  #: distinct usable requests of the window
    n: int  #: of them in the sample
    disagreements: int


@dataclass(frozen=True, kw_only=True)
class CyclePoint:
    """One cycle as the rules see it. Values are None unless the cycle was evaluated."""

    window_end: datetime
    status: CycleStatus  #: EVALUATED: there is enough evidence for the rules to look at it
    teacher_version: str | None = None
    student_version: str | None = None
    n: int | None = None
    disagreements: int | None = None
    agreement: Fraction | None = None  #: where requests of one sample stand for more and for fewer
    kl: float | None = None
    kl_t1: float | None = None
    js: float | None = None
    serving_skew: float | None = None
    input_drift: float | None = None  #: the classifier's accuracy
    intervals: Mapping[str, Interval] = field(default_factory=dict)  #: by metric, of those that have one
    labels: Mapping[str, LabelMeasurement] = field(default_factory=dict)  #: by the teacher's label
    strata: tuple[StratumCount, ...] = ()  #: none: the sample is uniform, of a window of unknown size
    log_increments: Mapping[str, tuple[float, ...]] = field(
        default_factory=dict
    )  #: on each level of kl, in logs
    kl_values: tuple[float, ...] = ()  #: of each request of a uniform sample, where they are at hand


@dataclass(frozen=True, kw_only=True)
class TeacherPoint:
    """One cycle as the teacher's health is judged by it."""

    measured: TeacherMeasurement
    agreement: Interval  #: with the student
    labels: Mapping[str, LabelMeasurement]  #: by the teacher's label
    correctness: Correctness | None = None  #: by the true labels that the log had


@dataclass(frozen=True, kw_only=True)
class KnownTeacher:
    """What is known of a teacher before a cycle of its own."""

    version: str
    predecessor: str | None  #: whom it follows, as long as its own reference is not whole
    reference: tuple[TeacherPoint, ...]  #: its first cycles; as long as they are too few, another's
    reference_version: str | None  #: whose cycles those are; None: there are none
    labelled: tuple[Correctness, ...] = ()  #: who was right in its newest cycles with true labels


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """What one rule says at one cycle (the words are defined in docs/metrics.md)."""

    window_end: datetime
    rule: str
    metric: str
    value: float | None
    threshold: float
    breached: bool
    streak: int
    fired: bool
    reason: OutcomeReason
    statistic: float | None = None  #: of a sequential rule: the log of its evidence
    rule_version: str = ""  #: SHA-256 of the rule's text
    side: str = field(default="", compare=False)  #: below or above; empty of a group; not stored


@dataclass(frozen=True, kw_only=True)
class Details:
    """What is read of each cycle besides its own row."""

    labels: bool = False
    strata: bool = False
    log_increments: bool = False
    input_drift: bool = False
