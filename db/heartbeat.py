"""The heartbeat, which keeps a lease while its holder works."""

import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db import leases
from db.connection.session import writing
from db.errors import LeaseLostError, RedistillError
from db.records import Lease

_log = structlog.get_logger()


class Heartbeat(AbstractContextManager["Heartbeat"]):
    """A thread that renews the lease three times per `seconds`, as long as the block runs.

    While the database is unavailable the renewal is retried; only another holder makes the lease `lost`. The
    block checks `lost` between its steps, and its writes are guarded by the token anyway.
    """

    def __init__(self, engine: Engine, lease: Lease, *, seconds: float) -> None:
        self._engine = engine
        self._lease = lease
        self._seconds = seconds
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {lease.name}", daemon=True)

    @property
    def lost(self) -> bool:
        """True once another process holds the lease."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        is_unavailable = False
        while not self._ended.wait(self._seconds / 3):
            try:
                with writing(self._engine) as connection:
                    leases.renew(connection, self._lease, seconds=self._seconds)
                is_unavailable = False
            except LeaseLostError:
                self._lost.set()
                return
            except (SQLAlchemyError, RedistillError) as error:
                if not is_unavailable:  # logged once: an outage may be long
                    is_unavailable = True
                    _log.warning("could not renew the lease", lease=self._lease.name, error=str(error))
