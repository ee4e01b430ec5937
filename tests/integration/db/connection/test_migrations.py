"""The schema is what db/tables.py says, on both databases, up, down and in a race."""

import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Engine,
    Float,
    Integer,
    Table,
    Text,
    event,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.exc import DBAPIError

from db.connection.migrate import NewerDatabaseError, NotMigratedError, check, diff, downgrade, upgrade
from db.connection.session import reading, writing
from db.tables import ExactAlpha, UTCDateTime, metadata
from db.tables.columns import ArtifactPath
from tests.support.records.factories import START

VALUES = {
    ArtifactPath: "x",
    BigInteger: 1,
    Boolean: True,
    ExactAlpha: Decimal("0.6"),
    Float: 0.5,
    Integer: 1,
    Text: "x",
    UTCDateTime: START,
}
UPGRADE = """
import sys
from db.connection.migrate import upgrade
print("ready", flush=True)
sys.stdin.read()
upgrade(sys.argv[1])
"""


def fill(connection: Connection) -> None:
    """One row in each table; every number is 1, so every foreign key points to a row."""
    for table in metadata.sorted_tables:
        connection.execute(insert(table).values({c: VALUES[type(c.type)] for c in table.columns}))


def count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def start_upgrade(engine: Engine, *, cwd: Path) -> subprocess.Popen[str]:
    """A process that says "ready" and upgrades once its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", UPGRADE, engine.url.render_as_string(hide_password=False)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def names(engine: Engine) -> set[str]:
    inspector = inspect(engine)
    return {*inspector.get_table_names(), *inspector.get_view_names()} - {"alembic_version"}


def test_a_database_upgraded_from_empty_is_what_the_tables_say(empty_engine: Engine) -> None:
    upgrade(empty_engine)
    check(empty_engine)
    assert diff(empty_engine) == ()
    assert names(empty_engine) > set(metadata.tables)


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        fill(connection)
    upgrade(engine)
    with reading(engine) as connection:
        assert {count(connection, table) for table in metadata.sorted_tables} == {1}


def test_a_check_that_is_repeated_is_not_compiled_again(engine: Engine) -> None:
    """`/readyz` makes it for each request; SQLAlchemy keeps what it has compiled, up to 750 statements."""
    check(engine)
    misses: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(*arguments: Any) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
        statement, context = arguments[2], arguments[4]
        if context.compiled and context.cache_hit is CacheStats.CACHE_MISS:
            misses.append(statement)

    check(engine)
    assert misses == []


def test_a_url_is_as_good_as_an_engine_from_any_working_directory(
    empty_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    upgrade(empty_engine.url.render_as_string(hide_password=False))
    check(empty_engine)


def test_a_missing_index_is_a_difference(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("DROP INDEX ix_deliveries_state_next_attempt_at"))
    (difference,) = diff(engine)
    assert "add_index" in difference
    assert "next_attempt_at" in difference


def test_a_column_that_the_tables_do_not_have_is_a_difference(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE leases ADD COLUMN colour TEXT"))
    (difference,) = diff(engine)
    assert "remove_column" in difference
    assert "colour" in difference


def test_a_full_database_goes_down_to_nothing_and_up_again(engine: Engine) -> None:
    with writing(engine) as connection:
        fill(connection)
    downgrade(engine)
    assert names(engine) == set()
    upgrade(engine)
    assert diff(engine) == ()
    with reading(engine) as connection:
        assert {count(connection, table) for table in metadata.sorted_tables} == {0}


def test_an_upgrade_that_fails_half_way_leaves_no_trace(empty_engine: Engine) -> None:
    with writing(empty_engine) as connection:
        connection.execute(text("CREATE TABLE reject_history (in_the_way INTEGER)"))
    with pytest.raises(DBAPIError, match="reject_history"):
        upgrade(empty_engine)
    assert names(empty_engine) == {"reject_history"}


def test_an_empty_database_is_refused_with_the_mend(empty_engine: Engine) -> None:
    with pytest.raises(NotMigratedError, match=r"at revision none, .* run `redistill db upgrade`\.$"):
        check(empty_engine)


def test_a_database_that_is_behind_is_refused_with_both_revisions(empty_engine: Engine) -> None:
    upgrade(empty_engine, "0001")
    with pytest.raises(NotMigratedError, match=r"at revision 0001, .* needs 0037: run"):
        check(empty_engine)


@pytest.mark.parametrize("action", [check, upgrade, downgrade])
def test_a_database_of_a_later_version_is_left_alone(
    engine: Engine, action: Callable[[Engine], None]
) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    with pytest.raises(NewerDatabaseError, match=r"at revision later, .* install the version"):
        action(engine)
    assert names(engine) > set(metadata.tables)


def test_two_processes_may_upgrade_at_once(empty_engine: Engine, tmp_path: Path) -> None:
    processes = [start_upgrade(empty_engine, cwd=tmp_path) for _ in range(2)]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 2
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    assert [process.communicate()[1] for process in processes] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]
    check(empty_engine)
    assert diff(empty_engine) == ()


def test_every_table_and_column_says_what_it_holds(postgres_engine: Engine) -> None:
    inspector = inspect(postgres_engine)
    for table in metadata.tables:
        assert inspector.get_table_comment(table)["text"], table
        for column in inspector.get_columns(table):
            assert column["comment"], f"{table}.{column['name']}"


def test_every_view_says_what_it_holds(postgres_engine: Engine) -> None:
    comment = text("SELECT obj_description(CAST(:view AS regclass))")
    with reading(postgres_engine) as connection:
        for view in inspect(postgres_engine).get_view_names():
            assert connection.scalar(comment, {"view": view}), view
