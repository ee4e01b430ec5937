"""A program on a database that a later version has migrated: it works on where that has only added to it."""

import pytest
from sqlalchemy import Engine, text

from db import incidents
from db.connection.migrate import (
    Level,
    NewerDatabaseError,
    check,
    downgrade,
    head,
    is_later_in_series,
    upgrade,
)
from db.connection.session import reading, writing
from db.incidents import LaterIncidentError
from db.tables import incidents as incidents_table
from monitor.settings import MonitorSection
from redistill.process.readiness import checks
from tests.support.records.conclusions import FAR, HEALTHY
from tests.support.records.cycles import MONITOR, Cycles, stored, taken
from tests.support.records.factories import HOUR, START

SERIES, NUMBER = int(head()[0]), int(head()[1:])
LATER = f"{SERIES}{NUMBER + 1:03}"
LATER_SERIES = f"{SERIES + 1}{NUMBER + 1:03}"


def migrate_by_hand(engine: Engine, revision: str, *statements: str) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})


@pytest.fixture
def later(engine: Engine) -> Engine:
    """The database, to which a later version has added a column, a table, and an incident of a new kind."""
    migrate_by_hand(
        engine,
        LATER,
        "ALTER TABLE incidents ADD COLUMN colour TEXT",
        "CREATE TABLE paints (incident_id BIGINT REFERENCES incidents (id))",
        "INSERT INTO incidents (monitor, kind, severity, state, summary, opened_at, colour) VALUES "
        "('mangaassist', 'paint-off', 'error', 'firing', 'peeling', '2026-11-24 10:00:00', 'red')",
    )
    return engine


def is_ready(engine: Engine) -> tuple[bool, str]:
    database, *_ = checks(engine, MonitorSection(name=MONITOR, every=HOUR), "running", START)
    return database.ok, database.detail


@pytest.mark.parametrize(
    ("revision", "than", "is_later"),
    [
        ("0015", "0014", True),
        ("0100", "0014", True),
        ("0014", "0014", False),
        ("0013", "0014", False),
        ("1015", "0014", False),
        ("00150", "0014", False),
        ("later", "0014", False),
        ("0x15", "0014", False),
    ],
)
def test_a_later_revision_of_the_same_series_only_adds(revision: str, than: str, *, is_later: bool) -> None:
    assert is_later_in_series(revision, than) is is_later


def test_it_works_on_and_is_ready(later: Engine) -> None:
    assert check(later) is Level.AHEAD
    assert is_ready(later) == (True, "reachable, migrated by a later version")


def test_its_upgrade_has_nothing_to_do(later: Engine) -> None:
    """So that a start that begins with one is possible when the version before comes back."""
    assert upgrade(later) is Level.AHEAD
    with reading(later) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == LATER


def test_its_downgrade_is_refused(later: Engine) -> None:
    """It does not know what the later one has added."""
    with pytest.raises(NewerDatabaseError, match="install the version that migrated the database"):
        downgrade(later)
    assert check(later) is Level.AHEAD


def test_of_a_later_series_it_starts_on_nothing_and_what_runs_stays_ready(engine: Engine) -> None:
    migrate_by_hand(engine, LATER_SERIES)
    for action in (check, upgrade, downgrade):
        with pytest.raises(NewerDatabaseError, match=f"at revision {LATER_SERIES}, which this"):
            action(engine)
    ok, detail = is_ready(engine)
    assert ok
    assert f"at revision {LATER_SERIES}" in detail


def test_cycles_go_on_and_incidents_of_kinds_that_it_does_not_know_are_left_alone(later: Engine) -> None:
    cycles = Cycles(engine=later, lease=taken(later))
    cycles.conclude(0, FAR)
    cycles.conclude(1, HEALTHY)
    told = [(row["kind"], row["state"]) for row in stored(later, incidents_table)]
    assert told == [("paint-off", "firing"), ("drift", "resolved")]
    with reading(later) as connection:
        assert incidents.unresolved(connection, MONITOR) == ()


def test_an_incident_of_a_kind_that_it_does_not_know_is_taken_with_the_later_version(later: Engine) -> None:
    (incident,) = stored(later, incidents_table)
    with (
        writing(later) as connection,
        pytest.raises(LaterIncidentError, match="kind 'paint-off', which only a later version"),
    ):
        incidents.get(connection, MONITOR, incident["id"])
