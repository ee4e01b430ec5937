from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Claim, CyclePoint, Incident
from db.states import (
    IncidentKind,
    IncidentState,
    JobRecovery,
    JobStatus,
    OrderReason,
    Severity,
    TeacherHealth,
    TeacherReason,
    Verdict,
)
from tests.support.records.factories import make_blind_point, make_job, make_point, make_result, make_slot
from triggers.incidents.lifecycle import Signal, SignalState, Transition, step
from triggers.incidents.signals import Situation, of_cycle, of_job
from triggers.judged_cycle import JudgedCycle
from triggers.orders.alpha import Order
from triggers.orders.promotion_watch import Watch
from triggers.rules.evaluation import evaluate, unevaluated_in_a_row
from triggers.rules.verdict import SampleQuality, failed, judge
from triggers.settings import DEFAULT_RULES, SERVING_RULE, Rule
from triggers.teacher.trust import TeacherJudgement

DRIFT, RETRAIN, BLIND = IncidentKind.DRIFT, IncidentKind.RETRAIN_TEACHER, IncidentKind.BLIND
SKEW = IncidentKind.SERVING_SKEW
UNHEALTHY, CHANGED = IncidentKind.TEACHER_UNHEALTHY, IncidentKind.TEACHER_CHANGED
INPUT, QUALITY = IncidentKind.INPUT_DRIFT, IncidentKind.DATA_QUALITY
REJECTED, FAILED = IncidentKind.CANDIDATE_REJECTED, IncidentKind.JOB_FAILED
FIRING, RESOLVED = IncidentState.FIRING, IncidentState.RESOLVED


@dataclass(frozen=True, kw_only=True)
class Seen:
    situation: Situation
    open_kinds: Sequence[IncidentKind]


def make_order(reason: OrderReason) -> Order:
    return Order(
        reason=reason, alpha_from=Decimal("0.7"), alpha_to=Decimal("0.7"), detail=f"because {reason}"
    )


def make_incident(kind: IncidentKind) -> Incident:
    return Incident(
        incident_id=7,
        monitor="mangaassist",
        kind=kind,
        severity=Severity.CRITICAL,
        state=FIRING,
        summary="",
        opened_at=datetime(2026, 11, 24, tzinfo=UTC),
        resolved_at=None,
        cycle_id=1,
        job_id=None,
    )


def make_teacher(health: TeacherHealth) -> TeacherJudgement:
    return TeacherJudgement(
        health=health,
        reason=TeacherReason.WITHIN,
        detail=f"it is {health}",
        accuracy=None,
        mix=None,
        reference_version=None,
    )


def make_history(pattern: str) -> list[CyclePoint]:
    """One cycle a letter: g(ood), b(ad agreement), k(l too high), s(kewed), ? (inconclusive)."""
    points = {
        "g": make_point(),
        "b": make_point(disagreements=300),
        "k": make_point(kl=0.2),
        "s": replace(make_point(), serving_skew=0.02),
        "0": replace(make_point(), serving_skew=0.0),
        "n": replace(make_point(), input_drift=0.63),
        "u": replace(make_point(), input_drift=0.5),
        "?": make_blind_point(),
    }
    ends = [make_point(index).window_end for index in range(len(pattern))]
    return [replace(points[letter], window_end=end) for letter, end in zip(pattern, ends, strict=True)]


def make_situation(
    pattern: str,
    *,
    open_kinds: Sequence[IncidentKind] = (),
    order: OrderReason = OrderReason.NOT_WANTED,
    is_latest: bool = True,
    rules: tuple[Rule, ...] = DEFAULT_RULES,
    teacher: TeacherHealth = TeacherHealth.UNKNOWN,
) -> Seen:
    """What is seen at the last cycle of the pattern."""
    history = make_history(pattern)
    outcomes = [evaluate(rule, history) for rule in rules]
    evidence = SampleQuality(
        n_scored=0 if pattern.endswith("?") and teacher is TeacherHealth.UNKNOWN else 5_500,
        n_seen=5_500,
        n_rejected=0,
        min_samples=1_000,
        max_reject_share=0.05,
        teacher_fault="it is" if teacher is TeacherHealth.UNHEALTHY else None,
    )
    cycle = JudgedCycle(
        claim=Claim(cycle_id=1, slot=make_slot(), attempt=1, started_at=make_slot().window_end),
        result=make_result(),
        rules=rules,
        outcomes=outcomes,
        judgement=judge(evidence, outcomes),
        teacher=make_teacher(teacher),
    )
    situation = Situation(
        cycle=cycle,
        order=make_order(order),
        unevaluated=unevaluated_in_a_row([point.status for point in history[::-1]]),
        is_latest=is_latest,
    )
    return Seen(situation=situation, open_kinds=open_kinds)


def plan(seen: Seen) -> tuple[Transition, ...]:
    """What is told of it."""
    found = (
        step(
            make_incident(signal.kind) if signal.kind in seen.open_kinds else None,
            signal,
            at=datetime(2026, 11, 24, tzinfo=UTC),
            keep_firing_for=timedelta(0),
        )
        for signal in of_cycle(seen.situation)
    )
    return tuple(transition for transition in found if transition is not None and transition.event)


def changes(seen: Seen) -> list[tuple[IncidentKind, IncidentState | None]]:
    return [(transition.kind, transition.to_state) for transition in plan(seen)]


def states(seen: Seen) -> dict[IncidentKind, SignalState]:
    return {signal.kind: signal.state for signal in of_cycle(seen.situation)}


@pytest.mark.parametrize(
    ("pattern", "open_kinds", "expected", "sentence"),
    [
        ("g", [], [], "a healthy cycle opens nothing"),
        ("bb", [], [], "a breach that has not fired opens nothing"),
        ("bbb", [], [(DRIFT, FIRING)], "a fired rule opens a drift"),
        ("k", [], [(DRIFT, FIRING)], "whichever rule it is"),
        ("bbbb", [DRIFT], [], "an open drift is not opened again"),
        ("bbbg", [DRIFT], [(DRIFT, RESOLVED)], "a healthy cycle resolves it"),
        ("kb", [DRIFT], [], "a breach that has not fired does not resolve it"),
        ("bbb?", [DRIFT], [], "missing data does not resolve it"),
        ("bbb??", [DRIFT], [], "nor does more of it"),
        ("bbb???", [DRIFT], [(BLIND, FIRING)], "at the third the monitor is blind, and the drift stays"),
        ("g??", [], [], "two cycles without evidence are borne"),
        ("g???", [], [(BLIND, FIRING)], "the third opens a blind"),
        ("g????", [BLIND], [], "which is not opened again"),
        ("g????", [], [(BLIND, FIRING)], "a blind that the third cycle could not open opens later"),
        ("g???g", [BLIND], [(BLIND, RESOLVED)], "any evaluated cycle resolves it: a healthy one"),
        ("g???b", [BLIND], [(BLIND, RESOLVED)], "a breached one too"),
        ("g???k", [BLIND], [(DRIFT, FIRING), (BLIND, RESOLVED)], "one that fires does both"),
        ("g", [RETRAIN], [(RETRAIN, RESOLVED)], "a healthy cycle needs no other teacher"),
        ("b", [RETRAIN], [], "a breached one still does"),
        ("?", [RETRAIN], [], "one without evidence tells nothing"),
        (
            "g",
            [DRIFT, RETRAIN, BLIND],
            [(DRIFT, RESOLVED), (RETRAIN, RESOLVED), (BLIND, RESOLVED)],
            "a healthy cycle ends them all",
        ),
    ],
)
def test_what_a_cycle_changes(
    pattern: str,
    open_kinds: list[IncidentKind],
    expected: list[tuple[IncidentKind, IncidentState]],
    sentence: str,
) -> None:
    """Incidents open and resolve by evidence; missing data is not a recovery."""
    assert changes(make_situation(pattern, open_kinds=open_kinds)) == expected, sentence


@pytest.mark.parametrize("reason", list(OrderReason))
def test_the_end_of_the_ladder_asks_for_another_teacher(reason: OrderReason) -> None:
    """Only the floor and the last attempt do; it is critical, and is asked once."""
    transitions = plan(make_situation("k", open_kinds=[DRIFT], order=reason))
    at_the_end = reason in {OrderReason.AT_FLOOR, OrderReason.ATTEMPTS_EXHAUSTED}
    assert [t.kind for t in transitions] == ([RETRAIN] if at_the_end else [])
    assert all(t.severity is Severity.CRITICAL for t in transitions)
    assert plan(make_situation("k", open_kinds=[DRIFT, RETRAIN], order=reason)) == ()


@pytest.mark.parametrize("pattern", ["g", "bbb", "k", "g???"])
@pytest.mark.parametrize("open_kinds", [[], [DRIFT, RETRAIN, BLIND]])
def test_a_cycle_that_was_filled_in_changes_nothing(pattern: str, open_kinds: list[IncidentKind]) -> None:
    """An old healthy window does not end today's drift, and an old drift pages nobody."""
    situation = make_situation(
        pattern, open_kinds=open_kinds, order=OrderReason.ATTEMPTS_EXHAUSTED, is_latest=False
    )
    assert plan(situation) == ()


@pytest.mark.parametrize(
    ("pattern", "open_kinds", "expected", "sentence"),
    [
        ("0", [], [], "what is served is what the student answers"),
        ("s", [], [(SKEW, FIRING)], "it is not"),
        ("ss", [SKEW], [], "an open one is not opened again"),
        ("s0", [SKEW], [(SKEW, RESOLVED)], "it is again"),
        ("sg", [SKEW], [], "without recorded answers nobody knows"),
        ("s?", [SKEW], [], "nor without evidence"),
        ("s", [DRIFT], [(DRIFT, RESOLVED), (SKEW, FIRING)], "it says nothing of the student"),
    ],
)
def test_what_is_served_has_an_incident_of_its_own(
    pattern: str, open_kinds: list[IncidentKind], expected: list[tuple[IncidentKind, str]], sentence: str
) -> None:
    seen = make_situation(pattern, open_kinds=open_kinds, rules=(*DEFAULT_RULES, SERVING_RULE))
    assert changes(seen) == expected, sentence
    assert seen.situation.cycle.judgement.verdict in {Verdict.HEALTHY, Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("pattern", "teacher", "open_kinds", "expected", "sentence"),
    [
        ("g", "healthy", [], [], "a healthy teacher opens nothing"),
        ("g", "unknown", [], [], "nor does one that nobody knows"),
        ("g?", "unhealthy", [], [(UNHEALTHY, FIRING)], "one that cannot be believed does"),
        ("g??", "unhealthy", [UNHEALTHY], [], "once"),
        ("???", "unhealthy", [UNHEALTHY], [], "and the monitor is not called blind for it"),
        ("???", "unknown", [UNHEALTHY], [(BLIND, FIRING)], "but is if it sees nothing of the teacher either"),
        ("???", "unhealthy", [BLIND], [(UNHEALTHY, FIRING)], "a blindness does not end by it"),
        ("?g", "healthy", [UNHEALTHY], [(UNHEALTHY, RESOLVED)], "it is well again"),
        ("?k", "healthy", [UNHEALTHY], [(DRIFT, FIRING), (UNHEALTHY, RESOLVED)], "whatever the student is"),
        ("?g", "unknown", [UNHEALTHY], [], "no evidence is no recovery"),
        ("?g", "changed", [UNHEALTHY], [(UNHEALTHY, RESOLVED), (CHANGED, FIRING)], "another one took over"),
        ("g", "changed", [], [(CHANGED, FIRING)], "a new one is told"),
        ("gg", "changed", [CHANGED], [], "once"),
        ("g?", "unhealthy", [CHANGED], [(UNHEALTHY, FIRING)], "it was none to be believed"),
        ("gg", "healthy", [CHANGED], [(CHANGED, RESOLVED)], "its own reference is whole"),
        ("gg", "unknown", [CHANGED], [], "no evidence is no reference"),
    ],
)
def test_the_teacher_has_incidents_of_its_own(
    pattern: str,
    teacher: str,
    open_kinds: list[IncidentKind],
    expected: list[tuple[IncidentKind, IncidentState]],
    sentence: str,
) -> None:
    situation = make_situation(pattern, open_kinds=open_kinds, teacher=TeacherHealth(teacher))
    assert changes(situation) == expected, sentence


def test_an_unhealthy_teacher_is_critical_and_a_new_one_a_warning() -> None:
    (unhealthy,) = plan(make_situation("g?", teacher=TeacherHealth.UNHEALTHY))
    (changed,) = plan(make_situation("g", teacher=TeacherHealth.CHANGED))
    assert (unhealthy.severity, changed.severity) == (Severity.CRITICAL, Severity.WARNING)
    assert unhealthy.summary.startswith("it is unhealthy; no verdicts and no jobs")
    assert changed.summary.startswith("it is changed; its reference starts again")


@pytest.mark.parametrize(
    ("pattern", "open_kinds", "expected", "sentence"),
    [
        ("u", [], [], "users write as they did"),
        ("n", [], [(INPUT, FIRING)], "they do not"),
        ("nn", [INPUT], [], "an open one is not opened again"),
        ("nu", [INPUT], [(INPUT, RESOLVED)], "they do again"),
        ("ng", [INPUT], [], "without a reference nobody knows"),
        ("n", [DRIFT, SKEW], [(DRIFT, RESOLVED), (INPUT, FIRING)], "it says nothing of student and service"),
    ],
)
def test_what_users_write_has_an_incident_of_its_own(
    pattern: str, open_kinds: list[IncidentKind], expected: list[tuple[IncidentKind, str]], sentence: str
) -> None:
    rule = Rule(name="new", metric="input_drift", above=Decimal("0.6"), action="alert")
    seen = make_situation(pattern, open_kinds=open_kinds, rules=(*DEFAULT_RULES, SERVING_RULE, rule))
    assert changes(seen) == expected, sentence
    assert seen.situation.cycle.judgement.verdict is Verdict.HEALTHY


def test_a_drift_has_the_highest_severity_of_the_fired_rules() -> None:
    """A more severe rule that did not fire plays no part."""
    low, high = DEFAULT_RULES
    rules = (
        high.model_copy(update={"severity": Severity.WARNING}),
        high.model_copy(update={"name": "other", "severity": Severity.ERROR}),
        low.model_copy(update={"severity": Severity.CRITICAL}),
    )
    (drift,) = plan(make_situation("k", rules=rules))
    assert drift.severity is Severity.ERROR


def test_an_incident_ends_at_the_severity_at_which_it_began() -> None:
    """So that the channels that heard of it hear of its end."""
    (resolved,) = plan(make_situation("g", open_kinds=[DRIFT]))
    assert resolved.incident is not None
    assert (resolved.severity, resolved.incident.incident_id) == (Severity.CRITICAL, 7)


def test_a_failed_cycle_counts_as_one_without_evidence() -> None:
    seen = make_situation("g???", open_kinds=[DRIFT])
    cycle = replace(seen.situation.cycle, judgement=failed("disk full"), outcomes=())
    situation = replace(seen.situation, cycle=cycle)
    (blind,) = plan(replace(seen, situation=situation))
    assert blind.summary == "3 slots in a row without a verdict; the last: disk full"
    assert blind.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("pattern", "order", "summary"),
    [
        (
            "bbb",
            OrderReason.ORDERED,
            "agreement 0.945455 below 0.95 for 3 cycles; ordered: because ordered",
        ),
        ("k", OrderReason.JOB_OPEN, "kl 0.2 above 0.15 for 1 cycle; nothing ordered: because job_open"),
    ],
)
def test_the_summary_of_a_drift_has_the_numbers_and_the_order(
    pattern: str, order: OrderReason, summary: str
) -> None:
    (drift,) = plan(make_situation(pattern, order=order))
    assert drift.summary == summary


def test_the_summary_of_an_end_has_the_numbers() -> None:
    (resolved,) = plan(make_situation("g", open_kinds=[DRIFT]))
    assert resolved.summary == "agreement 0.974 within 0.95; kl 0.083 within 0.15"


@pytest.mark.parametrize("kind", [DRIFT, RETRAIN])
def test_the_summary_of_an_end_says_nothing_of_what_is_served(kind: IncidentKind) -> None:
    """A number above its threshold would read as if the incident went on."""
    rules = (*DEFAULT_RULES, SERVING_RULE)
    resolved, _ = plan(make_situation("s", open_kinds=[kind], rules=rules))
    assert (resolved.kind, resolved.summary) == (kind, "agreement 0.974 within 0.95; kl 0.083 within 0.15")


@given(
    pattern=st.text("gbks?", min_size=1, max_size=6),
    order=st.sampled_from(OrderReason),
    open_kinds=st.sets(st.sampled_from(IncidentKind)),
    teacher=st.sampled_from(TeacherHealth),
)
def test_no_kind_is_ever_open_twice(
    pattern: str, order: OrderReason, open_kinds: set[IncidentKind], teacher: TeacherHealth
) -> None:
    """Whatever is open: at most one change a kind, which opens what is not open or ends what is."""
    told = plan(make_situation(pattern, open_kinds=sorted(open_kinds), order=order, teacher=teacher))
    assert len(told) == len({transition.kind for transition in told})
    assert all((t.to_state is FIRING) == (t.kind not in open_kinds) for t in told)


@pytest.mark.parametrize(
    ("pattern", "kind", "state", "sentence"),
    [
        ("b", DRIFT, "pending", "a breached rule that has not fired yet"),
        ("bb", DRIFT, "pending", "nor at the second"),
        ("g", DRIFT, "cleared", "no rule is breached"),
        ("b?", DRIFT, "unknown", "nobody knows"),
        ("?", BLIND, "pending", "one cycle without evidence"),
        ("g", BLIND, "cleared", "there is evidence"),
        ("g", RETRAIN, "cleared", "no other teacher is needed"),
        ("b", RETRAIN, "unknown", "one may be"),
        ("g", REJECTED, "cleared", "no other candidate is needed"),
        ("g", FAILED, "cleared", "nor a job"),
        ("k", FAILED, "unknown", "a job is"),
        ("g", SKEW, "unknown", "nothing was recorded"),
    ],
)
def test_what_a_cycle_finds(pattern: str, kind: IncidentKind, state: str, sentence: str) -> None:
    assert states(make_situation(pattern))[kind] == state, sentence


def test_every_kind_is_spoken_of_once_by_a_cycle_but_channels_and_calibration() -> None:
    kinds = [signal.kind for signal in of_cycle(make_situation("g").situation)]
    assert kinds == sorted(set(kinds), key=list(IncidentKind).index)
    others = {IncidentKind.ALERTS_UNDELIVERED, IncidentKind.CALIBRATION_OVERDUE}
    assert set(IncidentKind) - set(kinds) == others


def test_too_many_unusable_records_are_told_at_once() -> None:
    """Three such cycles make the monitor blind besides."""
    evidence = SampleQuality(
        n_scored=5_500, n_seen=5_500, n_rejected=5_500, min_samples=1_000, max_reject_share=0.05
    )
    seen = make_situation("g?")
    cycle = replace(seen.situation.cycle, judgement=judge(evidence, []))
    seen = replace(seen, situation=replace(seen.situation, cycle=cycle))
    (told,) = plan(seen)
    assert (told.kind, told.severity) == (QUALITY, Severity.ERROR)
    assert told.summary.startswith("5500 requests scored (min_samples 1000), 5500 of 11000 records unusable")
    assert states(make_situation("g"))[QUALITY] is SignalState.CLEARED


@pytest.mark.parametrize(("n_evaluated", "n_healthy", "told"), [(2, 0, False), (3, 0, True), (3, 1, False)])
def test_a_promotion_that_did_not_help_is_told(n_evaluated: int, n_healthy: int, *, told: bool) -> None:
    seen = make_situation("k", open_kinds=[DRIFT])
    watch = Watch(job=make_job(), n_evaluated=n_evaluated, n_healthy=n_healthy, watch_cycles=3)
    found = changes(replace(seen, situation=replace(seen.situation, watch=watch)))
    assert found == ([(REJECTED, FIRING)] if told else [])
    assert (watch.recovery is JobRecovery.NOT_RECOVERED) is told


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (JobStatus.SUCCEEDED, {REJECTED: "cleared", FAILED: "cleared"}),
        (JobStatus.REJECTED, {REJECTED: "raised", FAILED: "cleared"}),
        (JobStatus.FAILED, {FAILED: "raised"}),
        (JobStatus.CANCELLED, {}),
    ],
)
def test_what_the_end_of_a_job_says(status: JobStatus, expected: dict[IncidentKind, str]) -> None:
    signals = of_job(status, "job 7: because")
    assert {signal.kind: signal.state for signal in signals} == expected
    assert all(isinstance(signal, Signal) and signal.summary == "job 7: because" for signal in signals)
