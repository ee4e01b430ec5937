"""PostgreSQL connections: their arguments and settings, and the limit on how long a server may be silent."""

import re
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, event

from db.connection.passwords import Passwords

RV = TypeVar("RV")

DRIVERS: Final = {"postgresql", "postgresql+psycopg"}
STATEMENT_SECONDS: Final = 60
#: The settings of each transaction. They are not those of the session, which PgBouncer hands to others.
TRANSACTION: Final = {
    "lock_timeout": "10s",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": "25s",  # less than a lease, whose row a frozen holder may lock
    "timezone": "UTC",
}
#: A host that vanishes without closing its connections is noticed within 25 s, or 20 s if data was sent.
NETWORK: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms
    "fallback_application_name": "redistill",
}
#: The answer to a statement may arrive this long after the server's own `statement_timeout`.
SILENCE_SECONDS: Final = 15.0

_OPTION: Final = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that stays connected but does not answer.

    The server's process may be stopped, or its disk may hang. Its kernel still answers keepalives, and a Unix
    socket has none, so libpq would wait forever. (pgjdbc has `socketTimeout` for this.)
    """

    silence_seconds: float | None = SILENCE_SECONDS  #: None: no limit

    def wait(self, gen: PQGen[RV], *rest: Any, **more: Any) -> RV:  # noqa: ANN401 - psycopg's own
        """Wait for the server's answer to any request, as psycopg's own method does.

        Raises:
            OperationalError: the server was silent for too long; the connection is closed.
        """
        return super().wait(self._listening(gen), *rest, **more)

    def _listening(self, gen: PQGen[RV]) -> PQGen[RV]:
        heard_at = monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard_at = monotonic()
                elif self.silence_seconds is not None and monotonic() - heard_at > self.silence_seconds:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server was silent for {self.silence_seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            value: RV = end.value
            return value


def network(url: URL) -> dict[str, Any]:
    """Return NETWORK, with the values that the URL itself sets."""
    return {name: url.query.get(name, usual) for name, usual in NETWORK.items()}


def govern(engine: Engine, passwords: Passwords) -> None:
    """Let the engine's connections have these passwords, and its transactions the settings of TRANSACTION.

    The `options` of the URL are settings of the session; those that they name are left to them.
    """
    given = _options_of(engine.url)
    settings = {name: value for name, value in TRANSACTION.items() if name not in given}
    statement = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    if settings:
        event.listen(engine, "begin", begin)
    is_usual = "statement_timeout" in settings
    limit_silence(
        engine,
        silence_seconds=STATEMENT_SECONDS + SILENCE_SECONDS if is_usual else None,
        passwords=passwords,
    )


def limit_silence(
    engine: Engine, *, silence_seconds: float | None = None, passwords: Passwords | None = None
) -> None:
    """Limit how long the engine's connections wait for a silent server.

    Without `silence_seconds` each connection's limit follows from its own `statement_timeout`. No statement
    is prepared on the server: PgBouncer may give each transaction another one.
    """

    def connect(_dialect: object, _record: object, words: Any, named: Any) -> BoundedConnection:  # noqa: ANN401 - SQLAlchemy's own
        def opened(**password: str) -> BoundedConnection:
            return BoundedConnection.connect(*words, prepare_threshold=None, **{**named, **password})

        return opened() if passwords is None else passwords.used_by(opened)

    def set_limit(connection: BoundedConnection, _record: object) -> None:
        connection.silence_seconds = silence_seconds or _longest_answer(connection)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", set_limit)


def _options_of(url: URL) -> frozenset[str]:
    """Return the names of the settings in the URL's `options`."""
    given = url.query.get("options", "")
    text = given if isinstance(given, str) else " ".join(given)
    return frozenset(name.lower().replace("-", "_") for name in _OPTION.findall(text))


def _longest_answer(connection: BoundedConnection) -> float | None:
    connection.autocommit = True  # the query runs outside any transaction
    ask = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"
    ((milliseconds,),) = connection.execute(ask).fetchall()
    connection.autocommit = False
    return milliseconds / 1_000 + SILENCE_SECONDS if milliseconds else None
