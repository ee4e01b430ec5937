"""The lease under which one process at a time calibrates the models of a monitor."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sqlalchemy import Engine

from db import leases
from db.connection.session import writing
from db.connection.unavailable import UNAVAILABLE
from db.heartbeat import Heartbeat
from db.records import Lease

LEASE_SECONDS: Final = 60.0


@contextmanager
def calibration_lease(engine: Engine, monitor: str, owner: str) -> Iterator[Lease | None]:
    """Hold the lease during the block; None if another process holds it."""
    with writing(engine) as connection:
        lease = leases.acquire(connection, f"calibration:{monitor}", owner=owner, seconds=LEASE_SECONDS)
    try:
        yield lease
    finally:
        if lease is not None:
            # without a release the lease expires
            with suppress(*UNAVAILABLE), writing(engine) as connection:
                leases.release(connection, lease)


def heartbeat(engine: Engine, lease: Lease) -> Heartbeat:
    """Return the heartbeat that renews the lease."""
    return Heartbeat(engine, lease, seconds=LEASE_SECONDS)
