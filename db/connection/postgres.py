"""How PostgreSQL is spoken to, and for how long it may be silent."""

from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, event

RV = TypeVar("RV")

DRIVERS: Final = {"postgresql", "postgresql+psycopg"}
OPTIONS: Final = "-c lock_timeout=10s -c statement_timeout=60s -c timezone=UTC"
#: A host that is gone without a word is noticed within 25 s, and within 20 s where something was sent.
NETWORK: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms
}
#: How much longer than a statement may take, by the server's own `statement_timeout`, its answer may.
SILENCE_SECONDS: Final = 15.0


class BoundedConnection(psycopg.Connection[Any]):
    """Leaves a server that keeps its connections and says nothing: a process that was stopped, a disk that
    does not answer. Its kernel goes on to answer keepalives, and over a Unix socket there are none; libpq
    would wait for ever. (pgjdbc has `socketTimeout` for this.)
    """

    silence_seconds: float | None = SILENCE_SECONDS  #: None: for ever

    def wait(self, gen: PQGen[RV], *rest: Any, **more: Any) -> RV:  # noqa: ANN401 - psycopg's own
        """As psycopg's, for all that is asked of the server.

        Raises:
            OperationalError: it is silent for too long; the connection is closed.
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
    """NETWORK, but for what the URL itself asks for."""
    return {name: url.query.get(name, usual) for name, usual in NETWORK.items()}


def bound(engine: Engine, *, silence_seconds: float | None = None) -> None:
    """Let the engine's connections be bounded: each by its own `statement_timeout`, if nothing is given."""

    def connect(_dialect: object, _record: object, words: Any, named: Any) -> BoundedConnection:  # noqa: ANN401 - SQLAlchemy's own
        return BoundedConnection.connect(*words, **named)

    def set_bound(connection: BoundedConnection, _record: object) -> None:
        connection.silence_seconds = silence_seconds or _longest_answer(connection)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", set_bound)


def _longest_answer(connection: BoundedConnection) -> float | None:
    connection.autocommit = True  # asked outside of any transaction
    ask = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"
    ((milliseconds,),) = connection.execute(ask).fetchall()
    connection.autocommit = False
    return milliseconds / 1_000 + SILENCE_SECONDS if milliseconds else None
