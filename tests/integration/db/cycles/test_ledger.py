"""The ledger: one cycle a slot, whatever fails, dies or races, and the history that the rules are given."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from db.archives import cycle_archives
from db.connection.session import reading, writing
from db.cycles import cycle_points, history, ledger, results, windows
from db.cycles.windows import Gap
from db.records import Archive, Claim, CyclePoint, CycleResult, RuleOutcome, Slot
from db.states import CycleStatus, TeacherReason, Verdict, VerdictReason
from db.tables import cycles, rule_outcomes, rule_states, rule_texts, teacher_metrics
from tests.support.processes.races import in_threads
from tests.support.records.cycles import MONITOR, Cycles, due_at, make_policy, stored, taken
from tests.support.records.factories import (
    HOUR,
    START,
    STUDENT,
    TEACHER,
    index_of,
    make_empty_result,
    make_measurement,
    make_result,
    make_slot,
)
from tests.support.records.varied_cycles import RULES, random_result
from triggers.conclude import Conclusion
from triggers.rules.evaluation import replay
from triggers.rules.observation import details_for
from triggers.settings import DEFAULT_RULES

FAR = START + 1_000 * HOUR
BREACH = make_result(measurement=make_measurement(disagreements=600, kl=0.2))


def claim(engine: Engine, slot: Slot, now: datetime = START) -> Claim | None:
    with writing(engine) as connection:
        return ledger.claim(connection, slot, now)


def unfinished(engine: Engine) -> list[tuple[int, CycleStatus, int, datetime, datetime | None]]:
    with reading(engine) as connection:
        found = windows.unfinished(connection, MONITOR, since=START, ended_by=FAR)
    return [
        (index_of(each.slot.window_end), each.status, each.attempt, each.started_at, each.finished_at)
        for each in found
    ]


def row(engine: Engine, index: int = 0) -> dict[str, object]:
    (found,) = (row for row in stored(engine, cycles) if index_of(row["window_end"]) == index)
    return found


# --- claims ----------------------------------------------------------------------------------------------


def test_a_new_slot_is_claimed_for_its_first_attempt(engine: Engine) -> None:
    claimed = claim(engine, make_slot(), START)
    assert claimed is not None
    assert (claimed.slot, claimed.attempt, claimed.started_at) == (make_slot(), 1, START)
    found = row(engine)
    assert (found["id"], found["status"], found["attempt"]) == (claimed.cycle_id, "running", 1)
    assert (found["started_at"], found["finished_at"], found["verdict"]) == (START, None, None)


def test_a_slot_whose_process_died_is_claimed_again_as_the_same_cycle(engine: Engine) -> None:
    first = claim(engine, make_slot(), START)
    again = claim(engine, make_slot(), START + HOUR)
    assert first is not None
    assert again == Claim(cycle_id=first.cycle_id, slot=make_slot(), attempt=2, started_at=START + HOUR)


def test_a_slot_that_failed_is_claimed_again(run: Cycles) -> None:
    """Its row is as one that runs, but for the error, which stands until the slot has a result."""
    failed = run.fail(0, "no such file")
    assert row(run.engine)["error"] == "no such file"
    again = claim(run.engine, make_slot(), START)
    assert again is not None
    assert (again.cycle_id, again.attempt) == (failed.cycle_id, 2)
    found = row(run.engine)
    assert (found["status"], found["verdict"], found["verdict_reason"]) == ("running", None, None)
    assert (found["finished_at"], found["error"]) == (None, "no such file")
    run.conclude_claim(again)
    assert (row(run.engine)["status"], row(run.engine)["error"]) == ("evaluated", None)


@pytest.mark.parametrize("result", [make_result(), BREACH, make_empty_result()])
def test_a_slot_that_has_ended_is_never_claimed_again(run: Cycles, result: CycleResult) -> None:
    run.conclude(0, result)
    before = stored(run.engine, cycles)
    assert claim(run.engine, make_slot()) is None
    assert stored(run.engine, cycles) == before


def test_a_skipped_slot_is_never_claimed(engine: Engine) -> None:
    with writing(engine) as connection:
        ledger.skip(connection, [make_slot()], START)
    assert claim(engine, make_slot()) is None


def test_monitors_do_not_share_slots(engine: Engine) -> None:
    first, other = claim(engine, make_slot()), claim(engine, make_slot(monitor="other"))
    assert first is not None
    assert other is not None
    assert first.cycle_id != other.cycle_id


def test_of_those_who_claim_a_new_slot_without_the_lease_one_gets_it(engine: Engine) -> None:
    """The unique key keeps a slot to one row, even where nothing else does."""

    def attempt(_number: int) -> str:
        try:
            claimed = claim(engine, make_slot())
        except IntegrityError:
            return "refused"
        return f"attempt {claimed.attempt}" if claimed else "ended"

    found = in_threads(6, attempt)
    assert found.count("attempt 1") == 1
    assert len(stored(engine, cycles)) == 1


def test_a_slot_is_one_row_whoever_writes_it(engine: Engine) -> None:
    claim(engine, make_slot())
    twin = {**asdict(make_slot()), "status": "running", "attempt": 1}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(cycles).values(twin))
    with pytest.raises(IntegrityError), writing(engine) as connection:
        ledger.skip(connection, [make_slot()], START)


# --- ends ------------------------------------------------------------------------------------------------


def test_a_result_is_stored_as_it_was_measured(run: Cycles) -> None:
    archive = Archive(uri="archive/1.jsonl", sha256="ab" * 32)
    result = make_result(archive=archive, alpha=Decimal("0.6"))
    run.conclude(0, result)
    found = row(run.engine)
    measured = result.measurement
    assert measured is not None
    assert {key: found[key] for key in ("n_seen", "n_sampled", "n_scored", "n_rejected")} == {
        "n_seen": 50_000,
        "n_sampled": 5_500,
        "n_scored": 5_500,
        "n_rejected": 0,
    }
    assert (found["n_disagreements"], found["agreement"]) == (143, measured.agreement.estimate)
    assert (found["agreement_low"], found["agreement_high"]) == (
        measured.agreement.low,
        measured.agreement.high,
    )
    assert (found["kl"], found["kl_low"], found["kl_high"]) == (0.083, measured.kl.low, measured.kl.high)
    assert (found["kl_p50"], found["kl_p95"], found["kl_p99"]) == (
        measured.kl_p50,
        measured.kl_p95,
        measured.kl_p99,
    )
    assert (found["kl_t1"], found["js"], found["temperature"]) == (measured.kl_t1, measured.js, 3.0)
    assert (found["teacher_version"], found["student_version"]) == (TEACHER, STUDENT)
    assert (found["alpha"], found["archive"]) == (Decimal("0.6"), "archive/1.jsonl")
    assert (found["archive_sha256"], found["finished_at"]) == ("ab" * 32, due_at(0))


def test_skipped_slots_are_recorded_with_their_reason(engine: Engine) -> None:
    with writing(engine) as connection:
        ledger.skip(connection, [make_slot(0), make_slot(1)], START)
        ledger.skip(connection, [], START)
    assert [
        (index_of(row["window_end"]), row["status"], row["verdict"], row["verdict_reason"], row["attempt"])
        for row in stored(engine, cycles)
    ] == [(index, "skipped", "inconclusive", "too_old", 0) for index in (0, 1)]


def test_only_slots_that_died_are_abandoned_and_one_that_failed_costs_no_state(run: Cycles) -> None:
    """A failed slot of last year must not make each tick forget the states of the rules."""
    run.fail(0, "no such file")
    run.conclude(1, make_result())
    before = (stored(run.engine, cycles), stored(run.engine, rule_states))
    with writing(run.engine) as connection:
        ledger.abandon(connection, MONITOR, ended_before=FAR, now=START)
        assert windows.unfinished(connection, MONITOR, since=make_slot(1).window_end, ended_by=FAR) == ()
    assert (stored(run.engine, cycles), stored(run.engine, rule_states)) == before


def test_slots_are_skipped_in_few_statements(run: Cycles) -> None:
    """A week away with windows of a minute, within one transaction that others wait for."""
    run.conclude(0, make_result())
    seen: list[str] = []

    def note(*told: Any) -> None:  # noqa: ANN401 - as SQLAlchemy passes them
        seen.append(told[2])

    event.listen(run.engine, "before_cursor_execute", note)
    try:
        with writing(run.engine) as connection:
            ledger.skip(connection, [make_slot(index) for index in range(1, 1_001)], START)
    finally:
        event.remove(run.engine, "before_cursor_execute", note)
    assert sum(each.startswith("DELETE") for each in seen) == 1
    assert len(stored(run.engine, cycles)) == 1_001


def test_giving_back_a_first_attempt_leaves_no_row(engine: Engine) -> None:
    claimed = claim(engine, make_slot())
    assert claimed is not None
    with writing(engine) as connection:
        ledger.give_back(connection, claimed)
    assert stored(engine, cycles) == []


def test_giving_back_a_later_attempt_does_not_count_it(run: Cycles) -> None:
    run.fail(0, "no such file")
    with writing(run.engine) as connection:
        claimed = ledger.claim(connection, make_slot(), START)
        assert claimed is not None
        ledger.give_back(connection, claimed)
    found = row(run.engine)
    assert (found["status"], found["attempt"], found["error"]) == ("failed", 1, "no such file")
    assert (found["verdict"], found["verdict_reason"]) == ("failed", "error")


def test_unfinished_slots_are_those_that_may_be_tried_again(run: Cycles) -> None:
    """Oldest first; ended and skipped ones are not among them, nor those of other monitors."""
    run.fail(2)
    run.claim(1)
    run.conclude(3)
    claim(run.engine, make_slot(4, monitor="other"))
    with writing(run.engine) as connection:
        ledger.skip(connection, [make_slot(0)], START)
    assert unfinished(run.engine) == [
        (1, CycleStatus.RUNNING, 1, due_at(1), None),
        (2, CycleStatus.FAILED, 1, due_at(2), due_at(2)),
    ]


def test_the_last_end_is_that_of_the_newest_window_whatever_became_of_it(run: Cycles) -> None:
    def last_end() -> datetime | None:
        with reading(run.engine) as connection:
            return windows.last_end(connection, MONITOR, now=FAR)

    assert last_end() is None
    claim(run.engine, make_slot(9, monitor="other"))
    assert last_end() is None
    run.conclude(1)
    run.fail(0)
    assert last_end() == make_slot(1).window_end
    run.claim(2)
    assert last_end() == make_slot(2).window_end


def gap(start: int, end: int) -> Gap:
    return Gap(start=START + start * HOUR, end=START + end * HOUR)


@pytest.mark.parametrize(
    ("present", "since", "expected"),
    [
        pytest.param([], 0, [], id="an empty ledger has none"),
        pytest.param([3], 0, [], id="what lies before the first window is none"),
        pytest.param([0, 1, 2], 0, [], id="windows that follow each other leave none"),
        pytest.param([0, 3, 4, 6], 0, [gap(1, 3), gap(5, 6)], id="each is told, oldest first"),
        pytest.param([0, 3, 4, 6], 3, [gap(5, 6)], id="one that has ended by then is not told"),
        pytest.param([0, 3, 4, 6], 2, [gap(1, 3), gap(5, 6)], id="one that began before is told whole"),
        pytest.param([0, 9], 8, [gap(1, 9)], id="even if it is all that there is"),
    ],
)
def test_gaps(engine: Engine, present: list[int], since: int, expected: list[Gap]) -> None:
    """A gap is time between two windows in the ledger that no window covers."""
    for index in present:
        claim(engine, make_slot(index))
    claim(engine, make_slot(4, monitor="other"))
    with reading(engine) as connection:
        assert list(windows.gaps(connection, MONITOR, since=START + since * HOUR, now=FAR)) == expected


def window(start: int, end: int) -> Slot:
    """The window between two hours after START."""
    return Slot(monitor=MONITOR, window_start=START + start * HOUR, window_end=START + end * HOUR)


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (window(-1, 2), window(-1, 2)),
        (window(2, 5), window(3, 5)),
        (window(3, 6), window(3, 6)),
        (window(1, 7), window(3, 7)),
        (window(4, 9), None),
        (window(-1, 3), window(2, 3)),
        (window(6, 10), None),
        (window(6, 14), window(12, 14)),
    ],
)
def test_windows_of_two_schedules_never_overlap(engine: Engine, slot: Slot, expected: Slot | None) -> None:
    """A new slot begins where recorded time ends, and none is measured that ends in a recorded window."""
    for recorded in (window(2, 3), window(8, 12)):
        claim(engine, recorded)
    claim(engine, replace(window(-5, 20), monitor="other"))
    found = claim(engine, slot)
    assert (found and found.slot) == expected


def test_a_new_schedule_leaves_no_gap_and_retries_a_window_as_it_was(run: Cycles) -> None:
    run.fail(0)
    claim(run.engine, window(0, 3))
    with reading(run.engine) as connection:
        assert windows.gaps(connection, MONITOR, since=START, now=FAR) == ()
    again = claim(run.engine, window(-2, 1))
    assert again is not None
    assert (again.slot, again.attempt) == (window(0, 1), 2)


# --- history ---------------------------------------------------------------------------------------------


def points(engine: Engine, **bounds: Any) -> list[int]:  # noqa: ANN401 - as history.points
    with reading(engine) as connection:
        return [index_of(point.window_end) for point in cycle_points.read(connection, MONITOR, **bounds)]


def test_points_are_the_ended_cycles_by_their_windows(run: Cycles) -> None:
    for index in (3, 0, 2):
        run.conclude(index)
    run.fail(1)
    run.claim(4)
    claim(run.engine, make_slot(1, monitor="other"))
    assert points(run.engine) == [0, 1, 2, 3]
    since, until = make_slot(1).window_end, make_slot(3).window_end
    assert points(run.engine, since=since, until=until) == [1, 2]


def test_a_point_is_what_the_rules_were_given(run: Cycles) -> None:
    run.conclude(0, BREACH)
    with reading(run.engine) as connection:
        (point,) = cycle_points.read(connection, MONITOR)
    assert BREACH.measurement is not None
    assert point == CyclePoint(
        window_end=make_slot(0).window_end,
        status=CycleStatus.EVALUATED,
        teacher_version=TEACHER,
        student_version=STUDENT,
        n=5_500,
        disagreements=600,
        agreement=Fraction(49, 55),
        kl=0.2,
        kl_t1=0.4,
        js=0.05,
        intervals={"agreement": BREACH.measurement.agreement, "kl": BREACH.measurement.kl},
    )


def test_the_newest_statuses_come_newest_first(run: Cycles) -> None:
    run.conclude(0)
    run.fail(1)
    run.conclude(2)
    run.conclude(3)
    run.claim(4)
    with reading(run.engine) as connection:
        newest = history.newest_statuses(connection, MONITOR, 2, until=make_slot(2).window_end)
    assert newest == (CycleStatus.EVALUATED, CycleStatus.FAILED)


def streak_start(engine: Engine, index: int) -> int | None:
    with reading(engine) as connection:
        found = cycle_points.streak_start(connection, MONITOR, until=make_slot(index).window_end)
    return None if found is None else index_of(found)


def test_streaks_begin_with_the_last_cycle_of_another_pair(run: Cycles) -> None:
    for index, student in enumerate("aabb"):
        run.conclude(index, make_result(student_version=student))
    run.conclude(4, make_empty_result())
    run.conclude(5, make_result(student_version="b"))
    assert streak_start(run.engine, 6) == 1
    assert streak_start(run.engine, 3) == 1
    assert streak_start(run.engine, 2) is None
    assert streak_start(run.engine, 0) is None


def test_a_later_result_is_an_evaluated_cycle_of_a_later_window(run: Cycles) -> None:
    def has_later_result(index: int) -> bool:
        with reading(run.engine) as connection:
            return history.has_later_result(connection, make_slot(index))

    run.conclude(1)
    run.conclude(2, make_empty_result())
    run.fail(3)
    run.claim(4)
    claim(run.engine, make_slot(5, monitor="other"))
    assert [has_later_result(index) for index in range(5)] == [True, False, False, False, False]


def test_the_archives_of_a_pair_are_its_breached_samples(run: Cycles) -> None:
    """Newest first, the asking cycle's own first, none of another pair, of later or of other healthy cycles,
    nor what has expired.
    """

    def breach(index: int, *, teacher: str = TEACHER, student: str = STUDENT) -> int:
        result = make_result(
            measurement=make_measurement(disagreements=600),
            archive=Archive(uri=f"archive/{index}", sha256=str(index)),
            teacher_version=teacher,
            student_version=student,
        )
        claimed = run.claim(index)
        run.conclude_claim(claimed, result)
        return claimed.cycle_id

    def archives(cycle_id: int, *, kept: timedelta = timedelta(days=30)) -> list[tuple[str, str]]:
        with reading(run.engine) as connection:
            found = cycle_archives.of_pair(connection, cycle_id, kept=kept)
        assert {each.n for each in found} == {5_500}
        return [(each.uri, each.sha256) for each in found]

    breach(0, student="student-0")
    breach(1)
    healthy = run.claim(2)
    run.conclude_claim(healthy, make_result(archive=Archive(uri="archive/2", sha256="2")))
    breach(3, teacher="teacher-0")
    run.conclude(4, BREACH)
    fifth = breach(5)
    breach(6)
    assert archives(fifth) == [("archive/5", "5"), ("archive/1", "1")]
    assert archives(fifth, kept=4 * HOUR) == [("archive/5", "5"), ("archive/1", "1")]
    assert archives(fifth, kept=3 * HOUR) == [("archive/5", "5")]
    assert archives(healthy.cycle_id) == [("archive/2", "2"), ("archive/1", "1")]


def leave_unjudged(run: Cycles, index: int, why: VerdictReason, teacher: TeacherReason) -> None:
    """As if the cycle had had no verdict, for that reason, and that had been said of its teacher."""
    ended = {"status": CycleStatus.INCONCLUSIVE, "verdict": Verdict.INCONCLUSIVE, "verdict_reason": why}
    cycle_id = row(run.engine, index)["id"]
    with writing(run.engine) as connection:
        connection.execute(update(cycles).where(cycles.c.id == cycle_id).values(ended))
        own = teacher_metrics.c.cycle_id == cycle_id
        connection.execute(update(teacher_metrics).where(own).values(reason=teacher))


@pytest.mark.parametrize(
    ("why", "teacher", "is_read"),
    [
        (VerdictReason.TEACHER_UNHEALTHY, TeacherReason.LABELS_MOVED, True),
        (VerdictReason.TEACHER_UNHEALTHY, TeacherReason.CONFIDENCE_FALLEN, False),
        (VerdictReason.TEACHER_UNHEALTHY, TeacherReason.ACCURACY_LOW, False),
        (VerdictReason.TOO_FEW_SAMPLES, TeacherReason.NO_EVIDENCE, False),
        (VerdictReason.TOO_MANY_REJECTS, TeacherReason.NO_EVIDENCE, False),
    ],
)
def test_a_sample_that_only_the_mix_of_labels_speaks_against_is_learned_from(
    run: Cycles, why: VerdictReason, teacher: TeacherReason, *, is_read: bool
) -> None:
    """That mix may be the drift, and a person may look back from it. Other cycles without a verdict teach
    nothing.
    """
    for index in range(3):
        archive = Archive(uri=f"archive/{index}", sha256=str(index))
        run.conclude(index, replace(BREACH, archive=archive))
    leave_unjudged(run, 1, why, teacher)
    with reading(run.engine) as connection:
        found = cycle_archives.of_pair(connection, 3, kept=timedelta(days=30))
    assert [each.uri for each in found] == [
        f"archive/{index}" for index in ((2, 1, 0) if is_read else (2, 0))
    ]
    leave_unjudged(run, 2, why, teacher)
    with reading(run.engine) as connection:
        newest = cycle_archives.newest(connection, MONITOR, (TEACHER, STUDENT), since=START)
    assert newest == (3 if is_read else 1)


def test_a_person_looks_back_from_the_newest_sample_of_the_pair_that_is_kept(run: Cycles) -> None:
    def archived(index: int, **fields: Any) -> int:  # noqa: ANN401 - as make_result
        claimed = run.claim(index)
        archive = Archive(uri=f"archive/{index}", sha256=str(index))
        run.conclude_claim(claimed, make_result(archive=archive, **fields))
        return claimed.cycle_id

    def newest(since: datetime) -> int | None:
        with reading(run.engine) as connection:
            return cycle_archives.newest(connection, MONITOR, (TEACHER, STUDENT), since=since)

    assert newest(START) is None
    archived(0)
    second = archived(1)
    run.conclude(2)
    archived(3, student_version="student-2")
    assert newest(START) == second
    assert newest(make_slot(1).window_end) == second
    assert newest(make_slot(2).window_end) is None


# --- streaks ---------------------------------------------------------------------------------------------

CYCLES = 60


def test_the_stored_streaks_are_those_of_a_replay_of_the_whole_history(engine: Engine) -> None:
    """The daemon reads a part of the history, `replay` all of it; both say the same of every cycle.

    The history holds changes of both versions, cycles without evidence, some of which are judged again later,
    failures, some of which end well later, and cycles that were left out and are filled in later, or skipped,
    of which is said what was known then.
    """
    run = Cycles(engine=engine, lease=taken(engine), policy=make_policy(rules=RULES, alerts=()))
    rng = np.random.default_rng(2025)
    late: list[int] = []
    failed: list[int] = []
    blind: list[int] = []
    streaks: list[int] = []
    for index in range(CYCLES):
        kind = str(rng.choice(["evaluated", "inconclusive", "failed", "late"], p=[0.7, 0.14, 0.08, 0.08]))
        if kind == "late":
            late.append(index)
        elif kind == "failed":
            run.fail(index)
            failed += [index] * int(rng.integers(2))
        else:
            said = run.conclude(index, random_result(rng) if kind == "evaluated" else make_empty_result())
            blind += [index] * (kind == "inconclusive")
            streaks.append(assert_said_as_replayed(engine, index, said))
        if blind and rng.random() < 0.1:
            again = run.claim_again(blind.pop(), now=due_at(index))
            said = run.conclude_claim(again, random_result(rng))
            assert_said_as_replayed(engine, index_of(again.slot.window_end), said)
        if late and rng.random() < 0.05:
            with writing(engine) as connection:
                ledger.skip(connection, [make_slot(late.pop(0))], due_at(index))
        if (waiting := late or failed) and rng.random() < 0.15:
            filled_in = waiting.pop()
            assert_said_as_replayed(engine, filled_in, run.conclude(filled_in, random_result(rng)))
    assert max(streaks) >= 5  # else the history says little


def test_the_rules_go_on_from_where_they_stood(run: Cycles) -> None:
    """What is stored of them is used, until a slot before it, or the slot itself, is claimed again."""
    run.conclude(0, BREACH)
    run.conclude(2, BREACH)
    with writing(run.engine) as connection:
        connection.execute(
            update(rule_states).values(state=func.replace(rule_states.c.state, '"streak": 2', '"streak": 40'))
        )
    assert [outcome.streak for outcome in run.conclude(3, BREACH).outcomes] == [41, 41]
    assert [outcome.streak for outcome in run.conclude(1, BREACH).outcomes] == [2, 2]
    assert [outcome.streak for outcome in run.conclude(4, BREACH).outcomes] == [5, 5]
    assert len(stored(run.engine, rule_states)) == len(DEFAULT_RULES)


def test_a_changed_rule_starts_from_the_whole_history(run: Cycles) -> None:
    """One that has no state yet; the others continue from theirs."""
    run.conclude(0, BREACH)
    run.conclude(1, BREACH)
    changed = replace(run, policy=make_policy(rules=(*DEFAULT_RULES, RULES[2]), alerts=()))
    assert [outcome.streak for outcome in changed.conclude(2, BREACH).outcomes] == [3, 3, 3]


def assert_said_as_replayed(engine: Engine, index: int, said: Conclusion) -> int:
    """What was concluded of the cycle, what is stored and what is replayed is one; its longest streak."""
    with reading(engine) as connection:
        known = cycle_points.read(
            connection, MONITOR, until=make_slot(index + 1).window_end, details=details_for(RULES)
        )
        query = (
            select(rule_outcomes)
            .join(cycles)
            .where(cycles.c.window_end == make_slot(index).window_end)
            .order_by(rule_outcomes.c.rule)
        )
        written = [outcome(row, index) for row in connection.execute(query).mappings()]
    replayed = sorted((list(replay(rule, known))[-1] for rule in RULES), key=attrgetter("rule"))
    assert written == replayed
    assert sorted(said.outcomes, key=attrgetter("rule")) == replayed
    return max(outcome.streak for outcome in written)


def outcome(row: Mapping[Any, Any], index: int) -> RuleOutcome:
    fields = {name: row[name] for name in RuleOutcome.__dataclass_fields__ if name in row}
    return RuleOutcome(**{**fields, "window_end": make_slot(index).window_end})


def test_two_monitors_with_the_same_new_rules_may_decide_at_once(engine: Engine) -> None:
    """The rules' texts are rows of all monitors."""
    texts = {"a" * 64: "kl above 0.15", "b" * 64: "agreement below 0.95"}

    def decide(_number: int) -> None:
        with writing(engine) as connection:
            results.keep_rule_texts(connection, texts, START)

    in_threads(4, decide)
    assert {row["version"]: row["text"] for row in stored(engine, rule_texts)} == texts
