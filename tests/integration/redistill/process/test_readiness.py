"""What /readyz answers: is the monitor doing its work."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from monitor.settings import MonitorSection
from redistill.process.readiness import Scheduler, checks
from tests.support.records.cycles import MONITOR, Cycles, taken
from tests.support.records.factories import HOUR, make_slot

SECTION = MonitorSection(name=MONITOR, every=HOUR)
DUE = make_slot(1).window_end + SECTION.lateness


def ready(
    engine: Engine, *, late: timedelta = timedelta(0), scheduler: Scheduler = "running"
) -> dict[str, bool]:
    found = checks(engine, SECTION, scheduler, DUE + late)
    return {check.name: check.ok for check in found}


def test_before_the_first_cycle_it_is_ready(engine: Engine) -> None:
    assert ready(engine) == {"database": True, "scheduler": True, "slots": True}


@pytest.mark.parametrize(
    ("late", "ok"), [(timedelta(minutes=5), True), (timedelta(minutes=5, seconds=1), False)]
)
def test_a_slot_that_has_not_begun_in_time_is_overdue(late: timedelta, ok: bool, engine: Engine) -> None:  # noqa: FBT001 - a case
    Cycles(engine=engine, lease=taken(engine)).conclude(0)
    assert ready(engine, late=late)["slots"] is ok


def test_a_slot_that_is_being_run_is_not_overdue(engine: Engine) -> None:
    cycles = Cycles(engine=engine, lease=taken(engine))
    cycles.conclude(0)
    cycles.claim(1)
    assert ready(engine, late=timedelta(minutes=30))["slots"]


@pytest.mark.parametrize("scheduler", ["starting", "stopped"])
def test_a_scheduler_that_does_not_run_is_not_ready(scheduler: Scheduler, engine: Engine) -> None:
    assert not ready(engine, scheduler=scheduler)["scheduler"]


def test_a_database_that_is_not_migrated_is_not_ready(empty_engine: Engine) -> None:
    assert ready(empty_engine) == {"database": False, "scheduler": True, "slots": False}
