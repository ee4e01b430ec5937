"""INSERT with ON CONFLICT, which both databases have and SQLAlchemy offers for each of them alone."""

from collections.abc import Callable

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_for(connection: Connection) -> Callable[[Table], postgresql.Insert | sqlite.Insert]:
    """Return the `insert` of the connection's database, with `on_conflict_do_nothing` and `..._do_update`."""
    return sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
