"""A candidate in shadow: the cycles beside the incumbent decide, once, whether it is promoted."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from db import queue, registries, versions
from db.connection.session import reading, writing
from db.cycles import retention
from db.cycles.ledger import AttemptEndedError
from db.errors import LeaseLostError
from db.records import CycleResult, ModelVersion, ShadowNumbers, ShadowScores
from db.shadows import comparisons, runs
from db.states import JobDecision, JobStatus, OrderReason, Role, ShadowReason, ShadowState
from db.tables import cycles, jobs, promotions, shadow_cycles
from db.tables import shadows as shadow_table
from db.views import rows
from tests.support.records.conclusions import FAR, HEALTHY, TOO_FEW, incident_list, with_policy
from tests.support.records.cycles import MONITOR, Cycles, due_at, release, stored, taken
from tests.support.records.factories import START, STUDENT, make_new_job
from triggers.settings import AlphaPolicy

CANDIDATE = "student-2"


def start_shadow(engine: Engine, index: int, candidate: str = CANDIDATE) -> int:
    """What a worker does whose candidate has passed the gates, with promote = "shadow"."""
    now = due_at(index)
    model = ModelVersion(monitor=MONITOR, version=candidate, role=Role.STUDENT, uri=f"models/{candidate}")
    with writing(engine) as connection:
        claimed = queue.claim(connection, MONITOR, owner="worker", lease_seconds=60, now=now)
        assert claimed is not None
        job = claimed[0]
        versions.record(connection, model, now)
        shadow_id = runs.start(connection, job, candidate, now)
        queue.finish(
            connection,
            job,
            JobStatus.SUCCEEDED,
            now=now,
            candidate_version=candidate,
            decision=JobDecision.SHADOWED,
            reason="passed",
        )
    return shadow_id


@pytest.fixture
def shadowed(run: Cycles) -> Cycles:
    """A student that drifted at the first window, and whose candidate runs in shadow from then on."""
    run.promote(now=START, alpha=Decimal("0.7"))
    assert run.conclude(0, FAR).order.reason is OrderReason.ORDERED
    assert start_shadow(run.engine, 0) == 1
    return run


def beside(won: int, lost: int, result: CycleResult = FAR) -> CycleResult:
    """A cycle in which the candidate won and lost so many texts."""
    numbers = ShadowNumbers(n=900, n_candidate_only=won, n_incumbent_only=lost, agreement=0.97, kl=0.01)
    return replace(result, shadow=ShadowScores(shadow_id=1, numbers=numbers))


def unscorable(result: CycleResult = FAR) -> CycleResult:
    return replace(result, shadow=ShadowScores(shadow_id=1, numbers=None, error="its files are gone"))


def state_of(run: Cycles, index: int = -1) -> tuple[str, str | None]:
    row = stored(run.engine, shadow_table)[index]
    return row["state"], row["reason"]


def decisions(run: Cycles) -> list[tuple[str, str | None]]:
    return [(row["status"], row["decision"]) for row in stored(run.engine, jobs)]


def promoted(run: Cycles) -> list[tuple[str, str]]:
    return [(row["version"], row["reason"]) for row in stored(run.engine, promotions)]


def current(run: Cycles) -> str:
    with reading(run.engine) as connection:
        found = versions.current(connection, MONITOR, Role.STUDENT)
    assert found is not None
    return found.version


def test_a_better_candidate_is_promoted_at_once_and_watched(shadowed: Cycles) -> None:
    """The watch begins at the promotion, as for a candidate that was promoted by its gates."""
    ended = shadowed.conclude(1, beside(30, 5))
    assert (ended.shadow and ended.shadow.state) is ShadowState.PROMOTED
    assert ended.order.reason is OrderReason.WATCHING
    assert state_of(shadowed) == ("promoted", "better")
    assert decisions(shadowed) == [("succeeded", "promoted")]
    assert promoted(shadowed) == [(STUDENT, "manual"), (CANDIDATE, "shadow_passed")]
    by_candidate = replace(FAR, student_version=CANDIDATE, alpha=Decimal("0.6"))
    assert shadowed.conclude(2, by_candidate).order.reason is OrderReason.WATCHING
    shadowed.conclude(3, replace(HEALTHY, student_version=CANDIDATE, alpha=Decimal("0.6")))
    assert stored(shadowed.engine, jobs)[0]["recovery"] == "recovered"


def test_a_candidate_that_does_not_help_after_its_shadow_is_one_failed_attempt(shadowed: Cycles) -> None:
    """The step of its job counts once: the next job lowers alpha from there."""
    shadowed.conclude(1, beside(30, 5))
    by_candidate = replace(FAR, student_version=CANDIDATE, alpha=Decimal("0.6"))
    ended = [shadowed.conclude(index, by_candidate) for index in (2, 3, 4)][-1]
    assert [row["recovery"] for row in stored(shadowed.engine, jobs)] == ["not_recovered", None]
    assert (ended.order.reason, ended.order.alpha_to) == (OrderReason.ORDERED, Decimal("0.5"))


def test_a_worse_candidate_is_stopped_and_the_next_job_ordered(shadowed: Cycles) -> None:
    """Three in vain exhaust the attempts, so that it must count as one; the on-call is told the numbers."""
    ended = shadowed.conclude(1, beside(5, 30))
    assert state_of(shadowed) == ("stopped", "worse")
    assert decisions(shadowed) == [("succeeded", "rejected"), ("queued", None)]
    assert current(shadowed) == STUDENT
    assert (ended.order.reason, ended.order.alpha_to) == (OrderReason.ORDERED, Decimal("0.5"))
    assert ("candidate-rejected", "warning", "firing") in incident_list(shadowed)
    assert "5 : 30 discordant texts" in stored(shadowed.engine, jobs)[0]["decision_reason"]


def test_three_candidates_stopped_in_a_row_exhaust_the_attempts(shadowed: Cycles) -> None:
    """A shadow that ends badly is as much a failed attempt as a gate."""
    order = shadowed.conclude(1, beside(5, 30)).order
    for number in (2, 3):
        start_shadow(shadowed.engine, number - 1, f"student-{number + 1}")
        scores = replace(beside(5, 30).shadow, shadow_id=number)  # type: ignore[type-var]
        order = shadowed.conclude(number, replace(FAR, shadow=scores)).order
    assert order.reason is OrderReason.ATTEMPTS_EXHAUSTED


def test_without_a_difference_it_is_promoted_after_shadow_cycles(shadowed: Cycles) -> None:
    """Cycles without a verdict do not count, and nothing is ordered meanwhile."""
    reasons = [
        shadowed.conclude(index, result).order.reason
        for index, result in enumerate(
            (beside(11, 9), beside(9, 9, TOO_FEW), beside(8, 10), beside(10, 10)), start=1
        )
    ]
    assert reasons == [
        OrderReason.SHADOW,
        OrderReason.NOT_WANTED,
        OrderReason.SHADOW,
        OrderReason.WATCHING,
    ]
    assert state_of(shadowed) == ("promoted", "no_difference")
    assert current(shadowed) == CANDIDATE
    assert [row["cycle_id"] for row in stored(shadowed.engine, shadow_cycles)] == [2, 4, 5]


def test_the_configured_number_of_cycles_counts(shadowed: Cycles) -> None:
    longer = with_policy(shadowed, alpha=AlphaPolicy(cooldown=timedelta(0), shadow_cycles=5))
    for index in range(1, 5):
        longer.conclude(index, beside(10, 10))
        assert current(shadowed) == STUDENT
    longer.conclude(5, beside(10, 10))
    assert current(shadowed) == CANDIDATE


def test_the_evidence_adds_up_over_cycles(shadowed: Cycles) -> None:
    """One cycle alone would not decide; the e-values of the view are those of the sums."""
    for index in (1, 2):
        shadowed.conclude(index, beside(20, 10))
    assert state_of(shadowed)[0] == "running"
    shadowed.conclude(3, beside(20, 10))
    with reading(shadowed.engine) as connection:
        found = rows(connection, "shadow_history", monitor=MONITOR, order_by="cycle_id")
    # in exact fractions: 12 · 2^n times the integral of t^(won + 1) (1 - t)^(lost + 1) from 1/2 to 1
    assert [round(float(str(row["e_better"])), 2) for row in found] == [2.9, 11.86, 53.55]
    assert [row["n_candidate_only"] for row in found] == [20, 20, 20]
    assert {row["incumbent_kl"] for row in found} == {0.2}
    assert state_of(shadowed) == ("promoted", "better")


def test_a_candidate_that_cannot_be_scored_ends_after_three_cycles_in_a_row(shadowed: Cycles) -> None:
    """A cycle in between that could score it starts the count again."""
    results = (unscorable(), unscorable(), beside(5, 5), unscorable(), unscorable())
    ended = [shadowed.conclude(index, result) for index, result in enumerate(results, start=1)]
    assert {each.judgement.status for each in ended} == {"evaluated"}
    assert state_of(shadowed)[0] == "running"
    shadowed.conclude(6, unscorable())
    assert state_of(shadowed) == ("stopped", "unscorable")
    assert "its files are gone" in stored(shadowed.engine, shadow_table)[0]["detail"]
    assert ("candidate-rejected", "warning", "firing") in incident_list(shadowed)


def test_a_cycle_without_scores_changes_nothing(shadowed: Cycles) -> None:
    """S3 was unavailable, or the daemon is of an older version."""
    assert shadowed.conclude(1, FAR).order.reason is OrderReason.SHADOW
    assert stored(shadowed.engine, shadow_cycles) == []


@pytest.mark.parametrize(
    ("version", "reason"), [("other", ShadowReason.OTHER_STUDENT), (CANDIDATE, ShadowReason.BY_HAND)]
)
def test_a_promotion_by_a_person_ends_the_shadow(
    shadowed: Cycles, version: str, reason: ShadowReason
) -> None:
    """Its evidence is about a student that no longer serves; nothing is held back by it any more."""
    shadowed.conclude(1, beside(10, 10))
    shadowed.promote(version, now=due_at(1))
    assert state_of(shadowed) == ("superseded", reason.value)
    ended = shadowed.conclude(2, replace(FAR, student_version=version))
    assert ended.shadow is None
    assert ended.order.reason is OrderReason.ORDERED
    assert decisions(shadowed)[0] == ("succeeded", "shadowed")


def test_scores_against_a_student_that_has_been_replaced_do_not_count(shadowed: Cycles) -> None:
    """The person promotes while the cycle scores: the shadow is over, and so is the cycle's say."""
    claim = shadowed.claim(1)
    shadowed.promote("other", now=due_at(1))
    ended = shadowed.conclude_claim(claim, beside(40, 0))
    assert (ended.order.reason, current(shadowed)) == (OrderReason.NOT_LATEST, "other")
    assert stored(shadowed.engine, shadow_cycles) == []


def test_a_newer_candidate_takes_the_place(shadowed: Cycles) -> None:
    """A person has ordered a job meanwhile. There is one running shadow, which SQL ensures."""
    with writing(shadowed.engine) as connection:
        queue.enqueue(connection, make_new_job(cycle_id=1), due_at(1))
    assert start_shadow(shadowed.engine, 1, "student-3") == 2
    assert [state_of(shadowed, index)[0] for index in (0, 1)] == ["superseded", "running"]
    assert state_of(shadowed, 0)[1] == "newer_candidate"
    row = {**stored(shadowed.engine, shadow_table)[1], "id": 3}
    with pytest.raises(IntegrityError), writing(shadowed.engine) as connection:
        connection.execute(shadow_table.insert().values(row))


def test_a_cycle_counts_once_through_the_death_of_the_daemon(shadowed: Cycles) -> None:
    """The commit whose answer was lost is not repeated, nor does a process without its lease write."""
    claim = shadowed.claim(1)
    shadowed.conclude_claim(claim, beside(10, 10))
    with pytest.raises(AttemptEndedError):
        shadowed.conclude_claim(claim, beside(10, 10))
    claim = shadowed.claim(2)
    release(shadowed.engine, shadowed.lease)
    rival = replace(shadowed, lease=taken(shadowed.engine))
    with pytest.raises(LeaseLostError):
        shadowed.conclude_claim(claim, beside(40, 0))
    assert len(stored(shadowed.engine, shadow_cycles)) == 1
    rival.conclude(2, beside(40, 0))
    assert len(stored(shadowed.engine, shadow_cycles)) == 2
    assert promoted(shadowed)[1:] == [(CANDIDATE, "shadow_passed")]


def test_a_promotion_that_fails_leaves_no_trace(shadowed: Cycles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies between the end of the shadow and the commit: all of it happens again."""

    def die(*_args: Any, **_more: Any) -> None:  # noqa: ANN401
        raise KeyboardInterrupt

    claim = shadowed.claim(1)
    with monkeypatch.context() as patched:
        patched.setattr("triggers.shadow.advance.versions.promote", die)
        with pytest.raises(KeyboardInterrupt):
            shadowed.conclude_claim(claim, beside(40, 0))
    assert (state_of(shadowed)[0], decisions(shadowed)) == ("running", [("succeeded", "shadowed")])
    assert stored(shadowed.engine, shadow_cycles) == []
    shadowed.conclude_claim(claim, beside(40, 0))
    assert current(shadowed) == CANDIDATE


def test_the_files_of_both_are_needed_and_the_cycles_kept(shadowed: Cycles) -> None:
    """keep_versions and keep wait until the shadow is over."""
    past = retention.Past(monitor=MONITOR, before=due_at(99), kept=frozenset())
    shadowed.conclude(1, beside(10, 10, HEALTHY))
    shadowed.conclude(2, HEALTHY)
    with reading(shadowed.engine) as connection:
        assert {STUDENT, CANDIDATE} <= registries.needed(connection, MONITOR)
        before = retention.deletable(connection, past).get("cycles", 0)
    shadowed.promote("other", now=due_at(2))
    with reading(shadowed.engine) as connection:
        assert retention.deletable(connection, past).get("cycles", 0) == before + 1


def test_three_deaths_in_a_cycle_leave_the_candidate_out(shadowed: Cycles) -> None:
    """It may be what kills the process. An attempt that failed with an error is not a death."""
    for attempt in (1, 2, 3):
        claim = shadowed.claim(1)
        assert claim.attempt == attempt
        with reading(shadowed.engine) as connection:
            assert comparisons.attempts_died(connection, claim) == (attempt == 3)
    with writing(shadowed.engine) as connection:
        connection.execute(cycles.update().where(cycles.c.id == claim.cycle_id).values(error="no log"))
        assert not comparisons.attempts_died(connection, claim)


def test_a_promotion_while_the_cycle_concludes_wins(shadowed: Cycles) -> None:
    """The guarded update finds the shadow ended: the candidate is not promoted over the person's choice."""
    with reading(shadowed.engine) as connection:
        shadow = runs.running(connection, MONITOR)
    assert shadow is not None
    shadowed.promote("other", now=due_at(1))
    with writing(shadowed.engine) as connection:
        ended = runs.end(
            connection,
            shadow,
            state=ShadowState.PROMOTED,
            reason=ShadowReason.BETTER,
            detail="",
            now=due_at(1),
        )
    assert not ended
    assert decisions(shadowed) == [("succeeded", "shadowed")]
