"""Rows outlive every migration as they are."""

from datetime import datetime
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import (
    Boolean,
    DateTime,
    Engine,
    Float,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    insert,
    select,
)
from sqlalchemy.types import TypeEngine

from db.connection.migrate import upgrade
from db.connection.session import reading, writing
from tests.support.processes.product import ROOT

Rows = dict[str, list[dict[str, Any]]]


def some(kind: TypeEngine[Any]) -> object:
    """Every number is 1, so every foreign key points to a row."""
    match kind:
        case Boolean():
            return True
        case Integer() | Numeric() | Float():
            return 1
        case DateTime():
            return datetime.fromisoformat("2026-11-24T10:00:00" + ("+00:00" if kind.timezone else ""))
        case Text():
            return "x"
    raise AssertionError(kind)


def reflected(engine: Engine) -> list[Table]:
    """Those there are, in an order in which they can be filled."""
    found = MetaData()
    with reading(engine) as connection:
        found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def contents(engine: Engine, tables: list[Table]) -> Rows:
    with reading(engine) as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables
        }


def fill(engine: Engine, tables: list[Table], rows: Rows) -> None:
    """A row in each table that has none."""
    with writing(engine) as connection:
        for table in tables:
            if not rows[table.name]:
                row = {column.name: some(column.type) for column in table.columns}
                connection.execute(insert(table).values(row))


def test_rows_of_each_revision_are_kept_up_to_the_last(empty_engine: Engine) -> None:
    before: Rows = {}
    scripts = ScriptDirectory(str(ROOT / "migrations")).walk_revisions()
    for revision in [script.revision for script in scripts][::-1]:
        upgrade(empty_engine, revision)
        tables = reflected(empty_engine)
        after = contents(empty_engine, tables)
        for table, (row,) in before.items():
            (found,) = after[table]
            assert {name: found[name] for name in row} == row, f"{table} at {revision}"
        fill(empty_engine, tables, after)
        before = contents(empty_engine, tables)
    assert {len(rows) for rows in before.values()} == {1}
