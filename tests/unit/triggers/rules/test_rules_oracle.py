"""Rules and the alpha ladder against oracles that were written from the contract's text alone.

The product folds forward with rationals; the oracles look backward from each cycle anew, with integers in
hundredths of a percent, and share no code with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from db.records import CyclePoint, Job
from db.states import CycleStatus, JobStatus
from triggers.orders.alpha import decide, ladder_of
from triggers.rules.evaluation import evaluate, replay
from triggers.settings import AlphaPolicy, Rule

HISTORIES = 2_500
DECISIONS = 3_000
START = datetime(2026, 11, 24, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Said:
    breached: bool
    streak: int
    fired: bool
    reason: str


# --- rules -----------------------------------------------------------------------------------------------


def oracle(cycles: Sequence[CyclePoint], at: int, rule: Rule) -> Said:
    """What the contract says of cycle `at`, found by looking back from it."""
    if has_evidence(cycles[at], rule):
        bad = is_bad(cycles[at], rule)
        streak = look_back(cycles, at, rule) if bad else 0
        fired = streak >= rule.for_cycles and bad
        return Said(
            breached=bad,
            streak=streak,
            fired=fired,
            reason="fired" if fired else "breached" if bad else "within",
        )
    last = at
    while last >= 0 and not has_evidence(cycles[last], rule):
        last -= 1
    if at - last >= 3:
        return Said(breached=False, streak=0, fired=False, reason="streak_expired")
    streak = oracle(cycles, last, rule).streak if last >= 0 else 0
    return Said(breached=False, streak=streak, fired=False, reason="not_evaluated")


def look_back(cycles: Sequence[CyclePoint], at: int, rule: Rule) -> int:
    streak, empty = 1, 0
    for cycle in reversed(cycles[:at]):
        if not has_evidence(cycle, rule):
            empty += 1
            if empty == 3:
                break
        elif versions(cycle) != versions(cycles[at]) or not is_bad(cycle, rule):
            break
        else:
            streak, empty = streak + 1, 0
    return streak


def versions(cycle: CyclePoint) -> str:
    return f"{cycle.teacher_version}/{cycle.student_version}"


def has_evidence(cycle: CyclePoint, rule: Rule) -> bool:
    if cycle.status != "evaluated":
        return False
    return (cycle.n if rule.metric == "agreement" else cycle.kl) is not None


def is_bad(cycle: CyclePoint, rule: Rule) -> bool:
    if rule.metric == "agreement":
        assert cycle.n is not None
        assert cycle.disagreements is not None
        left, right = 10_000 * (cycle.n - cycle.disagreements), int(rule.threshold * 10_000) * cycle.n
    else:
        assert cycle.kl is not None
        left, right = round(cycle.kl * 1_000_000), int(rule.threshold * 1_000_000)  # kl is drawn in 1e-6
    return left < right if rule.below is not None else left > right


def random_rule(rng: np.random.Generator) -> Rule:
    for_cycles = int(rng.integers(1, 5))
    if rng.random() < 0.5:
        bound = Decimal(str(rng.choice(["0.95", "0.95", "0.9", "0.9744"])))
        side = "below" if rng.random() < 0.8 else "above"
        return Rule.model_validate(
            {"name": "a", "metric": "agreement", side: bound, "for_cycles": for_cycles}
        )
    bound = Decimal(str(rng.choice(["0.15", "0.1", "0.3"])))
    side = "above" if rng.random() < 0.8 else "below"
    return Rule.model_validate({"name": "k", "metric": "kl", side: bound, "for_cycles": for_cycles})


def random_history(rng: np.random.Generator, rule: Rule) -> list[CyclePoint]:
    """Histories that dwell on what matters: ties, gaps of two and three, and changes of version."""
    length = int(rng.integers(1, 26))
    p_gap, p_change, p_near = rng.choice([0, 0.1, 0.5, 0.7]), rng.choice([0, 0.1, 0.3]), rng.random()
    gaps, changes, near = (rng.random(length) < p for p in (p_gap, p_change, p_near))
    sizes = 20 * rng.integers(1, 600, length)
    offsets, noise = rng.integers(-1, 2, length), rng.random(length)
    lost = rng.choice(["inconclusive", "failed", "skipped", "running"], length)
    sides = rng.integers(0, 2, length)
    teacher = student = 0
    history = []
    for i in range(length):
        if changes[i]:
            teacher, student = (teacher ^ 1, student) if sides[i] else (teacher, student ^ 1)
        n = int(sizes[i])
        tie = n * (1 - rule.threshold) if rule.metric == "agreement" else Decimal(n // 20)
        k = int(tie) + int(offsets[i]) if near[i] else int(n * noise[i] / 8)
        millionths = int(rule.threshold * 1_000_000) + int(offsets[i]) if near[i] else int(3e5 * noise[i])
        known = noise[i] > 0.03
        history.append(
            CyclePoint(
                window_end=START + timedelta(hours=i),
                status=CycleStatus(str(lost[i])) if gaps[i] else CycleStatus.EVALUATED,
                teacher_version=f"t{teacher}",
                student_version=f"s{student}",
                n=n if known else None,
                disagreements=min(max(k, 0), n),
                kl=millionths / 1_000_000 if known else None,
            )
        )
    return history


def test_the_rules_say_what_the_contract_says() -> None:
    """On 10,000 random histories, at every cycle, the fold and the backward oracle agree."""
    rng = np.random.default_rng(2025)
    fired = expired = ties = 0
    for _ in range(HISTORIES):
        rule = random_rule(rng)
        history = random_history(rng, rule)
        for at, outcome in enumerate(replay(rule, history)):
            expected = oracle(history, at, rule)
            said = Said(
                breached=outcome.breached,
                streak=outcome.streak,
                fired=outcome.fired,
                reason=outcome.reason.value,
            )
            assert said == expected, (rule, history[: at + 1])
            fired += said.fired
            expired += said.reason == "streak_expired"
            ties += outcome.value == outcome.threshold and rule.metric == "agreement"
        arrival = [history[i] for i in rng.permutation(len(history))]
        assert evaluate(rule, arrival) == outcome
    assert min(fired, expired, ties) > 1_000, "the histories do not reach what they are meant to reach"


# --- the alpha ladder ------------------------------------------------------------------------------------


def oracle_order(
    policy: AlphaPolicy,
    jobs: Sequence[Job],
    *,
    promoted: datetime | None,
    student_alpha: Decimal | None,
    wanted: bool,
    latest: bool,
    now: datetime,
) -> str:
    """`reason from to`, with alphas in thousandths."""
    ended = [job for job in jobs if job.finished_at]
    ended.sort(key=lambda job: job.job_id)  # ids are given in the order of ending
    own = [job for job in ended if not (promoted and job.enqueued_at < promoted)]
    alpha, failures = walk(own, int((policy.alpha if student_alpha is None else student_alpha) * 1_000))
    floor, step = int(policy.alpha_floor * 1_000), int(policy.alpha_step * 1_000)
    if not wanted:
        reason = "not_wanted"
    elif not latest:
        reason = "not_latest"
    elif len(ended) < len(jobs):
        reason = "job_open"
    elif failures >= policy.max_attempts:
        reason = "attempts_exhausted"
    elif alpha <= floor:
        reason = "at_floor"
    elif ended and ended[-1].finished_at + policy.cooldown > now:  # type: ignore[operator]
        reason = "cooldown"
    else:
        return f"ordered {alpha} {max(alpha - step, floor)}"
    return f"{reason} {alpha} {alpha}"


def walk(jobs: Sequence[Job], alpha: int) -> tuple[int, int]:
    """The alpha and the failures in a row after these jobs, oldest first."""
    failures = 0
    for job in jobs:
        if job.status in {"succeeded", "rejected"}:
            alpha = int(job.alpha_to * 1_000)
        if job.status == "succeeded":
            failures = 0
        elif job.status != "cancelled":
            failures += 1
    return alpha, failures


def random_jobs(rng: np.random.Generator) -> Iterator[Job]:
    """Jobs one after another, as one open job a student makes them; the last may still be open."""
    count = int(rng.integers(0, 8))
    ended = ["succeeded", "rejected", "rejected", "failed", "cancelled"]
    moment = START
    for job_id in range(1, count + 1):
        enqueued = moment + timedelta(hours=int(rng.integers(0, 4)))
        moment = enqueued + timedelta(hours=int(rng.integers(1, 4)))
        is_open = job_id == count and rng.random() < 0.2
        status = JobStatus(str(rng.choice(["queued", "running"] if is_open else ended)))
        yield Job(
            job_id=job_id,
            monitor="m",
            cycle_id=job_id,
            rule="r",
            reason="",
            teacher_version="t",
            student_version="s",
            alpha_from=Decimal(0),
            alpha_to=Decimal(int(rng.integers(0, 1_001))) / 1_000,
            temperature=3.0,
            status=status,
            attempt=1,
            enqueued_at=enqueued,
            started_at=enqueued,
            finished_at=None if is_open else moment,
            candidate_version=None,
            decision=None,
            decision_reason=None,
        )


def random_policy(rng: np.random.Generator) -> AlphaPolicy:
    return AlphaPolicy(
        alpha=Decimal(int(rng.integers(0, 1_001))) / 1_000,
        alpha_step=Decimal(int(rng.integers(1, 500))) / 1_000,
        alpha_floor=Decimal(int(rng.integers(0, 400))) / 1_000,
        max_attempts=int(rng.integers(1, 5)),
        cooldown=timedelta(hours=int(rng.integers(0, 9))),
    )


def test_orders_are_what_the_contract_says() -> None:
    """On 10,000 random ladders, with open jobs and cooldowns that end on the hour, both agree."""
    rng = np.random.default_rng(2026)
    seen: dict[str, int] = {}
    for _ in range(DECISIONS):
        policy, jobs = random_policy(rng), list(random_jobs(rng))
        promoted = None if rng.random() < 0.3 else START + timedelta(hours=int(rng.integers(0, 20)))
        student_alpha = None if rng.random() < 0.3 else Decimal(int(rng.integers(0, 1_001))) / 1_000
        last = max((job.finished_at or job.enqueued_at for job in jobs), default=START)
        now = last + timedelta(hours=int(rng.integers(0, 12)))
        wanted, latest = bool(rng.random() < 0.9), bool(rng.random() < 0.9)
        expected = oracle_order(
            policy,
            jobs,
            promoted=promoted,
            student_alpha=student_alpha,
            wanted=wanted,
            latest=latest,
            now=now,
        )
        arrival = [jobs[i] for i in rng.permutation(len(jobs))]
        ladder = ladder_of(
            arrival, began_at=promoted, student_alpha=student_alpha, wanted=wanted, is_latest=latest
        )
        order = decide(policy, ladder, now)
        thousandths = [int(alpha * 1_000) for alpha in (order.alpha_from, order.alpha_to)]
        assert f"{order.reason.value} {thousandths[0]} {thousandths[1]}" == expected, (policy, ladder)
        seen[order.reason.value] = seen.get(order.reason.value, 0) + 1
    assert len(seen) == 7
    assert min(seen.values()) > 50, seen
