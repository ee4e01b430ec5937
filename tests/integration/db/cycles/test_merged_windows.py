"""Quiet windows in the ledger: the next slot extends the row, and nothing is counted twice or never."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from db import incidents
from db.connection.session import reading, writing
from db.cycles import cycle_points, history, ledger, rejudging, windows
from db.cycles.windows import Gap
from db.records import Claim, QuietResult, Slot
from db.states import CycleStatus, IncidentState, VerdictReason
from db.tables import cycles, objects
from db.views import rows
from tests.support.records.conclusions import TOO_FEW
from tests.support.records.cycles import MONITOR, Cycles, due_at, stored, taken
from tests.support.records.factories import HOUR, START, make_slot, make_traffic
from triggers.conclude_quiet import conclude_quiet

DAY = timedelta(hours=24)


@pytest.fixture
def run(engine: Engine) -> Cycles:
    return Cycles(engine=engine, lease=taken(engine))


def claim(engine: Engine, slot: Slot, *, max_window: timedelta = DAY) -> Claim | None:
    with writing(engine) as connection:
        return ledger.claim(connection, slot, slot.window_end, max_window=max_window)


def taken_slot(engine: Engine, index: int, *, max_window: timedelta = DAY) -> Claim:
    found = claim(engine, make_slot(index), max_window=max_window)
    assert found is not None
    return found


def wait(run: Cycles, claimed: Claim, n_seen: int) -> None:
    result = QuietResult(traffic=make_traffic(n_seen=n_seen, n_sampled=n_seen))
    now = claimed.slot.window_end + timedelta(minutes=10)
    conclude_quiet(run.engine, run.lease, claimed, result, run.policy.audience, now=now)


def quiet(run: Cycles, index: int, n_seen: int) -> None:
    """The slot's requests with those of the quiet window before it: too few so far."""
    wait(run, taken_slot(run.engine, index), n_seen)


def recorded(engine: Engine) -> list[tuple[int, int, str | None, int]]:
    """First slot, last slot, reason or status, and number of slots of each window."""
    return [
        (
            (row["window_start"] - START) // HOUR,
            (row["window_end"] - START) // HOUR - 1,
            row["verdict_reason"] or row["status"],
            row["n_slots"],
        )
        for row in stored(engine, cycles)
    ]


def blind(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as connection:
        return [(each.state, each.summary) for each in incidents.unresolved(connection, MONITOR)]


def unevaluated(engine: Engine, until: datetime) -> tuple[CycleStatus, ...]:
    with reading(engine) as connection:
        return history.newest_statuses(connection, MONITOR, 9, until=until)


# --- extending -------------------------------------------------------------------------------------------


def test_the_next_slot_extends_a_quiet_window_in_its_row(run: Cycles) -> None:
    quiet(run, 0, 400)
    extended = taken_slot(run.engine, 1)
    assert extended.slot == Slot(monitor=MONITOR, window_start=START, window_end=START + 2 * HOUR)
    assert (extended.attempt, extended.n_slots) == (1, 2)
    assert recorded(run.engine) == [(0, 1, "running", 2)]
    run.conclude_claim(extended)
    run.conclude(2)
    assert recorded(run.engine) == [(0, 1, "within_rules", 2), (2, 2, "within_rules", 1)]
    with reading(run.engine) as connection:
        found = rows(connection, "cycle_history", order_by="window_end")
        assert [each["n_slots"] for each in found] == [2, 1]
        assert windows.gaps(connection, MONITOR, since=START, now=START + DAY) == ()


def test_a_slot_in_a_merged_window_is_not_attempted_again(run: Cycles) -> None:
    quiet(run, 0, 400)
    quiet(run, 1, 700)
    assert claim(run.engine, make_slot(0)) is None
    assert claim(run.engine, make_slot(1)) is None


def test_a_quiet_window_is_counted_and_nothing_of_it_is_scored(run: Cycles) -> None:
    quiet(run, 0, 400)
    (row,) = stored(run.engine, cycles)
    assert (row["status"], row["verdict"], row["verdict_reason"]) == ("inconclusive", "inconclusive", "quiet")
    counts = (row["n_seen"], row["n_sampled"], row["n_scored"], row["n_rejected"])
    assert counts == (400, 0, 0, 0)
    assert (row["quiet_at"], row["finished_at"]) == (due_at(0), due_at(0))
    assert row["archive"] is None
    assert row["order_reason"] is None


def test_a_window_is_not_extended_beyond_its_longest(run: Cycles) -> None:
    wait(run, taken_slot(run.engine, 0), 400)
    wait(run, taken_slot(run.engine, 1, max_window=2 * HOUR), 700)
    third = taken_slot(run.engine, 2, max_window=2 * HOUR)
    assert (third.slot, third.extended) == (make_slot(2), None)
    assert recorded(run.engine)[0] == (0, 1, "too_few_samples", 2)


def test_a_longer_slot_after_a_change_of_the_schedule_extends_what_fits(run: Cycles) -> None:
    quiet(run, 0, 400)
    day = Slot(monitor=MONITOR, window_start=START - 10 * HOUR, window_end=START + 14 * HOUR)
    extended = claim(run.engine, day)
    assert extended is not None
    assert (extended.slot.window_start, extended.slot.window_end) == (START, START + 14 * HOUR)
    assert extended.n_slots == 2


def test_a_slot_longer_than_the_longest_window_begins_after_the_quiet_one(run: Cycles) -> None:
    quiet(run, 0, 400)
    week = Slot(monitor=MONITOR, window_start=START - 2 * DAY, window_end=START + 5 * DAY)
    begun = claim(run.engine, week)
    assert begun is not None
    assert (begun.slot.window_start, begun.extended) == (START + HOUR, None)
    assert recorded(run.engine)[0] == (0, 0, "too_few_samples", 1)


def test_a_slot_after_a_gap_leaves_the_window_to_the_slots_of_the_gap(run: Cycles) -> None:
    quiet(run, 0, 400)
    assert taken_slot(run.engine, 3).slot == make_slot(3)
    with reading(run.engine) as connection:
        gaps = windows.gaps(connection, MONITOR, since=START, now=START + DAY)
    assert gaps == (Gap(start=START + HOUR, end=START + 3 * HOUR),)
    assert taken_slot(run.engine, 1).n_slots == 2


def test_a_window_cannot_wait_for_a_slot_that_is_covered(run: Cycles) -> None:
    run.conclude(2)
    with reading(run.engine) as connection:
        covered = [
            windows.is_covered(connection, MONITOR, slot.window_start, slot.window_end)
            for slot in map(make_slot, range(5))
        ]
    assert covered == [False, False, True, False, False]


def test_skipped_slots_end_a_quiet_window(run: Cycles) -> None:
    quiet(run, 0, 400)
    with writing(run.engine) as connection:
        ledger.skip(connection, map(make_slot, (1, 2)), START + 9 * DAY)
    assert recorded(run.engine) == [
        (0, 0, "too_few_samples", 1),
        (1, 1, "too_old", 1),
        (2, 2, "too_old", 1),
    ]


# --- attempts that do not end ------------------------------------------------------------------------------


def test_a_claim_that_is_given_back_leaves_the_quiet_row_as_it_was(run: Cycles) -> None:
    quiet(run, 0, 400)
    quiet(run, 1, 700)
    before = stored(run.engine, cycles)
    given = taken_slot(run.engine, 2)
    with writing(run.engine) as connection:
        ledger.give_back(connection, given)
    assert stored(run.engine, cycles) == before
    assert taken_slot(run.engine, 2).n_slots == 3


def test_a_longer_window_whose_process_died_is_attempted_again_as_it_is(run: Cycles) -> None:
    quiet(run, 0, 400)
    died = taken_slot(run.engine, 1)
    with reading(run.engine) as connection:
        (found,) = windows.unfinished(connection, MONITOR, since=START, ended_by=START + DAY)
    assert found.slot == died.slot
    again = taken_slot(run.engine, 1)
    assert (again.slot, again.attempt, again.n_slots) == (died.slot, 2, 2)
    assert again.extended is None
    with writing(run.engine) as connection:
        ledger.give_back(connection, again)
    assert recorded(run.engine) == [(0, 1, "error", 2)]


def test_a_longer_window_that_failed_is_attempted_again_and_may_wait(run: Cycles) -> None:
    quiet(run, 0, 400)
    failed = taken_slot(run.engine, 1)
    with writing(run.engine) as connection:
        ledger.fail(connection, failed, "the log was away", START + 2 * HOUR)
    wait(run, taken_slot(run.engine, 1), 700)
    assert recorded(run.engine) == [(0, 1, "quiet", 2)]
    (row,) = stored(run.engine, cycles)
    assert (row["error"], row["n_empty"]) == (None, 0)


def test_a_stale_answer_about_the_shorter_window_changes_nothing(run: Cycles) -> None:
    first = taken_slot(run.engine, 0)
    wait(run, first, 400)
    taken_slot(run.engine, 1)
    with pytest.raises(ledger.AttemptEndedError):
        wait(run, first, 400)


def test_a_merged_window_that_is_judged_again_keeps_its_bounds(run: Cycles) -> None:
    quiet(run, 0, 400)
    run.conclude_claim(taken_slot(run.engine, 1), TOO_FEW)
    with writing(run.engine) as connection:
        (known,) = rejudging.windows(connection, MONITOR, start=START, end=START + DAY)
        again = rejudging.claim(connection, known.slot, START + DAY)
    assert again is not None
    assert (again.slot.window_start, again.slot.window_end) == (START, START + 2 * HOUR)
    assert again.n_slots == 2


# --- what others see ---------------------------------------------------------------------------------------


def test_rules_pass_over_a_quiet_window(run: Cycles) -> None:
    run.conclude(0)
    quiet(run, 1, 400)
    with reading(run.engine) as connection:
        points = cycle_points.read(connection, MONITOR)
    assert [(each.window_end, each.n_slots) for each in points] == [(START + HOUR, 1)]


def test_a_window_with_too_few_requests_counts_as_all_its_slots(run: Cycles) -> None:
    quiet(run, 0, 400)
    quiet(run, 1, 700)
    run.conclude_claim(taken_slot(run.engine, 2), TOO_FEW)
    assert unevaluated(run.engine, START + DAY) == (CycleStatus.INCONCLUSIVE,) * 3
    ((state, summary),) = blind(run.engine)
    assert state == IncidentState.FIRING
    assert summary.startswith("3 slots in a row without a verdict")
    with reading(run.engine) as connection:
        assert [each.n_slots for each in cycle_points.read(connection, MONITOR)] == [3]


def test_a_quiet_night_is_not_blind(run: Cycles) -> None:
    for index in range(8):
        quiet(run, index, 100 * (index + 1))
    assert unevaluated(run.engine, START + DAY) == ()
    assert blind(run.engine) == []


def test_three_slots_without_a_record_are_blind_also_while_the_window_waits(run: Cycles) -> None:
    quiet(run, 0, 400)
    quiet(run, 1, 400)
    assert [state for state, _ in blind(run.engine)] == [IncidentState.PENDING]
    quiet(run, 2, 400)
    assert [state for state, _ in blind(run.engine)] == [IncidentState.PENDING]
    quiet(run, 3, 400)
    ((state, summary),) = blind(run.engine)
    assert state == IncidentState.FIRING
    assert "the log's last 3 slots have not a single record" in summary


def test_a_record_after_empty_slots_starts_the_count_again(run: Cycles) -> None:
    for index, n_seen in enumerate((0, 0, 1, 1, 1)):
        quiet(run, index, n_seen)
    assert [state for state, _ in blind(run.engine)] == [IncidentState.PENDING]
    quiet(run, 5, 1)
    assert [state for state, _ in blind(run.engine)] == [IncidentState.FIRING]


def test_an_empty_slot_after_two_failed_ones_is_the_third_without_a_verdict(run: Cycles) -> None:
    run.fail(0)
    run.fail(1)
    quiet(run, 2, 0)
    assert [state for state, _ in blind(run.engine)] == [IncidentState.FIRING]


def test_a_quiet_window_is_a_conclusion_for_the_watchdog_also_while_the_next_slot_runs(run: Cycles) -> None:
    def last() -> datetime | None:
        with reading(run.engine) as connection:
            return windows.last_conclusive_at(connection, MONITOR, now=START + 9 * DAY)

    assert last() is None
    quiet(run, 0, 400)
    assert last() == due_at(0)
    taken_slot(run.engine, 1)
    assert last() == due_at(0)


def test_a_quiet_window_does_not_keep_an_earlier_one_from_ordering(run: Cycles) -> None:
    quiet(run, 1, 400)
    with reading(run.engine) as connection:
        assert not history.has_later_result(connection, make_slot(0), or_unjudged=True)


def test_nothing_is_known_of_the_objects_of_a_window_that_ended_quiet(run: Cycles) -> None:
    quiet(run, 0, 400)
    with writing(run.engine) as connection:
        ledger.end_quiet(connection, MONITOR, make_slot(0).window_end)
        assert windows.consumed(connection, MONITOR, make_slot(0).window_end) is None
    run.conclude(1)
    (_, judged) = stored(run.engine, cycles)
    with writing(run.engine) as connection:
        connection.execute(insert(objects).values(cycle_id=judged["id"], name="a", version="1"))
        found = windows.consumed(connection, MONITOR, make_slot(1).window_end)
    assert found is not None
    assert (found[0], len(found[1])) == (START + HOUR, 1)


# --- the release before, which knows nothing of this ------------------------------------------------------


def test_the_release_before_adds_the_next_slot_behind_a_quiet_window(run: Cycles) -> None:
    """It does not extend a window, and it writes none of the new columns."""
    quiet(run, 0, 400)
    begun = claim(run.engine, make_slot(1), max_window=timedelta(0))
    assert begun is not None
    run.conclude_claim(begun)
    assert [(first, last) for first, last, *_ in recorded(run.engine)] == [(0, 0), (1, 1)]


def test_the_new_columns_have_defaults_and_the_status_is_one_that_the_release_before_knows(
    run: Cycles,
) -> None:
    known: dict[str, Any] = {**vars(make_slot(5)), "status": "running", "attempt": 1, "started_at": START}
    with writing(run.engine) as connection:
        connection.execute(cycles.insert().values(known))
        found = connection.execute(select(cycles.c.n_slots, cycles.c.n_empty, cycles.c.quiet_at)).one()
        connection.execute(update(cycles).values(status="evaluated"))
    assert tuple(found) == (1, 0, None)
    quiet(run, 6, 1)
    assert {row["status"] for row in stored(run.engine, cycles)} == {"evaluated", "inconclusive"}
    assert stored(run.engine, cycles)[1]["verdict_reason"] == VerdictReason.QUIET
