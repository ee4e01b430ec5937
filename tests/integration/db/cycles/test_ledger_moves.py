"""Whatever is done to a cycle, in each of its states: docs/states.md draws what happens, and no more."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from db import leases
from db.connection import clock_skew
from db.connection.session import writing
from db.cycles import ledger
from db.records import Claim, EarlierResult, QuietResult, QuietWindow
from db.states import CycleStatus, VerdictReason
from db.tables import cycles
from tests.support.records.conclusions import HEALTHY, TOO_FEW
from tests.support.records.cycles import Cycles, due_at, stored, taken
from tests.support.records.factories import START, make_slot, make_traffic
from tests.unit.docs.test_states import arrows
from triggers.conclude import conclude, conclude_failure
from triggers.conclude_quiet import conclude_quiet

NEVER: Final = "[*]"  #: there is no row
#: Each with the attempt that it is about, as a process has it in its hands that was away for a while.
Act = Callable[[Cycles, Claim], object]


def claim(run: Cycles, _held: Claim) -> None:
    """The slot, or the next one if the window is quiet: that one extends it."""
    is_quiet = any(state_of(each) == VerdictReason.QUIET for each in stored(run.engine, cycles))
    with writing(run.engine) as connection:
        ledger.claim(connection, make_slot(int(is_quiet)), START, max_window=timedelta(days=1))


def end_quiet(run: Cycles, _held: Claim) -> None:
    with writing(run.engine) as connection:
        ledger.end_quiet(connection, make_slot().monitor, make_slot().window_end)


def wait(run: Cycles, held: Claim) -> None:
    result = QuietResult(traffic=make_traffic(n_seen=400, n_sampled=400))
    conclude_quiet(run.engine, run.lease, held, result, run.policy.audience, now=due_at(0))


def extended(held: Claim) -> Claim:
    """The claim of somebody who has extended a quiet window."""
    before = QuietWindow(window_end=START, attempt=1, started_at=START, finished_at=START)
    return replace(held, n_slots=2, extended=before)


def state_of(row: Mapping[str, Any]) -> str:
    return str(row["verdict_reason"] if row["verdict_reason"] == VerdictReason.QUIET else row["status"])


def skip(run: Cycles, _held: Claim) -> None:
    with writing(run.engine) as connection:
        ledger.skip(connection, [make_slot()], START)


def abandon(run: Cycles, _held: Claim) -> None:
    with writing(run.engine) as connection:
        end = make_slot().window_end + timedelta(seconds=1)
        ledger.abandon(connection, make_slot().monitor, ended_before=end, now=START)


def give_back(run: Cycles, held: Claim) -> None:
    with writing(run.engine) as connection:
        leases.guard(connection, run.lease)
        ledger.lock_for_write(connection, held)
        ledger.give_back(connection, held)


def reopen(run: Cycles, _held: Claim) -> None:
    with writing(run.engine) as connection:
        clock_skew.reopen(connection, make_slot().monitor, now=START, since=START)


def again(held: Claim) -> Claim:
    """What somebody would have in his hands who judges the window again."""
    return replace(held, attempt=held.attempt + 1, earlier=NOTHING)


NOTHING: Final = EarlierResult(archive=None, n_records=0, n_erasures=0, late={})
ACTS: Final[Mapping[str, tuple[tuple[str, Act], ...]]] = {
    "ledger.claim": (("claim", claim),),
    "ledger.skip": (("skip", skip),),
    "ledger.abandon": (("abandon", abandon),),
    "ledger.give_back": (
        ("give back", give_back),
        ("give back, again", lambda run, held: give_back(run, again(held))),
        ("give back, extended", lambda run, held: give_back(run, extended(held))),
    ),
    "ledger.end_quiet": (("end quiet", end_quiet),),
    "conclude_quiet.conclude_quiet": (
        ("wait", wait),
        ("wait, again", lambda run, held: wait(run, again(held))),
    ),
    "clock_skew.reopen": (("reopen", reopen),),
    "conclude.conclude": (
        (
            "healthy",
            lambda run, held: conclude(run.engine, run.lease, held, HEALTHY, run.policy, now=due_at(0)),
        ),
        (
            "too few",
            lambda run, held: conclude(run.engine, run.lease, held, TOO_FEW, run.policy, now=due_at(0)),
        ),
        (
            "healthy, again",
            lambda run, held: conclude(
                run.engine, run.lease, again(held), HEALTHY, run.policy, now=due_at(0)
            ),
        ),
        (
            "too few, again",
            lambda run, held: conclude(
                run.engine, run.lease, again(held), TOO_FEW, run.policy, now=due_at(0)
            ),
        ),
    ),
    "conclude.conclude_failure": (
        (
            "fail",
            lambda run, held: conclude_failure(run.engine, run.lease, held, "", run.policy, now=due_at(0)),
        ),
        (
            "fail, again",
            lambda run, held: conclude_failure(
                run.engine, run.lease, again(held), "", run.policy, now=due_at(0)
            ),
        ),
    ),
}
STARTS = (NEVER, *CycleStatus, VerdictReason.QUIET)


def put(engine: Engine, status: str, attempt: int) -> Claim:
    """A cycle in that state, and the claim that somebody had of it. If it has ended, then by a clock that was
    ahead, with nothing seen.
    """
    if status != NEVER:
        is_quiet = status == VerdictReason.QUIET
        row = {**vars(make_slot()), "id": 1, "status": status, "attempt": attempt, "started_at": START}
        row |= {"status": CycleStatus.INCONCLUSIVE, "verdict_reason": status} if is_quiet else {}
        if status != CycleStatus.RUNNING:
            row |= {"finished_at": START + timedelta(days=1), "n_seen": 0, "n_rejected": 0}
        with writing(engine) as connection:
            connection.execute(insert(cycles).values(row))
    return Claim(cycle_id=1, slot=make_slot(), attempt=attempt, started_at=START)


def test_every_arrow_is_tried() -> None:
    assert {words for _, _, words in arrows("Cycle") if words} == set(ACTS)


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("act", ACTS)
def test_a_cycle_moves_as_it_is_drawn_and_not_otherwise(
    engine: Engine, act: str, start: str, attempt: int
) -> None:
    drawn = {end for begin, end, words in arrows("Cycle") if (begin, words) == (start, act)}
    found = set()
    for _, do in ACTS[act]:
        with writing(engine) as connection:
            connection.exec_driver_sql("DELETE FROM leases")
            for table in reversed(cycles.metadata.sorted_tables):
                connection.execute(table.delete())
        run = Cycles(engine=engine, lease=taken(engine))
        held = put(engine, start, attempt)
        before = stored(engine, cycles)
        try:
            do(run, held)
        except (ledger.AttemptEndedError, IntegrityError):
            assert stored(engine, cycles) == before
        after = stored(engine, cycles)
        if after != before:
            found.add(state_of(after[0]) if after else NEVER)
    if act == "ledger.give_back" and start == CycleStatus.RUNNING:
        assert found == {NEVER if attempt == 1 else "failed", "quiet"} <= drawn
    elif act == "clock_skew.reopen" and start == CycleStatus.SKIPPED:
        assert found == {"failed"} <= drawn  # one without an attempt goes
    else:
        assert found == drawn
