"""Records with sensible values; a test names only those that it is about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from db.records import (
    AccuracyEstimates,
    Archive,
    CyclePoint,
    CycleResult,
    InputDrift,
    Interval,
    Job,
    LabelMeasurement,
    Measurement,
    NewJob,
    Reject,
    Slice,
    SliceNumbers,
    Slot,
    Stratum,
    TeacherMeasurement,
    Traffic,
)
from db.states import CycleStatus, JobDecision, JobStatus, SliceKind

START = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEACHER = "teacher-1"
STUDENT = "student-1"
LABELS = ("order_tracking", "escalation")


def make_slot(index: int = 0, *, monitor: str = "mangaassist") -> Slot:
    """The index-th hourly slot after START."""
    return Slot(monitor=monitor, window_start=START + index * HOUR, window_end=START + (index + 1) * HOUR)


def index_of(window_end: datetime) -> int:
    """Return the index of the slot with that end, as `make_slot` counts."""
    return (window_end - START) // HOUR - 1


def make_interval(estimate: float, *, half_width: float = 0.004) -> Interval:
    return Interval(estimate=estimate, low=estimate - half_width, high=estimate + half_width)


def make_teacher(
    *, confidence: float = 0.93, entropy: float = 0.18, n: float = 5_500, label_gap: float = 0.0
) -> TeacherMeasurement:
    return TeacherMeasurement(
        confidence=make_interval(confidence),
        entropy=make_interval(entropy),
        n_effective=n,
        label_gap=label_gap,
    )


def make_measurement(
    *,
    n: int = 5_500,
    disagreements: int = 143,
    kl: float = 0.083,
    labels: tuple[str, ...] = LABELS,
    teacher: TeacherMeasurement | None = None,
) -> Measurement:
    """The design's healthy student unless told otherwise; the labels share the requests evenly."""
    agreement = make_interval(1 - disagreements / n)
    return Measurement(
        n=n,
        disagreements=disagreements,
        agreement=agreement,
        exact_agreement=Fraction(n - disagreements, n),
        kl=make_interval(kl),
        kl_p50=kl / 2,
        kl_p95=kl * 3,
        kl_p99=kl * 6,
        kl_t1=kl * 2,
        js=kl / 4,
        per_label=tuple(
            LabelMeasurement(
                label=label, n=n // len(labels), share=1 / len(labels), agreement=agreement, kl=kl
            )
            for label in labels
        ),
        by_stratum=(disagreements,),
        teacher=teacher or make_teacher(n=n),
    )


def make_accuracy(by_confidence: float = 0.93) -> AccuracyEstimates:
    """A calibrated teacher's, without labels."""
    return AccuracyEstimates(
        teacher_temperature=1.4,
        by_confidence=make_interval(by_confidence),
        n_labels=0,
        by_labels=None,
        rectifier=None,
        contradicted=None,
    )


def make_input_drift(
    *, reference_cycle_id: int = 1, accuracy: float = 0.634, p_value: float = 1 / 1_001
) -> InputDrift:
    return InputDrift(
        reference_cycle_id=reference_cycle_id,
        n=1_000,
        n_reference=1_000,
        accuracy=accuracy,
        p_value=p_value,
        psi=make_interval(0.12, half_width=0.02),
        js=make_interval(0.014),
    )


def make_slice(
    name: str = "escalation", *, kind: SliceKind = SliceKind.LABEL, q_moved: float | None = 1e-6
) -> Slice:
    """A slice that moved unless told otherwise; without `q_moved` there is no reference."""
    return Slice(
        kind=kind,
        name=name,
        student_label="order_tracking" if kind is SliceKind.CONFUSION else None,
        n=220,
        n_texts=200,
        n_disagreements=120,
        now=SliceNumbers(share=0.04, rate=0.54, excess=0.019),
        part=0.31,
        p_value=1e-9,
        q_value=1e-7,
        reference=None if q_moved is None else SliceNumbers(share=0.01, rate=0.05, excess=0.0003),
        q_moved=q_moved,
    )


def make_traffic(
    *, n_seen: int = 50_000, n_sampled: int = 5_500, rejects: tuple[Reject, ...] = ()
) -> Traffic:
    return Traffic(
        n_seen=n_seen,
        n_sampled=n_sampled,
        n_rejected=sum(reject.n for reject in rejects),
        rejects=rejects,
        strata=(Stratum(label=None, n_seen=n_seen, n=n_sampled),),
    )


def make_result(
    *,
    measurement: Measurement | None = None,
    traffic: Traffic | None = None,
    archive: Archive | None = None,
    teacher_version: str = TEACHER,
    student_version: str = STUDENT,
    alpha: Decimal | None = Decimal("0.7"),
) -> CycleResult:
    """A measured cycle; its traffic fits the measurement. For an empty window use make_empty_result."""
    measured = measurement or make_measurement()
    return CycleResult(
        traffic=traffic or make_traffic(n_sampled=measured.n),
        measurement=measured,
        archive=archive,
        teacher_version=teacher_version,
        student_version=student_version,
        alpha=alpha,
        temperature=3.0,
    )


def make_empty_result(*, rejects: tuple[Reject, ...] = ()) -> CycleResult:
    """A cycle in whose window nothing could be sampled."""
    return CycleResult(
        traffic=make_traffic(n_seen=0, n_sampled=0, rejects=rejects),
        measurement=None,
        archive=None,
        teacher_version=TEACHER,
        student_version=STUDENT,
        alpha=Decimal("0.7"),
        temperature=3.0,
    )


def make_point(
    index: int = 0,
    *,
    n: int = 5_500,
    disagreements: int = 143,
    kl: float = 0.083,
    teacher_version: str = TEACHER,
    student_version: str = STUDENT,
) -> CyclePoint:
    """The evaluated cycle of the index-th hourly slot after START."""
    return CyclePoint(
        window_end=make_slot(index).window_end,
        status=CycleStatus.EVALUATED,
        teacher_version=teacher_version,
        student_version=student_version,
        n=n,
        disagreements=disagreements,
        kl=kl,
        kl_t1=kl * 2,
        js=kl / 4,
    )


def make_blind_point(index: int = 0, *, status: CycleStatus = CycleStatus.INCONCLUSIVE) -> CyclePoint:
    """A cycle without evidence: inconclusive unless told to be failed or skipped."""
    return CyclePoint(window_end=make_slot(index).window_end, status=status)


def make_job(**fields: Any) -> Job:  # noqa: ANN401 - any field of a Job
    """A job that has promoted its candidate, unless told otherwise."""
    usual = {
        "job_id": 7,
        "monitor": "mangaassist",
        "cycle_id": 1,
        "rule": "low-agreement",
        "reason": "agreement 0.93 below 0.95 for 3 cycles",
        "teacher_version": TEACHER,
        "student_version": STUDENT,
        "alpha_from": Decimal("0.7"),
        "alpha_to": Decimal("0.6"),
        "temperature": 3.0,
        "status": JobStatus.SUCCEEDED,
        "attempt": 1,
        "enqueued_at": START,
        "started_at": START,
        "finished_at": START,
        "candidate_version": "student-2",
        "decision": JobDecision.PROMOTED,
        "decision_reason": None,
    }
    return Job(**{**usual, **fields})


def make_new_job(monitor: str = "mangaassist", *, cycle_id: int | None = None) -> NewJob:
    """A re-distillation to enqueue; it names no cycle by default."""
    return NewJob(
        monitor=monitor,
        cycle_id=cycle_id,
        rule="low-agreement",
        reason="agreement 0.94 below 0.95 for 3 cycles",
        teacher_version=TEACHER,
        student_version=STUDENT,
        alpha_from=Decimal("0.7"),
        alpha_to=Decimal("0.6"),
        temperature=3.0,
    )
