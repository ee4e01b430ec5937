from datetime import datetime, timedelta

import pytest

from db.cycles.windows import Unfinished
from db.states import CycleStatus
from monitor.daemon.schedule import is_due_again
from tests.support.records.factories import make_slot

FAILED, RUNNING = CycleStatus.FAILED, CycleStatus.RUNNING
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
CATCH_UP = timedelta(hours=24)
SLOT = make_slot(0)
STARTED = SLOT.window_end + 10 * MINUTE
FINISHED = STARTED + 2 * MINUTE


def make_unfinished(
    status: CycleStatus, *, attempt: int = 1, finished_at: datetime | None = None
) -> Unfinished:
    return Unfinished(slot=SLOT, status=status, attempt=attempt, started_at=STARTED, finished_at=finished_at)


def is_due(unfinished: Unfinished, now: datetime, *, catch_up: timedelta = CATCH_UP) -> bool:
    return is_due_again(unfinished, now, catch_up)


@pytest.mark.parametrize(
    ("attempt", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 64), (8, 64), (900, 64)]
)
def test_a_slot_that_failed_waits_twice_as_long_each_time_and_an_hour_at_most(
    attempt: int, minutes: int
) -> None:
    failed = make_unfinished(FAILED, attempt=attempt, finished_at=FINISHED)
    due_at = FINISHED + minutes * MINUTE
    assert not is_due(failed, due_at - SECOND)
    assert is_due(failed, due_at)


@pytest.mark.parametrize("attempt", [1, 2, 7])
def test_a_slot_that_was_given_back_is_due_at_once(attempt: int) -> None:
    """Asked to stop, its process wrote no end."""
    assert is_due(make_unfinished(FAILED, attempt=attempt), STARTED)


def test_a_slot_whose_process_died_is_due_at_once() -> None:
    assert is_due(make_unfinished(RUNNING), STARTED)


@pytest.mark.parametrize(("attempt", "minutes"), [(2, 1), (3, 2), (4, 4), (8, 64), (900, 64)])
def test_a_slot_that_kills_its_process_again_and_again_does_not_hold_up_the_others(
    attempt: int, minutes: int
) -> None:
    """Counted from the start of the attempt, since nobody wrote its end."""
    died = make_unfinished(RUNNING, attempt=attempt)
    due_at = STARTED + minutes * MINUTE
    assert not is_due(died, due_at - SECOND)
    assert is_due(died, due_at)


@pytest.mark.parametrize(
    "unfinished",
    [
        make_unfinished(FAILED, finished_at=FINISHED),
        make_unfinished(FAILED, attempt=2),
        make_unfinished(RUNNING),
    ],
)
def test_nothing_older_than_catch_up_is_tried_again(unfinished: Unfinished) -> None:
    assert is_due(unfinished, SLOT.window_end + CATCH_UP)
    assert not is_due(unfinished, SLOT.window_end + CATCH_UP + SECOND)
