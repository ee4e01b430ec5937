from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Job, LabelMeasurement
from db.states import JobDecision, JobRecovery, JobStatus, OrderReason, TeacherHealth
from tests.support.records.factories import make_interval, make_job, make_point
from triggers.orders.alpha import Ladder, alpha_from_teacher, decide, ladder_of, ordering
from triggers.rules.evaluation import evaluate
from triggers.settings import AlphaPolicy, Rule

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
POLICY = AlphaPolicy()
FREE = Ladder(
    wanted=True,
    is_latest=True,
    awaits_teacher=False,
    is_in_shadow=False,
    is_watched=False,
    has_open_job=False,
    completed_alpha=None,
    student_alpha=None,
    failed_in_a_row=0,
    last_finished_at=None,
)


def nth_job(job_id: int, status: JobStatus, alpha_to: str) -> Job:
    """The job_id-th of one job every other hour, each an hour long."""
    enqueued_at = NOW - (40 - 2 * job_id) * HOUR
    is_open = status in {JobStatus.QUEUED, JobStatus.RUNNING}
    return make_job(
        job_id=job_id,
        cycle_id=job_id,
        alpha_to=Decimal(alpha_to),
        status=status,
        enqueued_at=enqueued_at,
        started_at=enqueued_at,
        finished_at=None if is_open else enqueued_at + HOUR,
        candidate_version=None,
        decision=None,
    )


def climb(*steps: tuple[JobStatus, str], began_at: datetime | None = None) -> Ladder:
    jobs = [nth_job(job_id, status, alpha) for job_id, (status, alpha) in enumerate(steps, start=1)]
    return ladder_of(jobs[::-1], began_at=began_at, student_alpha=None, wanted=True, is_latest=True)


SUCCEEDED, REJECTED, FAILED, CANCELLED = (
    JobStatus.SUCCEEDED,
    JobStatus.REJECTED,
    JobStatus.FAILED,
    JobStatus.CANCELLED,
)


@pytest.mark.parametrize(
    ("ladder", "expected", "sentence"),
    [
        (FREE, "0.6", "without a job or a known student, the first step starts from the policy's alpha"),
        (replace(FREE, student_alpha=Decimal("0.5")), "0.4", "a known student's alpha counts instead"),
        (climb((REJECTED, "0.6")), "0.5", "a rejected candidate has used its alpha up"),
        (climb((SUCCEEDED, "0.6")), "0.5", "so has one that waits to be promoted"),
        (climb((FAILED, "0.6")), "0.6", "a job without a candidate has tried nothing"),
        (climb((CANCELLED, "0.6")), "0.6", "a cancelled one neither"),
        (climb((REJECTED, "0.6"), (FAILED, "0.5")), "0.5", "the last candidate counts, not the last job"),
        (climb((SUCCEEDED, "0.3"), began_at=NOW - HOUR), "0.6", "jobs about an earlier student don't count"),
        (replace(FREE, student_alpha=Decimal("0.15")), "0.1", "the last step is clipped to the floor"),
    ],
)
def test_the_next_alpha(ladder: Ladder, expected: str, sentence: str) -> None:
    """One step per completed job, in exact decimals."""
    order = decide(POLICY, ladder, NOW)
    assert (order.reason, order.alpha_to) == (OrderReason.ORDERED, Decimal(expected)), sentence


def test_the_ladder_from_top_to_bottom() -> None:
    """0.7, 0.6, … 0.1 are exact, and at 0.1 the teacher needs retraining."""
    alpha, steps = None, []
    while (order := decide(POLICY, replace(FREE, completed_alpha=alpha), NOW)).reason is OrderReason.ORDERED:
        alpha = order.alpha_to
        steps.append(str(alpha))
    assert steps == ["0.6", "0.5", "0.4", "0.3", "0.2", "0.1"]
    assert order.reason is OrderReason.AT_FLOOR
    assert order.is_exhausted


ALL_AT_ONCE = Ladder(
    wanted=False,
    is_latest=False,
    awaits_teacher=True,
    is_in_shadow=True,
    is_watched=True,
    has_open_job=True,
    completed_alpha=Decimal("0.1"),
    student_alpha=None,
    failed_in_a_row=3,
    last_finished_at=NOW,
)


def test_the_first_reason_is_given() -> None:
    """With every obstacle in the way, they are named one by one as each is removed."""
    removals = (
        {"wanted": True},
        {"is_latest": True},
        {"awaits_teacher": False},
        {"has_open_job": False},
        {"is_in_shadow": False},
        {"is_watched": False},
        {"failed_in_a_row": 2},
        {"completed_alpha": None},
        {"last_finished_at": None},
    )
    ladder, reasons = ALL_AT_ONCE, [decide(POLICY, ALL_AT_ONCE, NOW).reason]
    for removal in removals:
        ladder = replace(ladder, **removal)
        reasons.append(decide(POLICY, ladder, NOW).reason)
    assert reasons == [
        OrderReason.NOT_WANTED,
        OrderReason.NOT_LATEST,
        OrderReason.TEACHER_CHANGED,
        OrderReason.JOB_OPEN,
        OrderReason.SHADOW,
        OrderReason.WATCHING,
        OrderReason.ATTEMPTS_EXHAUSTED,
        OrderReason.AT_FLOOR,
        OrderReason.COOLDOWN,
        OrderReason.ORDERED,
    ]


@pytest.mark.parametrize(
    ("ago", "reason"),
    [
        (timedelta(0), OrderReason.COOLDOWN),
        (timedelta(hours=5, minutes=59, seconds=59), OrderReason.COOLDOWN),
        (timedelta(hours=6), OrderReason.ORDERED),
        (timedelta(days=30), OrderReason.ORDERED),
        (timedelta(seconds=-2), OrderReason.COOLDOWN),
        (timedelta(days=-30), OrderReason.ORDERED),
    ],
)
def test_a_cooldown_ends_on_the_second(ago: timedelta, reason: OrderReason) -> None:
    """A job that ended exactly a cooldown ago is in the way no more, nor is one that is to end in a month:
    that was written by a clock that was ahead.
    """
    assert decide(POLICY, replace(FREE, last_finished_at=NOW - ago), NOW).reason is reason


def test_a_held_candidate_is_in_the_way_until_it_is_promoted() -> None:
    held = replace(nth_job(1, JobStatus.SUCCEEDED, "0.6"), decision=JobDecision.HELD)

    def reason(began_at: datetime | None) -> OrderReason:
        ladder = ladder_of([held], began_at=began_at, student_alpha=None, wanted=True, is_latest=True)
        return decide(POLICY, ladder, NOW).reason

    assert reason(None) is OrderReason.JOB_OPEN
    assert reason(held.enqueued_at + 2 * HOUR) is OrderReason.ORDERED


def test_a_candidate_in_shadow_is_in_the_way_but_an_open_job_comes_first() -> None:
    shadowed = replace(FREE, is_in_shadow=True, is_watched=True)
    assert decide(POLICY, shadowed, NOW).reason is OrderReason.SHADOW
    assert decide(POLICY, replace(shadowed, has_open_job=True), NOW).reason is OrderReason.JOB_OPEN


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING])
def test_an_open_job_is_in_the_way_whatever_its_student(status: JobStatus) -> None:
    ladder = climb((SUCCEEDED, "0.6"), (status, "0.5"), began_at=NOW)
    assert decide(POLICY, ladder, NOW).reason is OrderReason.JOB_OPEN


@pytest.mark.parametrize("status", [SUCCEEDED, REJECTED, FAILED, CANCELLED])
def test_every_ended_job_begins_a_cooldown(status: JobStatus) -> None:
    """Even one about an earlier student, and one that a person called off."""
    ladder = climb((status, "0.6"), began_at=NOW)
    assert ladder.last_finished_at == NOW - 37 * HOUR


@pytest.mark.parametrize(
    ("steps", "failed", "sentence"),
    [
        ((), 0, "no jobs, no failures"),
        ((REJECTED, FAILED, REJECTED), 3, "rejected candidates and failed jobs count alike"),
        ((REJECTED, CANCELLED, REJECTED), 2, "a cancelled job neither counts nor breaks the row"),
        ((REJECTED, REJECTED, SUCCEEDED), 0, "a success begins a new row"),
        ((REJECTED, SUCCEEDED, FAILED), 1, "which later failures count"),
    ],
)
def test_failures_in_a_row(steps: tuple[JobStatus, ...], failed: int, sentence: str) -> None:
    ladder = climb(*((status, "0.6") for status in steps))
    assert ladder.failed_in_a_row == failed, sentence


PROMOTED, HELD = JobDecision.PROMOTED, JobDecision.HELD
DROPPED, SHADOWED = JobDecision.REJECTED, JobDecision.SHADOWED
HELPED, DID_NOT = JobRecovery.RECOVERED, JobRecovery.NOT_RECOVERED


@pytest.mark.parametrize(
    ("promotions", "failed", "sentence"),
    [
        ([(PROMOTED, HELPED)], 0, "it has ended the drift"),
        ([(PROMOTED, None)], 0, "nobody knows yet"),
        ([(PROMOTED, DID_NOT)], 1, "gates passed, and still an attempt that has not helped"),
        ([(PROMOTED, DID_NOT), (PROMOTED, DID_NOT), (PROMOTED, DID_NOT)], 3, "as often as it happens"),
        ([(PROMOTED, DID_NOT), (PROMOTED, HELPED)], 0, "until one helps"),
        ([(PROMOTED, DID_NOT), (PROMOTED, None)], 1, "the next one is on trial"),
        ([(PROMOTED, None), (PROMOTED, DID_NOT)], 1, "nobody will ever know of one that was replaced"),
        ([(DROPPED, None)], 1, "its shadow stopped it, which is as much an attempt as a gate"),
        ([(DROPPED, None), (DROPPED, None), (PROMOTED, HELPED)], 0, "until one helps"),
        ([(DROPPED, None), (SHADOWED, None)], 1, "nobody knows yet of one that is in shadow"),
        ([(HELD, None)], 0, "what a person promotes begins a ladder of its own"),
    ],
)
def test_a_promotion_is_an_attempt_until_it_helps(
    promotions: list[tuple[JobDecision, JobRecovery | None]], failed: int, sentence: str
) -> None:
    jobs = [
        replace(nth_job(number, SUCCEEDED, "0.6"), decision=decision, recovery=recovery)
        for number, (decision, recovery) in enumerate(promotions, start=1)
    ]
    ladder = ladder_of(jobs, began_at=None, student_alpha=None, wanted=True, is_latest=True)
    assert ladder.failed_in_a_row == failed, sentence


@pytest.mark.parametrize(
    ("made_from", "expected", "sentence"),
    [
        ([], "0.2", "nobody knows better than whoever configured it"),
        (["teacher-1"], "0.2", "it was distilled from this teacher"),
        (["teacher-2"], None, "how little another one was trusted says nothing of this one"),
        (["teacher-2", "teacher-1"], "0.2", "from both, with the same weights in the end"),
    ],
)
def test_a_student_s_alpha_is_about_the_teacher_that_it_was_distilled_from(
    made_from: list[str], expected: str | None, sentence: str
) -> None:
    jobs = [
        replace(nth_job(number, SUCCEEDED, "0.2"), teacher_version=teacher, candidate_version="student-2")
        for number, teacher in enumerate(made_from, start=1)
    ]
    found = alpha_from_teacher(Decimal("0.2"), "student-2", "teacher-1", jobs)
    assert found == (None if expected is None else Decimal(expected)), sentence


def test_details_say_the_numbers() -> None:
    assert decide(POLICY, FREE, NOW).detail == "re-distillation with alpha 0.7 -> 0.6"
    cooling = decide(POLICY, replace(FREE, last_finished_at=NOW - HOUR), NOW)
    assert cooling.detail == "the last job ended at 2026-11-24T11:00:00Z, less than 6:00:00 ago (cooldown)"
    exhausted = decide(POLICY, replace(FREE, failed_in_a_row=4), NOW)
    assert exhausted.detail == "4 jobs in a row did not end the drift (max_attempts 3)"
    floored = decide(POLICY, replace(FREE, student_alpha=Decimal("0.1")), NOW)
    assert floored.detail == "alpha 0.1 cannot be lowered below alpha_floor 0.1"


alphas = st.decimals(0, 1, places=3)
policies = st.builds(
    AlphaPolicy,
    alpha=alphas,
    alpha_step=st.decimals("0.001", 1, places=3),
    alpha_floor=alphas,
    max_attempts=st.integers(1, 5),
    cooldown=st.timedeltas(timedelta(0), timedelta(days=2)),
)
ladders = st.builds(
    Ladder,
    wanted=st.booleans(),
    is_latest=st.booleans(),
    awaits_teacher=st.booleans(),
    is_watched=st.booleans(),
    has_open_job=st.booleans(),
    completed_alpha=st.none() | alphas,
    student_alpha=st.none() | alphas,
    failed_in_a_row=st.integers(0, 5),
    last_finished_at=st.none() | st.timedeltas(timedelta(0), timedelta(days=3)).map(lambda ago: NOW - ago),
)
free_ladders = ladders.map(
    lambda ladder: replace(
        ladder,
        wanted=True,
        is_latest=True,
        awaits_teacher=False,
        is_in_shadow=False,
        is_watched=False,
        has_open_job=False,
        failed_in_a_row=0,
        last_finished_at=None,
    )
)


@given(policies, ladders | free_ladders)
def test_alpha_takes_at_most_one_step_down_and_never_passes_the_floor(
    policy: AlphaPolicy, ladder: Ladder
) -> None:
    """It never rises, changes only by an order, and stays an exact number of thousandths."""
    order = decide(policy, ladder, NOW)
    step = order.alpha_from - order.alpha_to
    assert order.alpha_to * 1_000 == int(order.alpha_to * 1_000)
    if order.reason is OrderReason.ORDERED:
        assert 0 < step <= policy.alpha_step
        assert order.alpha_to >= policy.alpha_floor
        assert step == policy.alpha_step or order.alpha_to == policy.alpha_floor
    else:
        assert step == 0


@given(policies, free_ladders)
def test_a_free_ladder_orders_until_the_floor(policy: AlphaPolicy, ladder: Ladder) -> None:
    order = decide(policy, ladder, NOW)
    at_floor = order.alpha_from <= policy.alpha_floor
    assert order.reason is (OrderReason.AT_FLOOR if at_floor else OrderReason.ORDERED)


def make_rule(name: str, **keys: object) -> Rule:
    return Rule.model_validate({"name": name, **keys})


AGREEMENT = make_rule("agreement", metric="agreement", below="0.95")
KL = make_rule("kl", metric="class_kl:faq", above="0.15")
ALERT = make_rule("alert", metric="kl", above="0.15", action="alert")
MIXED = make_rule("mixed", any=[{"metric": "agreement", "below": "0.95"}, {"metric": "kl", "above": "0.15"}])
PURE = make_rule("pure", all=[{"metric": "js", "above": "0.1"}, {"metric": "kl", "above": "0.15"}])


@pytest.mark.parametrize(
    ("rules", "health", "orders", "sentence"),
    [
        ([ALERT, AGREEMENT, KL], "healthy", "agreement", "the first that wants one orders"),
        ([AGREEMENT, KL], "unknown", "agreement", "by a first teacher, too"),
        ([AGREEMENT, KL], "changed", "kl", "by a new one only a divergence"),
        ([AGREEMENT], "changed", None, "or nothing"),
        ([MIXED, PURE], "changed", "pure", "a group of divergences is one; one with agreement is none"),
        ([ALERT], "healthy", None, "an alert orders nothing"),
    ],
)
def test_what_orders(rules: list[Rule], health: str, orders: str | None, sentence: str) -> None:
    points = [make_point(disagreements=550, kl=0.2)]
    labelled = [replace(point, js=0.2, labels={"faq": make_label("faq", kl=0.2)}) for point in points]
    outcomes = [evaluate(rule, labelled) for rule in rules]
    assert all(outcome.fired for outcome in outcomes)
    found = ordering(rules, outcomes, TeacherHealth(health))
    assert (found and found.rule) == orders, sentence


def make_label(label: str, *, kl: float) -> LabelMeasurement:
    return LabelMeasurement(label=label, n=500, share=0.1, agreement=make_interval(0.9), kl=kl)
