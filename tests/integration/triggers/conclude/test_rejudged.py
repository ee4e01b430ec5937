"""A window without a verdict is judged again: the new result takes the place of the earlier one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from db.archives import erasures
from db.connection.session import reading, writing
from db.cycles import labels, ledger, rejudging, results, windows
from db.cycles.ledger import AttemptEndedError
from db.cycles.rejudging import CycleChangedError, ErasureUnfinishedError
from db.errors import LeaseLostError
from db.records import Archive, ArchivedCycle, Claim, CycleResult, LateLabel, ObjectVersion
from db.states import OrderReason
from db.tables import cycles, incidents, jobs, metadata
from db.tables import erasures as erasure_rows
from db.tables import labels as label_rows
from tests.support.records.conclusions import (
    HEALTHY,
    LOW,
    REJECT,
    TOO_FEW,
    incident_list,
    labelled,
    streaks,
    with_policy,
)
from tests.support.records.cycles import MONITOR, Cycles, due_at, seized, stored
from tests.support.records.factories import (
    HOUR,
    START,
    index_of,
    make_accuracy,
    make_empty_result,
    make_input_drift,
    make_measurement,
    make_result,
    make_slice,
    make_slot,
    make_teacher,
    make_traffic,
)
from tests.support.records.tables import everything
from triggers.conclude import Conclusion
from triggers.settings import TeacherPolicy

LATER = START + 100 * HOUR
ARCHIVE = Archive(uri="archive/3", sha256="ab" * 32)
#: Below the agreement that is wanted, by a teacher that is less sure than it was.
UNSURE = make_result(measurement=make_measurement(disagreements=300, teacher=make_teacher(confidence=0.7)))
LOOSE = TeacherPolicy(confidence_fall=0.5)


def claim_again(run: Cycles, index: int) -> Claim:
    return run.claim_again(index, now=LATER)


def rejudge(run: Cycles, index: int, result: CycleResult | None = None) -> Conclusion:
    return run.conclude_claim(claim_again(run, index), result, now=LATER)


def row(run: Cycles, index: int) -> dict[str, Any]:
    (found,) = (
        each for each in stored(run.engine, cycles) if each["window_end"] == make_slot(index).window_end
    )
    return found


def unjudged(run: Cycles) -> Cycles:
    """Three healthy windows, then three by a teacher that is less sure; the bound is then loosened."""
    for index, result in enumerate([HEALTHY] * 3 + [UNSURE] * 3):
        run.conclude(index, result)
    assert [each["verdict_reason"] for each in stored(run.engine, cycles)[3:]] == ["teacher_unhealthy"] * 3
    return with_policy(run, teacher=LOOSE)


def test_windows_that_had_no_verdict_make_a_streak_and_order_a_job(run: Cycles) -> None:
    """As if the teacher had been believed at the time; and its incident is over."""
    fixed = unjudged(run)
    assert incident_list(run) == [("teacher-unhealthy", "critical", "firing")]
    ended = [rejudge(fixed, index, UNSURE) for index in (3, 4, 5)]
    assert [each.outcomes[0].streak for each in ended] == [1, 2, 3]
    assert streaks(run) == [0, 0, 0, 1, 2, 3]
    assert [each.order.reason for each in ended] == [
        OrderReason.NOT_WANTED,
        OrderReason.NOT_WANTED,
        OrderReason.ORDERED,
    ]
    (job,) = stored(run.engine, jobs)
    assert (job["cycle_id"], job["rule"]) == (row(run, 5)["id"], "low-agreement")
    assert incident_list(run) == [
        ("teacher-unhealthy", "critical", "resolved"),
        ("drift", "error", "firing"),
    ]
    assert [(each["attempt"], each["started_at"]) for each in stored(run.engine, cycles)[3:]] == [
        (2, LATER)
    ] * 3


VERSION = "0123456789abcdef"
REMEDIES = {
    "its files are put back": (HEALTHY, {}),
    "a new one is accepted": (
        replace(UNSURE, teacher_version=VERSION),
        {"teacher": TeacherPolicy(accept=VERSION[:12])},
    ),
    "the bound is raised": (UNSURE, {"teacher": LOOSE}),
}


@pytest.mark.parametrize(("result", "policy"), REMEDIES.values(), ids=REMEDIES)
def test_each_remedy_of_the_runbook_gives_a_verdict(
    run: Cycles, result: CycleResult, policy: dict[str, Any]
) -> None:
    unhealthy = replace(UNSURE, teacher_version=result.teacher_version)
    for index, each in enumerate([HEALTHY] * 3 + [unhealthy]):
        run.conclude(index, each)
    assert incident_list(run) == [("teacher-unhealthy", "critical", "firing")]
    assert rejudge(run, 3, unhealthy).judgement.reason == "teacher_unhealthy"
    ended = rejudge(with_policy(run, **policy), 3, result)
    assert ended.judgement.status == "evaluated"
    assert incident_list(run)[0] == ("teacher-unhealthy", "critical", "resolved")
    assert row(run, 3)["attempt"] == 3


def test_the_rules_go_on_from_a_window_that_was_judged_again(run: Cycles) -> None:
    fixed = unjudged(run)
    for index in (3, 4, 5):
        rejudge(fixed, index, UNSURE)
    assert fixed.conclude(6, UNSURE).outcomes[0].streak == 4


def test_a_window_before_one_without_a_verdict_speaks_of_the_past(run: Cycles) -> None:
    """The newest window still says that the teacher is unhealthy: nothing is over, and nothing is ordered."""
    fixed = unjudged(run)
    ended = rejudge(fixed, 4, replace(HEALTHY, measurement=UNSURE.measurement))
    assert ended.judgement.verdict == "breached"
    assert incident_list(run) == [("teacher-unhealthy", "critical", "firing")]
    assert stored(run.engine, jobs) == []


def test_a_window_before_a_quiet_one_speaks_of_now(run: Cycles) -> None:
    """A later window with too few requests waits for no other judgement: it holds nothing up."""
    fixed = unjudged(run)
    fixed.conclude(6, TOO_FEW)
    ended = [rejudge(fixed, index, UNSURE) for index in (3, 4, 5)]
    assert ended[-1].order.reason is OrderReason.ORDERED
    assert incident_list(run)[0] == ("teacher-unhealthy", "critical", "resolved")


def test_the_result_is_that_of_a_cycle_that_was_judged_once(
    run: Cycles, make_fresh: Callable[[], None]
) -> None:
    """Nothing of the earlier result is left, in any table, but the numbers of attempts and times."""
    assert UNSURE.measurement is not None
    first = replace(
        LOW,
        traffic=replace(make_traffic(rejects=(REJECT,)), objects=(ObjectVersion(name="a", version="1"),)),
        measurement=replace(
            UNSURE.measurement,
            correctness=labelled(teacher=3, student=2),
            input_drift=make_input_drift(accuracy=0.9),
            accuracy=make_accuracy(),
            slices=(make_slice(),),
        ),
        archive=ARCHIVE,
    )
    second = replace(HEALTHY, archive=replace(ARCHIVE, uri="archive/3.new"))
    loose = with_policy(run, teacher=LOOSE)
    for index, result in enumerate([HEALTHY] * 3 + [first]):
        run.conclude(index, result)
    assert all(
        any(each["cycle_id"] == 4 for each in stored(run.engine, part))
        for part in results.PARTS
        if part.name not in {"evidence", "shadow_cycles"}  # which only a cycle with a verdict fills
    )
    rejudge(loose, 3, second)
    found = everything(run.engine)
    make_fresh()
    for index, result in enumerate([HEALTHY] * 3 + [second]):
        loose.conclude(index, result)
    expected = everything(run.engine)
    again = {"attempt": 2, "started_at": LATER, "finished_at": LATER}
    expected["cycles"][3] |= again
    parts = ("cycles", "rule_states", *(part.name for part in results.PARTS))
    assert {name: found[name] for name in parts} == {name: expected[name] for name in parts}


@pytest.fixture
def make_fresh(engine: Engine) -> Callable[[], None]:
    """Empties all tables but that of leases, and begins their numbers anew."""

    def empty() -> None:
        with writing(engine) as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name != "leases":
                    connection.execute(table.delete())
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("ALTER SEQUENCE cycles_id_seq RESTART")

    return empty


def test_what_the_new_result_does_not_measure_is_null(run: Cycles) -> None:
    fixed = unjudged(run)
    ended = rejudge(fixed, 5, make_empty_result(rejects=(REJECT,)))
    assert ended.judgement.reason == "too_many_rejects"
    found = row(run, 5)
    assert (found["n_rejected"], found["n_scored"]) == (40, 0)
    assert [found[name] for name in ("agreement", "agreement_exact", "kl", "js", "archive")] == [None] * 5


def test_incidents_and_jobs_that_point_to_the_cycle_go_on_to(run: Cycles) -> None:
    fixed = unjudged(run)
    (before,) = stored(run.engine, incidents)
    assert before["cycle_id"] == row(run, 3)["id"]
    rejudge(fixed, 3, UNSURE)
    (after,) = stored(run.engine, incidents)
    assert after == before


@pytest.mark.parametrize("result", [HEALTHY, LOW])
def test_a_window_with_a_verdict_is_not_judged_again(run: Cycles, result: CycleResult) -> None:
    run.conclude(0, result)
    with writing(run.engine) as connection:
        assert rejudging.claim(connection, make_slot(0), LATER) is None
        assert rejudging.claim(connection, make_slot(1), LATER) is None


def test_a_window_that_failed_is_claimed_as_ever(run: Cycles) -> None:
    run.fail(0)
    run.claim(1)
    claims = [claim_again(run, index) for index in (0, 1)]
    assert [(each.attempt, each.earlier) for each in claims] == [(2, None), (2, None)]
    assert [each["status"] for each in stored(run.engine, cycles)] == ["running", "running"]


def test_a_window_that_was_skipped_is_judged_for_the_first_time(run: Cycles) -> None:
    with writing(run.engine) as connection:
        ledger.skip(connection, [make_slot(0)], START)
    assert rejudge(run, 0, HEALTHY).judgement.verdict == "healthy"
    assert (row(run, 0)["status"], row(run, 0)["attempt"]) == ("evaluated", 1)


def test_a_claim_changes_nothing(run: Cycles) -> None:
    """So nothing is lost with a process that dies: the next one begins where it did."""
    unjudged(run)
    before = everything(run.engine)
    claim = claim_again(run, 4)
    assert everything(run.engine) == before
    assert claim_again(run, 4) == claim
    with reading(run.engine) as connection:
        assert windows.unfinished(connection, MONITOR, since=START, ended_by=LATER) == ()


def test_an_answer_that_was_lost_is_not_written_twice(run: Cycles) -> None:
    fixed = unjudged(run)
    claim = claim_again(run, 5)
    fixed.conclude_claim(claim, UNSURE, now=LATER)
    before = everything(run.engine)
    with pytest.raises(AttemptEndedError):
        fixed.conclude_claim(claim, HEALTHY, now=LATER)
    assert everything(run.engine) == before


def test_a_process_without_its_lease_writes_nothing(run: Cycles) -> None:
    fixed = unjudged(run)
    claim = claim_again(run, 5)
    seized(run.engine, run.lease)
    before = everything(run.engine)
    with pytest.raises(LeaseLostError):
        fixed.conclude_claim(claim, UNSURE, now=LATER)
    assert everything(run.engine) == before


def test_a_conclusion_that_breaks_off_leaves_the_earlier_result(
    run: Cycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenOffError(Exception):
        pass

    def break_off(*_args: object, **_kwargs: object) -> None:
        raise BrokenOffError

    fixed = unjudged(run)
    claim = claim_again(run, 5)
    before = everything(run.engine)
    with monkeypatch.context() as patch:
        patch.setattr(results, "keep_rule_texts", break_off)
        with pytest.raises(BrokenOffError):
            fixed.conclude_claim(claim, UNSURE, now=LATER)
    assert everything(run.engine) == before
    assert fixed.conclude_claim(claim, UNSURE, now=LATER).judgement.verdict == "breached"


# --- what others do to the cycle meanwhile ---------------------------------------------------------------

LATE = LateLabel(
    request_hash="ab" * 32, label="escalation", teacher_label="escalation", student_label="faq", weight=1.0
)


def put_label(run: Cycles, cycle_id: int, late: LateLabel = LATE) -> None:
    with writing(run.engine) as connection:
        labels.put(connection, cycle_id, [late], due_at(5))


def begin_erasure(run: Cycles, cycle_id: int) -> bool:
    cycle = ArchivedCycle(cycle_id=cycle_id, uri=ARCHIVE.uri, sha256=ARCHIVE.sha256)
    with writing(run.engine) as connection:
        return erasures.begin(connection, cycle, sha256_after="cd" * 32, n=1, now=due_at(5))


def end_erasure(run: Cycles, cycle_id: int) -> None:
    with writing(run.engine) as connection:
        (begun,) = erasures.unfinished(connection, MONITOR)
        assert begun.cycle_id == cycle_id
        erasures.finish(connection, begun, due_at(5))


def test_imported_labels_stay_with_the_new_answers(run: Cycles) -> None:
    run.conclude(0, TOO_FEW)
    put_label(run, 1)
    claim = claim_again(run, 0)
    assert claim.earlier is not None
    assert claim.earlier.late == {LATE.request_hash: "escalation"}
    anew = replace(LATE, teacher_label="faq", weight=0.5)
    run.conclude_claim(claim, replace(HEALTHY, late=(anew,)), now=LATER)
    (found,) = stored(run.engine, label_rows)
    assert found == {"cycle_id": 1, "imported_at": due_at(5), **vars(anew)}


@pytest.mark.parametrize("what", ["a label", "an erasure"])
def test_a_cycle_that_others_change_meanwhile_is_not_written(run: Cycles, what: str) -> None:
    """Its correctness would lack the label, and its archive would bring back what was erased."""
    run.conclude(0, replace(TOO_FEW, archive=ARCHIVE))
    claim = claim_again(run, 0)
    if what == "a label":
        put_label(run, 1)
    else:
        assert begin_erasure(run, 1)
        end_erasure(run, 1)
    before = everything(run.engine)
    with pytest.raises(CycleChangedError):
        run.conclude_claim(claim, HEALTHY, now=LATER)
    assert everything(run.engine) == before
    assert rejudge(run, 0, HEALTHY).judgement.verdict == "healthy"
    assert len(stored(run.engine, erasure_rows)) == (what == "an erasure")


@pytest.mark.parametrize("first", ["the claim", "the erasure"])
def test_an_erasure_that_has_not_ended_comes_first(run: Cycles, first: str) -> None:
    run.conclude(0, replace(TOO_FEW, archive=ARCHIVE))
    if first == "the claim":
        claim = claim_again(run, 0)
        begin_erasure(run, 1)
    else:
        begin_erasure(run, 1)
        claim = claim_again(run, 0)
    with pytest.raises(ErasureUnfinishedError, match="`redistill archive erase` again"):
        run.conclude_claim(claim, HEALTHY, now=LATER)
    assert row(run, 0)["status"] == "inconclusive"


def test_an_erasure_does_not_begin_in_an_archive_that_was_replaced(run: Cycles) -> None:
    run.conclude(0, replace(TOO_FEW, archive=ARCHIVE))
    rejudge(run, 0, replace(HEALTHY, archive=replace(ARCHIVE, uri="archive/3.new")))
    assert not begin_erasure(run, 1)
    assert stored(run.engine, erasure_rows) == []


# --- which windows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param(0, 4, [(0, True), (1, False), (2, False), (3, False)], id="all, oldest first"),
        pytest.param(1, 3, [(1, False), (2, False)], id="those that lie wholly in the range"),
        pytest.param(0.5, 2.5, [(1, False)], id="the others not"),
        pytest.param(4, 9, [], id="none"),
    ],
)
def test_windows_of_a_range(run: Cycles, start: float, end: float, expected: list[tuple[int, bool]]) -> None:
    run.conclude(0)
    run.conclude(1, TOO_FEW)
    run.fail(2)
    with writing(run.engine) as connection:
        ledger.skip(connection, [make_slot(3)], START)
        ledger.claim(connection, make_slot(1, monitor="other"), START)
    with reading(run.engine) as connection:
        found = rejudging.windows(connection, MONITOR, start=START + start * HOUR, end=START + end * HOUR)
    assert [(index_of(each.slot.window_end), each.has_verdict) for each in found] == expected
