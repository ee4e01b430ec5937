"""What a migration takes away from code that was written for the schema before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.engine.interfaces import TableKey
from sqlalchemy.engine.reflection import ObjectKind


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
        return cls(
            columns={
                (table, column["name"]): _column(column, connection)
                for table, columns in _by_table(inspector.get_multi_columns())
                for column in columns
            },
            views={
                view: frozenset(column["name"] for column in columns)
                for view, columns in _by_table(inspector.get_multi_columns(kind=ObjectKind.ANY_VIEW))
            },
            demands=frozenset(_demands(inspector)),
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


def _by_table(found: Mapping[TableKey, Any]) -> Iterator[tuple[str, Any]]:
    return ((table, each) for (_, table), each in found.items() if table != "alembic_version")


def _each(found: Mapping[TableKey, Any]) -> Iterator[tuple[str, Any]]:
    return ((table, each) for table, several in _by_table(found) for each in several)


def _demands(inspector: Inspector) -> Iterator[Demand]:
    """Of all tables at once: one by one, PostgreSQL would be asked two hundred times."""
    for table, key in _by_table(inspector.get_multi_pk_constraint()):
        yield Demand(table=table, kind="primary key", columns=frozenset(key["constrained_columns"]))
    for table, index in _each(inspector.get_multi_indexes()):
        if index["unique"]:
            columns = frozenset(name for name in index["column_names"] if name)
            options = index.get("dialect_options", {})
            where = " ".join(str(each) for name, each in sorted(options.items()) if name.endswith("_where"))
            yield Demand(table=table, kind="unique", columns=columns, text=where)
    for table, constraint in _each(inspector.get_multi_unique_constraints()):
        yield Demand(table=table, kind="unique", columns=frozenset(constraint["column_names"]))
    for table, reference in _each(inspector.get_multi_foreign_keys()):
        columns = frozenset(reference["constrained_columns"])
        yield Demand(table=table, kind="foreign key", columns=columns, text=reference["referred_table"])
    for table, condition in _each(inspector.get_multi_check_constraints()):
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
