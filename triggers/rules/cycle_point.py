"""The point that rules and teacher health take from a new measurement."""

from collections.abc import Sequence

from db.records import (
    Claim,
    CyclePoint,
    CycleResult,
    Interval,
    Measurement,
    StratumCount,
    TeacherPoint,
    Traffic,
)
from db.states import CycleStatus
from triggers.rules.observation import log_increments_of
from triggers.settings import Rule


def point_of(claim: Claim, result: CycleResult, status: CycleStatus, rules: Sequence[Rule]) -> CyclePoint:
    """Return the point that `cycle_points.read` will give for the cycle, with what `rules` need."""
    measured = result.measurement
    skew = _serving_skew(measured)
    return CyclePoint(
        window_end=claim.slot.window_end,
        status=status,
        teacher_version=result.teacher_version,
        student_version=result.student_version,
        n=measured.n if measured else None,
        disagreements=measured.disagreements if measured else None,
        agreement=measured.exact_agreement if measured else None,
        kl=measured.kl.estimate if measured else None,
        kl_t1=measured.kl_t1 if measured else None,
        js=measured.js if measured else None,
        serving_skew=skew.estimate if skew else None,
        input_drift=measured.input_drift.accuracy if measured and measured.input_drift else None,
        intervals={} if measured is None else _intervals(measured, skew),
        labels={} if measured is None else {each.label: each for each in measured.per_label},
        strata=() if measured is None else _strata(result.traffic, measured),
        log_increments={} if measured is None else log_increments_of(rules, measured),
    )


def teacher_point_of(measured: Measurement) -> TeacherPoint:
    """Return the teacher's numbers by which its health is judged."""
    return TeacherPoint(
        measured=measured.teacher,
        agreement=measured.agreement,
        labels={each.label: each for each in measured.per_label},
        correctness=measured.correctness,
    )


def _serving_skew(measured: Measurement | None) -> Interval | None:
    return measured.serving.skew if measured and measured.serving else None


def _intervals(measured: Measurement, skew: Interval | None) -> dict[str, Interval]:
    found = {"agreement": measured.agreement, "kl": measured.kl}
    return found if skew is None else {**found, "serving_skew": skew}


def _strata(traffic: Traffic, measured: Measurement) -> tuple[StratumCount, ...]:
    return tuple(
        StratumCount(n_seen=each.n_seen, n=each.n, disagreements=disagreements)
        for each, disagreements in zip(traffic.strata, measured.by_stratum, strict=True)
    )
