"""What a sample says. Shares are in [0, 1]; KL is in nats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from db.records.intervals import Interval
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
    """Whether the answers that a log recorded are those that the student gives."""

    n_recorded: int  #: sampled requests whose logits the log has
    n_rescored: int  #: of them scored by the student too
    skew: Interval | None  #: the share with another first label; None if none was scored again


@dataclass(frozen=True, kw_only=True)
class OutcomeTally:
    """The labelled requests about which the same one is right."""

    outcome: LabelOutcome
    n: int
    weight: float  #: the sum of what they stand for
    squares: float  #: the sum of the squares of that


@dataclass(frozen=True, kw_only=True)
class Correctness:
    """Who is right, of the requests whose true label is known; each counts as what it stands for."""

    n_labelled: int
    n_disagreements: int  #: of them with different top-1 labels
    n_out_of_scope: int  #: of the disagreements, those whose true label the models do not know
    teacher_right: Interval  #: shares of the disagreements; the three add up to 1
    student_right: Interval
    both_wrong: Interval  #: those out of scope among them
    teacher_accuracy: Interval  #: shares of all labelled requests
    student_accuracy: Interval
    tallies: tuple[OutcomeTally, ...]  #: what all of it was computed from; one for each outcome, in order


@dataclass(frozen=True, kw_only=True)
class LateLabel:
    """The true label of a sampled request, and what the two answered."""

    request_hash: str  #: of its id (see `db.cycles.labels.request_hash`)
    label: str | None  #: None: it is none of the models' labels
    teacher_label: str
    student_label: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class TeacherMeasurement:
    """What one sample says about the teacher by itself, in the whole window, at T = 1."""

    confidence: Interval  #: mean probability of its first label
    entropy: Interval  #: mean entropy over the labels, in nats
    n_effective: float  #: requests of a uniform sample that would be as sure of a share
    label_gap: float  #: Jensen-Shannon divergence of its mix of labels from the student's, in nats
    #: The share of each pair of first labels, the teacher's and the student's; not stored.
    confusion: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MixShift:
    """A cycle's mix of the teacher's labels against its reference's. Divergences are JS in nats.

    A label is familiar when the student is known to give it; see `triggers.teacher.mix`.
    """

    label_shift: float  #: of all labels, from the reference
    familiar_share: float  #: of the window's requests, with a familiar label
    familiar_shift: float | None  #: of the familiar labels, from the reference; None where no request has one
    familiar_gap: float | None  #: of the familiar labels, from the student's labels of the same requests


@dataclass(frozen=True, kw_only=True)
class InputDrift:
    """How the requests of a window differ from those of its reference: an earlier, healthy window."""

    reference_cycle_id: int
    n: int  #: texts of the window that were compared
    n_reference: int  #: texts of the reference
    accuracy: float  #: of a classifier that tells the two apart, in [0, 1]; 0.5: not at all
    p_value: float  #: how often as much comes of chance
    psi: Interval  #: of the teacher's labels: their population stability index, nats
    js: Interval  #: their Jensen-Shannon divergence, nats


@dataclass(frozen=True, kw_only=True)
class Move:
    """A label whose share of the requests has changed."""

    label: str  #: the teacher's
    then: float  #: its share of the reference
    now: float  #: its share of the window


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one sample says about the distance between teacher and student, in the whole window."""

    n: int
    disagreements: int
    agreement: Interval
    exact_agreement: Fraction | None  #: the same; None of no requests
    kl: Interval
    kl_p50: float
    kl_p95: float
    kl_p99: float
    kl_t1: float
    js: float
    per_label: tuple[LabelMeasurement, ...]
    by_stratum: tuple[int, ...]  #: disagreements in each stratum
    teacher: TeacherMeasurement
    kl_values: tuple[float, ...] = ()  #: of each request; not stored
    weights: tuple[float, ...] = ()  #: how much of the window each stands for; 1 in the mean
    serving: Serving | None = None  #: None where recorded answers are not used
    correctness: Correctness | None = None  #: None where the log has no true labels
    input_drift: InputDrift | None = None  #: None without a reference
