"""The database's clock, which all processes of a monitor share."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Float, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.connection.session import reading
from db.tables import UTCDateTime


class Clock(FunctionElement[datetime]):
    """The SQL expression for the database's current time plus a number of seconds."""

    type = UTCDateTime()
    inherit_cache = True  # the seconds are a parameter, so that each statement is compiled once

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(literal(float(seconds), Float()))


@compiles(Clock, "sqlite")
def _sqlite_clock(element: Clock, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - as compiles wants
    # Six digits of the second, so that times compare as text with the times that SQLAlchemy stores.
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+.3f seconds', {seconds})) || '000')"


@compiles(Clock, "postgresql")
def _postgresql_clock(element: Clock, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - as above
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


def read(connection: Connection) -> datetime:
    """Return the database's current time."""
    found: datetime = connection.execute(select(Clock())).scalar_one()
    return found


def agreed(engine: Engine, now: datetime) -> datetime:
    """Return the earlier of `now` and the database's time.

    What is stored with the time of a clock that is ahead would not be over, or not have begun, for others.
    """
    with reading(engine) as connection:
        return capped_by_database(connection, now)


def capped_by_database(connection: Connection, now: datetime) -> datetime:
    """Return the earlier of `now` and the database's time: a clock that is ahead makes nothing due."""
    return min(now, read(connection))
