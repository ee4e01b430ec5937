"""What a migration takes away from code that was written for the schema before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Inspector, inspect


@dataclass(frozen=True, kw_only=True)
class Column:
    type: str
    is_nullable: bool
    has_default: bool  #: or a number that the database gives

    @property
    def may_be_left_out(self) -> bool:
        return self.is_nullable or self.has_default


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Something that rows of a table must fulfil, and that statements may build on (ON CONFLICT)."""

    table: str
    kind: str
    columns: frozenset[str]
    text: str = ""  #: a condition, or what is referred to


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What code may depend on, by name."""

    columns: dict[tuple[str, str], Column]  #: by table and name
    views: dict[str, frozenset[str]]
    demands: frozenset[Demand]

    @classmethod
    def of(cls, connection: Connection) -> "Schema":
        inspector = inspect(connection)
        tables = [name for name in inspector.get_table_names() if name != "alembic_version"]
        return cls(
            columns={
                (table, column["name"]): _column(column, connection)
                for table in tables
                for column in inspector.get_columns(table)
            },
            views={
                view: frozenset(column["name"] for column in inspector.get_columns(view))
                for view in inspector.get_view_names()
            },
            demands=frozenset(demand for table in tables for demand in _demands(inspector, table)),
        )

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(table for table, _ in self.columns)


def _column(found: Any, connection: Connection) -> Column:  # noqa: ANN401 - what the inspector gives
    return Column(
        type=found["type"].compile(connection.dialect),
        is_nullable=found["nullable"],
        has_default=found["default"] is not None or bool(found.get("primary_key")),
    )


def _demands(inspector: Inspector, table: str) -> Iterator[Demand]:
    key = inspector.get_pk_constraint(table)["constrained_columns"]
    yield Demand(table=table, kind="primary key", columns=frozenset(key))
    for index in inspector.get_indexes(table):
        if index["unique"]:
            columns = frozenset(name for name in index["column_names"] if name)
            options = index.get("dialect_options", {})
            where = " ".join(str(each) for name, each in sorted(options.items()) if name.endswith("_where"))
            yield Demand(table=table, kind="unique", columns=columns, text=where)
    for constraint in inspector.get_unique_constraints(table):
        yield Demand(table=table, kind="unique", columns=frozenset(constraint["column_names"]))
    for reference in inspector.get_foreign_keys(table):
        columns = frozenset(reference["constrained_columns"])
        yield Demand(table=table, kind="foreign key", columns=columns, text=reference["referred_table"])
    for condition in inspector.get_check_constraints(table):
        yield Demand(table=table, kind="check", columns=frozenset(), text=condition["sqltext"])


def narrowed(before: Schema, after: Schema) -> tuple[str, ...]:
    """Each thing that code of `before` may have used and lacks, or must do and does not know."""
    return tuple(sorted({*_gone(before, after), *_changed(before, after), *_demanded(before, after)}))


def _gone(before: Schema, after: Schema) -> Iterator[str]:
    for table in before.tables - after.tables:
        yield f"the table {table} is gone"
    for table, name in before.columns.keys() - after.columns.keys():
        if table in after.tables:
            yield f"the column {table}.{name} is gone"
    for view in before.views.keys() - after.views.keys():
        yield f"the view {view} is gone"
    for view in before.views.keys() & after.views.keys():
        for name in before.views[view] - after.views[view]:
            yield f"the view {view} has no {name} any more"
    for demand in before.demands - after.demands:
        if demand.kind in {"primary key", "unique"} and demand.table in after.tables:
            yield f"{_told(demand)} is gone, which an ON CONFLICT may name"


def _changed(before: Schema, after: Schema) -> Iterator[str]:
    for (table, name), old in before.columns.items():
        new = after.columns.get((table, name))
        if new is None:
            continue
        if new.type != old.type:
            yield f"the column {table}.{name} is {new.type} and no longer {old.type}"
        if old.may_be_left_out and not new.may_be_left_out:
            yield f"the column {table}.{name} may not be left out any more"


def _demanded(before: Schema, after: Schema) -> Iterator[str]:
    for (table, name), column in after.columns.items():
        is_new = table in before.tables and (table, name) not in before.columns
        if is_new and not column.may_be_left_out:
            yield f"the column {table}.{name} is new and may not be left out"
    for demand in after.demands - before.demands:
        own = {name for table, name in before.columns if table == demand.table}
        if demand.table in before.tables and demand.columns <= own:
            yield f"{_told(demand)} is demanded of rows that do not know of it"


def _told(demand: Demand) -> str:
    return f"the {demand.kind} {' and '.join(sorted(demand.columns)) or demand.text} of {demand.table}"
