"""Alembic's connection to the database: the engine of db/connection/migrate.py, or `alembic -x url=URL`."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, Engine, TypeDecorator, func, select, text

from db.connection.migrate import LOCK_SECONDS
from db.connection.session import connect, writing
from db.tables import metadata

#: An arbitrary number that no other program may lock in the same database.
ADVISORY_LOCK = 5_265_646_973


def _take_turns(connection: Connection) -> None:
    # Released with the transaction: in a pooled connection a session's lock would outlive the block.
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS * 1000:.0f}ms'"))
    connection.execute(text("SET LOCAL statement_timeout = '60s'"))


def _plain_type(kind: str, value: object, _context: AutogenContext) -> str | Literal[False]:
    """Render the types of db/tables as plain SQL types, so that a migration does not change with them."""
    return f"sa.{value.impl!r}" if kind == "type" and isinstance(value, TypeDecorator) else False


def _run(engine: Engine) -> None:
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            _take_turns(connection)
        context.configure(
            connection=connection, target_metadata=metadata, render_as_batch=True, render_item=_plain_type
        )
        context.run_migrations()


given = context.config.attributes.get("engine")
if isinstance(given, Engine):
    _run(given)
else:
    own = connect(context.get_x_argument(as_dictionary=True).get("url", "sqlite:///redistill.db"))
    _run(own)
    own.dispose()
