"""Leases: the right to write. A lease is a row with a fencing token; its time is the database's clock.

A holder that was suspended for too long finds a higher token at its next `guard` and writes nothing
(Kleppmann, "How to do distributed locking", 2016).
"""

import os
import socket
import uuid
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, select, update

from db.connection.clock import Clock
from db.connection.upsert import insert_for
from db.errors import LeaseLostError
from db.records import Lease
from db.tables import leases

#: The longest lease. A lease that seems longer dates from before the database's clock was set back, and its
#: holder is dead: a live holder would have renewed the lease since.
LONGEST_SECONDS: Final = 900.0


def new_owner() -> str:
    """Return a name for this start of this process, which no other start ever has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def acquire(connection: Connection, name: str, *, owner: str, seconds: float) -> Lease | None:
    """Take the lease and return it, or return None if another process holds it."""
    insert = insert_for(connection)
    statement = insert(leases).values(name=name, owner=owner, token=1, expires_at=Clock(seconds))
    token = connection.scalar(
        statement.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={
                "owner": owner,
                "token": leases.c.token + 1,
                "expires_at": statement.excluded.expires_at,
            },
            where=~_is_current(),
        ).returning(leases.c.token)
    )
    return None if token is None else Lease(name=name, owner=owner, token=token)


def renew(connection: Connection, lease: Lease, *, seconds: float) -> None:
    """Extend the lease to `seconds` from now.

    Raises:
        LeaseLostError: another process has taken the lease since.
    """
    changed = connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.token == lease.token)
        .values(expires_at=Clock(seconds))
    )
    if changed.rowcount != 1:
        raise LeaseLostError(name=lease.name, token=lease.token)


def release(connection: Connection, lease: Lease) -> None:
    """Release the lease, so that the next process need not wait; do nothing if it is lost already."""
    connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.token == lease.token)
        .values(expires_at=Clock())
    )


def revoke(connection: Connection, name: str) -> None:
    """Take the lease from its holder, whose next `renew` or `guard` fails; it is free for others."""
    connection.execute(
        update(leases).where(leases.c.name == name).values(token=leases.c.token + 1, expires_at=Clock())
    )


def is_held(connection: Connection, name: str) -> bool:
    """Return whether a process holds the lease now, by the database's clock."""
    return bool(connection.scalar(select(_is_current()).where(leases.c.name == name)))


def holder_of(connection: Connection, name: str) -> str | None:
    """Return the last holder of the lease: host, process and start; None if there never was one."""
    return connection.scalar(select(leases.c.owner).where(leases.c.name == name))


def expiry_of(connection: Connection, name: str) -> datetime | None:
    """Return when the lease expires or was released, by the database's clock; None if there never was one."""
    return connection.scalar(select(leases.c.expires_at).where(leases.c.name == name))


def token_of(connection: Connection, name: str) -> int:
    """Return the lease's fencing token, which grows with each holder; 0 if there never was one."""
    return connection.scalar(select(leases.c.token).where(leases.c.name == name)) or 0


def guard(connection: Connection, lease: Lease) -> None:
    """Check that the lease is still held, and lock it until this transaction ends.

    Raises:
        LeaseLostError: another process has taken the lease since.
    """
    token = connection.scalar(select(leases.c.token).where(leases.c.name == lease.name).with_for_update())
    if token != lease.token:
        raise LeaseLostError(name=lease.name, token=lease.token)


def _is_current() -> ColumnElement[bool]:
    return (leases.c.expires_at > Clock()) & (leases.c.expires_at <= Clock(LONGEST_SECONDS))
