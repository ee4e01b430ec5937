"""Measurements on a sample. Shares are in [0, 1]; KL is in nats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from db.records.accuracy import AccuracyEstimates
from db.records.intervals import Interval
from db.records.slices import Slice
from db.states import LabelOutcome


@dataclass(frozen=True, kw_only=True)
class LabelMeasurement:
    """One label's requests, grouped by the teacher's top-1 label."""

    label: str
    n: int
    share: float  #: of the window
    agreement: Interval
    kl: float


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A comparison of the answers recorded in the log with those of the student."""

    n_recorded: int  #: sampled requests whose logits are in the log
    n_rescored: int  #: those of them that the student scored too
    skew: Interval | None  #: the share whose first label differs; None if none was scored again


@dataclass(frozen=True, kw_only=True)
class OutcomeTally:
    """The labelled requests with one outcome."""

    outcome: LabelOutcome
    n: int
    weight: float  #: the sum of their weights
    squares: float  #: the sum of their squared weights


@dataclass(frozen=True, kw_only=True)
class Correctness:
    """The correctness of both models on the requests whose true label is known, counted by their weights."""

    n_labelled: int
    n_disagreements: int  #: those of them with different top-1 labels
    n_out_of_scope: int  #: disagreements whose true label the models do not know
    teacher_right: Interval  #: a share of the disagreements; the three add up to 1
    student_right: Interval
    both_wrong: Interval  #: includes those out of scope
    teacher_accuracy: Interval  #: a share of all labelled requests
    student_accuracy: Interval
    tallies: tuple[OutcomeTally, ...]  #: the source of all these numbers; one for each outcome, in order


@dataclass(frozen=True, kw_only=True)
class LateLabel:
    """The true label of a sampled request, with the answers of both models."""

    request_hash: str  #: the hash of its id (see `db.cycles.labels.request_hash`)
    label: str | None  #: None: not one of the models' labels
    teacher_label: str
    student_label: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class TeacherMeasurement:
    """Measurements of the teacher by itself, for the whole window, at T = 1."""

    confidence: Interval  #: mean probability of its first label
    entropy: Interval  #: mean entropy over the labels, in nats
    n_effective: float  #: size of a uniform sample with the same precision of a share
    label_gap: float  #: Jensen-Shannon divergence of its mix of labels from the student's, in nats
    #: The share of each pair of first labels (the teacher's, the student's); not stored.
    confusion: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MixShift:
    """The shift of the teacher's mix of labels from that of its reference. Divergences are JS in nats.

    A label is familiar if the student is known to give it; see `triggers.teacher.mix`.
    """

    label_shift: float  #: the shift of all labels
    familiar_share: float  #: the share of the window's requests with a familiar label
    familiar_shift: float | None  #: the shift of the familiar labels; None if no request has one
    familiar_gap: float | None  #: their divergence from the student's labels of the same requests


@dataclass(frozen=True, kw_only=True)
class InputDrift:
    """The difference between a window's requests and those of its reference, an earlier, healthy window."""

    reference_cycle_id: int
    n: int  #: texts of the window that were compared
    n_reference: int  #: texts of the reference
    accuracy: float  #: of a classifier that distinguishes the two, in [0, 1]; 0.5: chance
    p_value: float  #: the probability of at least this accuracy by chance
    psi: Interval  #: the population stability index of the teacher's labels, nats
    js: Interval  #: the Jensen-Shannon divergence of the teacher's labels, nats


@dataclass(frozen=True, kw_only=True)
class ShareChange:
    """The change of one label's share of the requests."""

    label: str  #: the teacher's label
    then: float  #: the share in the reference
    now: float  #: the share in the window


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The measured distance between teacher and student, for the whole window."""

    n: int
    disagreements: int
    agreement: Interval
    exact_agreement: Fraction | None  #: as an exact fraction; None without requests
    kl: Interval
    kl_p50: float
    kl_p95: float
    kl_p99: float
    kl_t1: float
    js: float
    per_label: tuple[LabelMeasurement, ...]
    by_stratum: tuple[int, ...]  #: disagreements in each stratum
    teacher: TeacherMeasurement
    kl_values: tuple[float, ...] = ()  #: one for each request; not stored
    weights: tuple[float, ...] = ()  #: the weight of each request in the window; 1 on average
    serving: Serving | None = None  #: None if recorded answers are not used
    correctness: Correctness | None = None  #: None if the log has no true labels
    input_drift: InputDrift | None = None  #: None without a reference
    accuracy: AccuracyEstimates | None = None  #: of the student, by the teacher and true labels
    slices: tuple[Slice, ...] = ()  #: that disagree most, the first one first; without words
