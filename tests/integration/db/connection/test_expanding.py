"""Migrations only add: the version before works on, while the database is migrated and after it."""

import re
from collections.abc import Callable
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Column, Engine, Text, text

from db.connection.migrate import is_later_in_series, upgrade
from db.connection.session import reading
from tests.support.processes.product import ROOT
from tests.support.records.schema_removals import Schema, narrowed

#: Later revisions are held to it; those up to here were made while nobody ran the product.
HELD_AFTER = "0012"

Change = Callable[[Operations], object]


def revisions() -> list[str]:
    """Oldest first."""
    found = ScriptDirectory(str(ROOT / "migrations")).walk_revisions()
    return [script.revision for script in found][::-1]


def change_type(op: Operations) -> None:
    with op.batch_alter_table("leases") as leases:
        leases.alter_column("token", type_=Text(), existing_type=BigInteger())


def demand_a_value(op: Operations) -> None:
    with op.batch_alter_table("erasures") as erasures:
        erasures.alter_column("finished_at", nullable=False)


def add_column(column: Column[str]) -> Change:
    def change(op: Operations) -> None:
        with op.batch_alter_table("leases") as leases:
            leases.add_column(column)

    return change


def add_condition(op: Operations) -> None:
    with op.batch_alter_table("leases") as leases:
        leases.create_check_constraint("is_new", text("token > 1"))


def add_reference(op: Operations) -> None:
    with op.batch_alter_table("leases") as leases:
        leases.create_foreign_key("of_owner", "rule_texts", ["owner"], ["version"])


def replace_view(columns: str) -> Change:
    def change(op: Operations) -> None:
        op.execute("DROP VIEW reject_history")
        op.execute(f"CREATE VIEW reject_history AS SELECT {columns} FROM rejects r JOIN cycles c ON true")  # noqa: S608 - a test's own words

    return change


TAKES_AWAY: dict[str, Change] = {
    "the table rule_states is gone": lambda op: op.drop_table("rule_states"),
    "the column leases.token is gone": lambda op: op.drop_column("leases", "token"),
    "the column erasures.finished_at is gone": lambda op: op.execute(
        "ALTER TABLE erasures RENAME finished_at TO ended_at"
    ),
    "the column leases.token is TEXT and no longer BIGINT": change_type,
    "the column leases.colour is new and may not be left out": add_column(
        Column("colour", Text, nullable=False)
    ),
    "the column erasures.finished_at may not be left out any more": demand_a_value,
    "the view reject_history is gone": lambda op: op.execute("DROP VIEW reject_history"),
    "the view reject_history has no n any more": replace_view(
        "c.monitor, r.cycle_id, r.reason, r.example_object"
    ),
    "the unique kind and monitor of incidents is gone, which an ON CONFLICT may name": lambda op: (
        op.drop_index("uq_incidents_firing", "incidents")
    ),
    "the unique owner of leases is demanded of rows that do not know of it": lambda op: op.create_index(
        "ix", "leases", ["owner"], unique=True
    ),
    "the check token > 1 of leases is demanded of rows that do not know of it": add_condition,
    "the foreign key owner of leases is demanded of rows that do not know of it": add_reference,
}

ADDS: dict[str, Change] = {
    "a column": add_column(Column("colour", Text)),
    "a column with a default": add_column(Column("colour", Text, nullable=False, server_default="red")),
    "a table": lambda op: op.create_table("paints", Column("name", Text, nullable=False, unique=True)),
    "an index": lambda op: op.create_index("ix", "leases", ["owner"]),
    "a column of a view": replace_view("c.monitor, r.cycle_id, r.reason, r.n, r.example_object, c.status"),
}


def narrowed_by(change: Change, engine: Engine, before: Schema) -> tuple[str, ...]:
    """And nothing of it is left."""
    with engine.connect() as connection, connection.begin() as transaction:
        change(Operations(MigrationContext.configure(connection)))
        after = Schema.of(connection)
        transaction.rollback()
    return narrowed(before, after)


def schema_of(engine: Engine) -> Schema:
    with reading(engine) as connection:
        return Schema.of(connection)


def test_what_takes_away_is_found(engine: Engine) -> None:
    before = schema_of(engine)
    found = {told: narrowed_by(change, engine, before) for told, change in TAKES_AWAY.items()}
    assert found == {told: (told,) for told in TAKES_AWAY}
    assert schema_of(engine) == before


def test_what_only_adds_is_not(engine: Engine) -> None:
    before = schema_of(engine)
    found = {what: narrowed_by(change, engine, before) for what, change in ADDS.items()}
    assert found == dict.fromkeys(ADDS, ())


def test_no_migration_takes_away_what_the_version_before_uses(empty_engine: Engine) -> None:
    """But the first one of a series: see docs/upgrading.md for what goes before it."""
    upgrade(empty_engine, HELD_AFTER)
    before, schema = HELD_AFTER, schema_of(empty_engine)
    held = [each for each in revisions() if each > HELD_AFTER]
    assert held
    for revision in held:
        upgrade(empty_engine, revision)
        found = schema_of(empty_engine)
        if is_later_in_series(revision, before):
            assert narrowed(schema, found) == (), f"{revision} has to be the first of a series"
        before, schema = revision, found


def test_revisions_are_numbers_in_their_order_which_their_files_name() -> None:
    found = revisions()
    assert found == sorted(found)
    assert all(re.fullmatch(r"\d{4}", each) for each in found)
    files = sorted(path.name for path in Path(ROOT / "migrations" / "versions").glob("*.py"))
    assert [name[:5] for name in files] == [f"{each}_" for each in found]
