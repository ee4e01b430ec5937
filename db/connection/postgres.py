"""PostgreSQL connections: their options, and the limit on how long a server may be silent."""

from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, event

RV = TypeVar("RV")

DRIVERS: Final = {"postgresql", "postgresql+psycopg"}
OPTIONS: Final = "-c lock_timeout=10s -c statement_timeout=60s -c timezone=UTC"
#: A host that vanishes without closing its connections is noticed within 25 s, or 20 s if data was sent.
NETWORK: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms
}
#: The answer to a statement may arrive this long after the server's own `statement_timeout`.
SILENCE_SECONDS: Final = 15.0


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


def limit_silence(engine: Engine, *, silence_seconds: float | None = None) -> None:
    """Limit how long the engine's connections wait for a silent server.

    Without `silence_seconds` each connection's limit follows from its own `statement_timeout`.
    """

    def connect(_dialect: object, _record: object, words: Any, named: Any) -> BoundedConnection:  # noqa: ANN401 - SQLAlchemy's own
        return BoundedConnection.connect(*words, **named)

    def set_limit(connection: BoundedConnection, _record: object) -> None:
        connection.silence_seconds = silence_seconds or _longest_answer(connection)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", set_limit)


def _longest_answer(connection: BoundedConnection) -> float | None:
    connection.autocommit = True  # the query runs outside any transaction
    ask = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"
    ((milliseconds,),) = connection.execute(ask).fetchall()
    connection.autocommit = False
    return milliseconds / 1_000 + SILENCE_SECONDS if milliseconds else None
