"""Whatever is done to a cycle, in each of its states: docs/states.md draws what happens, and no more."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from db import leases
from db.connection import clock_skew
from db.connection.session import writing
from db.cycles import ledger
from db.records import Claim, EarlierResult
from db.states import CycleStatus
from db.tables import cycles
from tests.support.records.conclusions import HEALTHY, TOO_FEW
from tests.support.records.cycles import Cycles, due_at, stored, taken
from tests.support.records.factories import START, make_slot
from tests.unit.docs.test_states import arrows
from triggers.conclude import conclude, conclude_failure

NEVER: Final = "[*]"  #: there is no row
#: Each with the attempt that it is about, as a process has it in its hands that was away for a while.
Act = Callable[[Cycles, Claim], object]


def claim(run: Cycles, _held: Claim) -> None:
    with writing(run.engine) as connection:
        ledger.claim(connection, make_slot(), START)


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
STARTS = (NEVER, *CycleStatus)


def put(engine: Engine, status: str, attempt: int) -> Claim:
    """A cycle in that state, and the claim that somebody had of it. If it has ended, then by a clock that was
    ahead, with nothing seen.
    """
    if status != NEVER:
        row = {**vars(make_slot()), "id": 1, "status": status, "attempt": attempt, "started_at": START}
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
            found.add(after[0]["status"] if after else NEVER)
    if act == "ledger.give_back" and start == CycleStatus.RUNNING:
        assert found == {NEVER if attempt == 1 else "failed"} <= drawn
    elif act == "clock_skew.reopen" and start == CycleStatus.SKIPPED:
        assert found == {"failed"} <= drawn  # one without an attempt goes
    else:
        assert found == drawn
